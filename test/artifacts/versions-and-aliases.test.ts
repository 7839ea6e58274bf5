import { beforeEach, expect, test } from 'vitest';
import type { Invalidation } from '../../src/artifacts/ports.js';
import { failure, type Machine, Shell, shellOf } from './support/daemon.js';
import { gatedMachines } from './support/machines.js';

const machines = gatedMachines();
let first: Machine;
let second: Machine;
let one: Shell;
let two: Shell;

/** Two machines at v4 of one artifact. */
beforeEach(async () => {
  first = await machines.open();
  one = new Shell(first.artifacts.create(first.artifacts.root, 'm'));
  for (const text of ['0', '1', '2', '3', '4']) {
    await one.put('f', text);
    await one.commit();
  }
  second = await machines.open();
  two = await shellOf(second, 'm');
});

test('an alias is made, moved and removed, and the other machine sees it after a refresh', async () => {
  expect(await one.artifact.setAlias('best', 'v1')).toEqual({ alias: 'best', before: null, version: 1 });
  expect(two.artifact.aliases()).toEqual({});
  await two.artifact.refresh();
  expect(two.artifact.resolveVersion('best').version).toBe(1);
  expect(await two.artifact.setAlias('best', 'latest', 1)).toEqual({ alias: 'best', before: 1, version: 4 });
  expect(await two.artifact.setAlias('prod', 'best')).toMatchObject({ version: 4 });
  expect(await one.artifact.setAlias('best', null)).toEqual({ alias: 'best', before: 4, version: null });
  expect(one.artifact.aliases()).toEqual({ prod: 4 });
  await two.artifact.refresh();
  expect(two.artifact.aliases()).toEqual({ prod: 4 });
});

test('an alias that is where it shall be writes nothing', async () => {
  await one.artifact.setAlias('best', 'v1');
  await two.artifact.setAlias('best', '1');
  expect(await two.artifact.refresh()).toBe(false);
  expect(await one.artifact.refresh()).toBe(false);
});

test('an alias that stands elsewhere than expected is a conflict that says where', async () => {
  await one.artifact.setAlias('best', 'v4');
  const conflict = (...change: Parameters<typeof two.artifact.setAlias>) =>
    failure(two.artifact.setAlias(...change));
  expect(await conflict('best', 'v2', 3)).toMatchObject({
    code: 'Conflict',
    message: 'best of m is v4 now, not v3',
    details: { alias: 'best', expected: 3, found: 4 },
  });
  expect((await conflict('best', null, 3)).message).toBe('best of m is v4 now, not v3');
  expect((await conflict('best', 'v2', null)).message).toBe('best of m exists already: it is v4');
  expect((await conflict('prod', 'v2', 3)).message).toBe(
    'prod of m does not exist now; it was expected to be v3',
  );
  expect(two.artifact.aliases()).toEqual({ best: 4 });
});

test('an alias is called neither like a version nor like what is no name', async () => {
  for (const name of ['latest', 'stage', 'v3', '3', 'v3~1', '.x', '@x', 'a/b', ''])
    expect((await failure(one.artifact.setAlias(name, 'v1'))).code, name).toBe('InvalidName');
});

test('an alias leads to what exists', async () => {
  expect((await failure(one.artifact.setAlias('best', 'v9'))).message).toBe(
    'm has no version v9; it has versions v0 to v4',
  );
  expect((await failure(one.artifact.setAlias('best', null))).message).toBe('m has no alias best');
  await one.artifact.expire([1]);
  expect((await failure(two.artifact.setAlias('best', 'v1'))).message).toBe('version v1 of m has expired');
});

test('versions that expired are gone everywhere, for ever, and say so', async () => {
  const told: Invalidation[] = [];
  two.artifact.onInvalidate((what) => told.push(what));
  expect(await one.artifact.expire([2, 0, 2])).toEqual([0, 2]);
  expect(await one.artifact.expire([2])).toEqual([]);
  expect(await two.artifact.refresh()).toBe(true);
  expect(told).toEqual([
    { type: 'version', version: 0 },
    { type: 'version', version: 2 },
  ]);
  for (const { artifact } of [one, two]) {
    expect((await failure(() => artifact.resolveVersion('v0'))).message).toBe('version v0 of m has expired');
    expect(artifact.versions().map(({ version, expired }) => [version, expired])).toEqual([
      [4, false],
      [3, false],
      [2, true],
      [1, false],
      [0, true],
    ]);
  }
});

