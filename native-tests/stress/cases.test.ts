// What any local file system does, as small C programs of named cases (native-tests/c). Each case first runs in a local
// directory: what does not hold there is no rule. Then it runs in an artifact.
import { execFile } from 'node:child_process';
import { mkdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { casesOf, program } from '../support/programs.js';
import { World } from '../support/world.js';

const programs = [
  'directory-cases',
  'descriptor-cases',
  'mapping-cases',
  'lock-cases',
  'sparse-cases',
  'transfer-cases',
  'node-cases',
];

const world = new World();
const here = world.machine('here');
const local = join(world.directory, 'local');

beforeAll(async () => {
  mkdirSync(local);
  await here.mount();
});
afterAll(() => world[Symbol.asyncDispose]());

interface Verdict {
  readonly code: number | string;
  readonly said: string;
}

function run(binary: string, name: string, directory: string): Promise<Verdict> {
  mkdirSync(directory);
  return new Promise((resolve) => {
    const options = { timeout: 320_000, killSignal: 'SIGKILL' } as const;
    execFile(binary, ['run', name, directory], options, (error, stdout, stderr) => {
      rmSync(directory, { recursive: true, force: true });
      resolve({ code: error === null ? 0 : (error.signal ?? error.code ?? 'lost'), said: stdout + stderr });
    });
  });
}

for (const name of programs) {
  const binary = program(name);
  const artifact = here.path(name);
  describe(name, () => {
    beforeAll(() => {
      mkdirSync(artifact);
    });
    for (const [index, one] of casesOf(binary).entries()) {
      test(one, { timeout: 650_000 }, async () => {
        const reference = await run(binary, one, join(local, `${name}-${index}`));
        expect([0, 77], reference.said).toContain(reference.code);
        const verdict = await run(binary, one, join(artifact, `case-${index}`));
        expect(verdict.said).toBe(reference.said);
        expect(verdict.code).toBe(reference.code);
      });
    }
  });
}
