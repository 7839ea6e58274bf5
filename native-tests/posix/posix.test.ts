// The suite of native-tests/c/posix-*.c: thousands of cases of the calls on names and attributes. It runs on a local
// disk first: what does not hold there is no rule. Then on a mount that everybody may enter, in an artifact's own
// directory and below it, as root and three users; as an ordinary user on a mount of his own; in an artifact
// that is committed all the time; and in a version.
import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, type TestContext, test } from 'vitest';
import { ordinaryUser } from '../support/ordinary-user.js';
import { program } from '../support/programs.js';
import { type Machine, World } from '../support/world.js';

const files = readdirSync(join(import.meta.dirname, '..', 'c')).filter((name) => /^posix-.*\.c$/.test(name));
const suite = program('posix', files);

/** Fewer means that something did not run. */
const casesMin = { root: 28_000, user: 10_500, version: 200 };

const user = ordinaryUser();
const rootWorld = new World();
const userWorld = new World({ user });
const rootMachine = rootWorld.machine();
const userMachine = userWorld.machine();

beforeAll(async () => {
  await rootMachine.mount('--allow-other');
  await userMachine.mount();
});
afterAll(async () => {
  await rootWorld[Symbol.asyncDispose]();
  await userWorld[Symbol.asyncDispose]();
});

/** Runs one part in a directory; throws with its failed cases, and tells scripts/summary.mjs how many ran. */
async function run(
  machine: Machine,
  directory: string,
  part: string,
  context: TestContext,
  environment: readonly string[] = [],
): Promise<number> {
  const command = [...environment, suite, directory, part];
  const { code, stdout, stderr } = await machine.exec('/usr/bin/env', command, { timeoutMs: 110_000 });
  const [, cases, failed] = /(\d+) cases, (\d+) failed/.exec(stdout) ?? [];
  if (code !== 0 || cases === undefined || failed !== '0') throw new Error(`${part}:\n${stdout}${stderr}`);
  Object.assign(context.task.meta, { cases: Number(cases) });
  return Number(cases);
}

function partsFor(machine: Machine): string[] {
  const identity = machine === userMachine ? { uid: user.uid, gid: user.gid } : {};
  const list = execFileSync(suite, ['list'], { ...identity, encoding: 'utf8' });
  return list.trim().split('\n');
}

/** A test for each part that this user can run, and one for how much that was. */
function runAll(machine: Machine, place: () => string, min: number): void {
  let cases = 0;
  for (const part of partsFor(machine)) {
    test(part, async (context) => {
      cases += await run(machine, place(), part, context);
    });
  }
  test(`at least ${min} cases ran`, () => {
    expect(cases).toBeGreaterThanOrEqual(min);
  });
}

/** Those about paths and permissions the kernel decides alone. */
const isOfTheFileSystem = (part: string): boolean => !/^(paths|access|sticky):/.test(part);

function inside(machine: Machine, ...names: string[]): () => string {
  const directory = machine.path(...names);
  beforeAll(() => machine.sh(`mkdir -p '${directory}'`));
  return () => directory;
}

describe('on a local disk, as root', () => {
  const directory = join(rootWorld.directory, 'local');
  mkdirSync(directory);
  runAll(rootMachine, () => directory, casesMin.root);
});

describe('on a local disk, as an ordinary user', () => {
  const directory = join(userMachine.directory, 'local');
  beforeAll(() => userMachine.sh(`mkdir '${directory}'`));
  runAll(userMachine, () => directory, casesMin.user);
});

describe('in a directory of an artifact, as root', () => {
  runAll(rootMachine, inside(rootMachine, 'posix', 'below'), casesMin.root);
});

describe("in an artifact's own directory, as root", () => {
  runAll(rootMachine, inside(rootMachine, 'posix-top'), casesMin.root);
});

describe('in a directory of an artifact, as an ordinary user', () => {
  runAll(userMachine, inside(userMachine, 'posix', 'below'), casesMin.user);
});

describe("in an artifact's own directory, as an ordinary user", () => {
  runAll(userMachine, inside(userMachine, 'posix-top'), casesMin.user);
});

describe('in an artifact that is committed all the time', () => {
  const directory = inside(rootMachine, 'posix-committed', 'below');
  const control = rootMachine.path('posix-committed', '.artifact');
  for (const part of partsFor(rootMachine).filter(isOfTheFileSystem)) {
    test(part, async (context) => {
      await run(rootMachine, directory(), part, context, [`POSIX_COMMIT=${join(control, 'commit')}`]);
    });
  }
  test('at least 150 commits were made', () => {
    expect(readdirSync(join(control, 'versions')).length).toBeGreaterThanOrEqual(150);
  });
});

describe('in a version', () => {
  test.each([
    ['root', rootMachine],
    ['an ordinary user', userMachine],
  ])('every change is refused, as %s', async (_, machine) => {
    const context = { task: { meta: {} } } as TestContext;
    await machine.sh('mkdir "$MNT/fixed"');
    await run(machine, machine.path('fixed'), 'version: prepare', context);
    await machine.sh('echo first > "$MNT/fixed/.artifact/commit"');
    const cases = await run(machine, machine.path('fixed@v0'), 'version: read-only', context);
    expect(cases).toBeGreaterThanOrEqual(machine === rootMachine ? casesMin.version : 150);
  });
});
