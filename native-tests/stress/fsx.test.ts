// One file under a random sequence of every operation on its bytes, against a picture of it in memory
// (native-tests/c/fsx.c), also while the artifact is committed again and again. ARTIFACTFS_STRESS=N runs N times as many
// seeds. A failure says its seed: give it to build/native-tests/fsx with -s.
import { execFile } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { program } from '../support/programs.js';
import { World } from '../support/world.js';

const fsx = program('fsx');
const rounds = Number(process.env['ARTIFACTFS_STRESS'] ?? 1);
const world = new World();
const here = world.machine('here');
const local = join(world.directory, 'local');

beforeAll(async () => {
  mkdirSync(local);
  await here.mount();
});
afterAll(() => world[Symbol.asyncDispose]());

const run = promisify(execFile);
const exercise = async (...args: string[]): Promise<string> =>
  (await run(fsx, args, { timeout: 600_000 })).stdout;

interface Mode {
  readonly name: string;
  readonly flags: readonly string[];
}

const modes: readonly Mode[] = [
  { name: 'every operation', flags: [] },
  { name: 'without mappings', flags: ['-m'] },
  { name: 'only direct reads and writes', flags: ['-d'] },
  { name: 'everything aligned to pages', flags: ['-a'] },
  { name: 'through two open files', flags: ['-h'] },
  { name: 'a large file', flags: ['-l', String(24 << 20)] },
];

for (const [index, { name, flags }] of modes.entries()) {
  for (let round = 0; round < rounds; round++) {
    const seed = String(100 * index + round + 1);
    const work = ['-s', seed, '-n', name === 'a large file' ? '600' : '1500', ...flags];

    test(`${name}: the local disk holds what the test demands (seed ${seed})`, {
      timeout: 700_000,
    }, async () => {
      await exercise(...work, join(local, `f${index}`));
    });

    test(`${name}: the file is always the picture (seed ${seed})`, { timeout: 700_000 }, async () => {
      const artifact = here.path(`plain-${index}-${round}`);
      mkdirSync(artifact);
      expect(await exercise('-A', ...work, join(artifact, 'f'))).not.toContain('left out');
    });

    test(`${name}: each version is the picture when it was committed (seed ${seed})`, {
      timeout: 700_000,
    }, async () => {
      const artifact = here.path(`commits-${index}-${round}`);
      mkdirSync(artifact);
      const said = await exercise('-A', ...work, '-e', '75', '-c', artifact, join(artifact, 'f'));
      expect(Number(/(\d+) versions/.exec(said)?.[1])).toBeGreaterThan(5);
    });
  }
}

test('the last state of each file is there after a remount', async () => {
  const sums = 'find . -type f -name f | sort | xargs sha256sum';
  const before = await here.sh(sums, { cwd: here.mnt });
  await here.unmount();
  await here.mount();
  expect(await here.sh(sums, { cwd: here.mnt })).toBe(before);
  expect(before.split('\n').length).toBeGreaterThan(modes.length * 2);
});