test('the latest version and what aliases point to do not expire, and nothing does when one of them is named', async () => {
  await two.artifact.setAlias('best', 'v1');
  await two.artifact.setAlias('prod', 'v1');
  expect(await failure(one.artifact.expire([0, 4]))).toMatchObject({
    code: 'NotPermitted',
    message: 'v4 is the latest of m: it stays',
  });
  expect(await failure(one.artifact.expire([0, 1]))).toMatchObject({
    code: 'NotPermitted',
    message: 'best, prod of m is v1: it stays',
  });
  expect((await failure(one.artifact.expire([0, 17]))).code).toBe('NotFound');
  expect(one.artifact.resolveVersion('v0').version).toBe(0);
});

test('of two that make the same alias the first gets it, and the other is told', async () => {
  const making = machines.store.overtaken(
    () => two.artifact.setAlias('best', 'v2', null),
    () => one.artifact.setAlias('best', 'v1', null),
  );
  expect(await failure(making)).toMatchObject({
    code: 'Conflict',
    message: 'best of m exists already: it is v1',
  });
  await two.artifact.refresh();
  expect(two.artifact.aliases()).toEqual({ best: 1 });
});

test('of two that move an alias from the same place the first moves it; who expects nothing moves it on', async () => {
  await one.artifact.setAlias('best', 'v0');
  const moving = machines.store.overtaken(
    () => two.artifact.setAlias('best', 'v2', 0),
    () => one.artifact.setAlias('best', 'v1', 0),
  );
  expect((await failure(moving)).message).toBe('best of m is v1 now, not v0');
  const onward = machines.store.overtaken(
    () => two.artifact.setAlias('best', 'v2'),
    () => one.artifact.setAlias('best', 'v3'),
  );
  expect(await onward).toEqual({ alias: 'best', before: 3, version: 2 });
  await one.artifact.refresh();
  expect(one.artifact.aliases()).toEqual({ best: 2 });
});

test('an alias and the expiry of its version: the first gets what it wanted, the other is told why not', async () => {
  const pointing = machines.store.overtaken(
    () => two.artifact.setAlias('best', 'v1'),
    () => one.artifact.expire([1]),
  );
  expect(await failure(pointing)).toMatchObject({
    code: 'NotFound',
    message: 'v1 of m has expired: no alias can point to it',
  });
  const expiring = machines.store.overtaken(
    () => two.artifact.expire([0, 2]),
    () => one.artifact.setAlias('best', 'v2'),
  );
  expect(await failure(expiring)).toMatchObject({
    code: 'NotPermitted',
    message: 'best of m is v2: it stays',
  });
  await two.artifact.refresh();
  expect(two.artifact.resolveVersion('v0').version).toBe(0);
  expect(two.artifact.aliases()).toEqual({ best: 2 });
});

test('what expires is the latest no more when it is written, also when commits come between', async () => {
  await two.put('f', '5');
  await one.artifact.refresh();
  const expiring = machines.store.overtaken(
    () => one.artifact.expire([3]),
    () => two.commit(),
  );
  expect(await expiring).toEqual([3]);
  expect(one.artifact.resolveVersion('latest').version).toBe(5);
  expect(await one.read('f')).toBe('5');
});

test('a stage whose base expired is not published, and stays', async () => {
  await two.put('f', 'mine');
  await one.put('f', '5');
  await one.commit();
  await one.artifact.expire([4]);
  expect((await failure(two.commit())).code).toBe('Stale');
  expect(await two.read('f')).toBe('mine');
  expect((await two.artifact.status()).staged.map(({ path }) => path)).toEqual(['f']);
});

test('a retention that cannot be followed is refused where it is written', async () => {
  const manifest = (retention: unknown) => () => one.artifact.setManifest({ retention });
  expect((await failure(manifest({ keepLast: 0 }))).code).toBe('Invalid');
  expect(one.artifact.manifest()).toEqual({});
  manifest({ keepLast: 3, keepNewerThan: '30d' })();
  await one.commit();
  expect(one.artifact.manifest()).toEqual({ retention: { keepLast: 3, keepNewerThan: '30d' } });
});
