// Machines whose clocks are wrong by hours, on one bucket: what is committed, shown and deleted is what it were with right ones.
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { pathToFileURL } from 'node:url';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type S3Store, testServer } from './support/s3.js';
import { type Machine, World } from './support/world.js';

const hook = pathToFileURL(join(import.meta.dirname, 'support/shifted-clock.mjs')).href;
const hourMs = 3_600_000;
let store: S3Store;
let world: World;
let early: Machine;
let late: Machine;
let right: Machine;

beforeAll(async () => {
  store = await testServer();
  world = new World(store.options);
  const machine = (name: string, shiftMs: number) =>
    world.machine(name, { NODE_OPTIONS: `--import=${hook}`, SHIFTED_CLOCK_MS: String(shiftMs) });
  early = machine('early', -7 * hourMs);
  late = machine('late', 9 * hourMs);
  right = machine('right', 0);
  for (const one of [early, late, right]) await one.mount('--refresh-interval=0');
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await store.close();
});

const at = (machine: Machine, script: string) => machine.sh(script, { cwd: machine.mnt });
const refreshAll = async () => {
  for (const one of [early, late, right]) await at(one, 'echo . > .artifactfs/refresh');
};
const commit = (machine: Machine, text: string) =>
  at(machine, `echo ${text} > m/${text}; echo ${text} > m/.artifact/commit`);

test('commits follow one another whatever their clocks say, and every machine shows the last one', async () => {
  await at(late, 'mkdir m');
  const order: [Machine, string][] = [
    [late, 'a'],
    [early, 'b'],
    [right, 'c'],
    [early, 'd'],
    [late, 'e'],
  ];
  for (const [machine, text] of order) {
    await refreshAll();
    await commit(machine, text);
  }
  // Without a look at what the others did since: it is combined with that.
  await commit(early, 'f');
  await refreshAll();
  const log = JSON.parse((await right.artifactfs('log', join(right.mnt, 'm'), '--json')).stdout) as {
    versions: { message: string; timeMs: number }[];
  };
  expect(
    log.versions
      .map(({ message }) => message)
      .reverse()
      .join(''),
  ).toBe('abcdef');
  const times = log.versions.map(({ timeMs }) => timeMs);
  expect(times).toEqual([...times].sort((a, b) => b - a));
  for (const one of [early, late, right]) expect(await at(one, 'cat m/? | tr -d "\\n"')).toBe('abcdef');
});

test('a refresh sees what a machine with an earlier clock wrote', async () => {
  await at(early, 'echo early > m/g; echo g > m/.artifact/commit');
  await at(late, 'echo . > m/.artifact/refresh');
  expect(await at(late, 'cat m/g')).toBe('early\n');
});

test('gc of machines with wrong clocks takes by the clock of the store what is old, and no stage for dead', async () => {
  await at(right, 'echo staged > m/staged');
  await at(right, `echo '{"retention": {"keepNewerThan": "1h"}}' > m/.artifact/manifest.json`);
  await at(right, 'echo retention > m/.artifact/commit; echo more > m/staged2');
  for (const machine of [early, late]) {
    const outcome = await machine.artifactfs(
      'gc',
      '--grace',
      '1h',
      '--dead-after',
      '2h',
      '--json',
      '--store',
      world.store,
    );
    const { artifacts } = JSON.parse(outcome.stdout) as {
      artifacts: { expired: number[]; abandoned: string[]; freed: { objects: number } }[];
    };
    expect(artifacts.flatMap(({ expired }) => expired)).toEqual([]);
    expect(artifacts.flatMap(({ abandoned }) => abandoned)).toEqual([]);
    expect(artifacts.map(({ freed }) => freed.objects)).toEqual([0, 0]);
  }
  expect(await at(early, 'cat m@v0/a')).toBe('a\n');
  await at(right, 'echo more > m/.artifact/commit');
  expect(JSON.parse(readFileSync(right.path('m/.artifact/status'), 'utf8'))).toMatchObject({ base: 8 });
});

test('a file has the time of the machine that wrote it, and is as new as it is', async () => {
  await at(late, 'echo . > m/.artifact/refresh; echo old > m/times; echo t > m/.artifact/commit');
  await at(early, 'echo . > m/.artifact/refresh; echo new > m/times; echo t > m/.artifact/commit');
  await at(late, 'echo . > m/.artifact/refresh');
  expect(await at(late, 'cat m/times')).toBe('new\n');
});
