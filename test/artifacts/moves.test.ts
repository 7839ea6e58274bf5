import { cpSync } from 'node:fs';
import { beforeEach, expect, test } from 'vitest';
import type { Artifacts } from '../../src/artifacts/ports.js';
import { isCode } from '../../src/model/errors.js';
import { failure, type Machine, openMachine, Shell, temporaryDirectory } from './support/daemon.js';
import { gatedMachines } from './support/machines.js';

const machines = gatedMachines();
let first: Machine;
let one: Artifacts;
let two: Artifacts;

/** Two machines that know the collections a, b and c, and the artifact m. */
beforeEach(async () => {
  first = await machines.open();
  one = first.artifacts;
  for (const name of ['a', 'b', 'c'])
    await one.create(one.root, name, { type: 'collection' }).commit({ message: '' });
  const shell = new Shell(one.create(one.root, 'm'));
  await shell.write('f', 'm');
  await shell.commit();
  two = (await machines.open()).artifacts;
  for (const name of ['a', 'b', 'c', 'm']) await two.find(name);
});

const into = async (artifacts: Artifacts, name: string, collection: string, as = name): Promise<void> =>
  artifacts.rename(artifacts.root, name, await artifacts.find(collection), as);

/** Every path, as one machine and a new one see it. */
async function paths(artifacts: Artifacts): Promise<string[]> {
  await artifacts.refresh();
  const seen = await pathsOf(artifacts);
  expect(await pathsOf((await machines.open()).artifacts)).toEqual(seen);
  return seen;
}

async function pathsOf(artifacts: Artifacts, path = ''): Promise<string[]> {
  const collection = await artifacts.find(path);
  await collection.refresh();
  const names = artifacts.children(collection, null, 100).map((name) => `${path}/${name}`);
  const below = await Promise.all(names.map((name) => pathsOf(artifacts, name)));
  return [...names, ...below.flat()].sort();
}

/** False: it was a conflict. */
const succeeds = async (work: Promise<unknown>): Promise<boolean> => {
  try {
    await work;
    return true;
  } catch (error) {
    if (isCode(error, 'Conflict')) return false;
    throw error;
  }
};

/** Runs `then` after the `count`th record from now on is in the store. */
function afterRecord(count: number, then: () => Promise<unknown>): void {
  let seen = 0;
  machines.store.atRecord = async (when) => {
    if (when === 'before the record' || ++seen < count) return;
    machines.store.atRecord = () => Promise.resolve();
    await then();
  };
}

test('regression: of two moves that cross the one that comes second is refused', async () => {
  let other: Promise<unknown> = Promise.resolve();
  afterRecord(1, () => (other = failure(into(two, 'b', 'a'))));
  await into(one, 'a', 'b');
  expect(await other).toMatchObject({ code: 'Conflict', details: { paths: ['b'] } });
  expect(await paths(one)).toEqual(['/b', '/b/a', '/c', '/m']);
  expect(await paths(two)).toEqual(['/b', '/b/a', '/c', '/m']);
  expect(await one.removed()).toEqual([]);
});

test('regression: of two moves that have both linked one or neither is done, and nothing is in itself meanwhile', async () => {
  let byTwo: Promise<boolean> = Promise.resolve(false);
  const third = (await machines.open()).artifacts;
  for (const name of ['a', 'b']) await third.find(name);
  afterRecord(1, async () => {
    // The second has linked, too; it looks only when the first has looked.
    const linked = new Promise<void>((resolve) =>
      afterRecord(1, async () => {
        resolve();
        await third.refresh();
        expect(third.children(third.root, null, 10)).toEqual(['a', 'b', 'c', 'm']);
        await third.find('a/b');
        await third.find('b/a');
        await third.find('a/b/a');
        expect((await third.find('a')).path.length).toBeLessThan(10);
      }),
    );
    byTwo = succeeds(into(two, 'b', 'a'));
    await linked;
  });
  const byOne = await succeeds(into(one, 'a', 'b'));
  expect([byOne, await byTwo]).not.toEqual([true, true]);
  const ab = byOne ? ['/b', '/b/a'] : (await byTwo) ? ['/a', '/a/b'] : ['/a', '/b'];
  expect(await paths(one)).toEqual([...ab, '/c', '/m']);
  expect(await paths(two)).toEqual([...ab, '/c', '/m']);
});

test('regression: three moves in a circle leave everything where it is found', async () => {
  const third = (await machines.open()).artifacts;
  for (const name of ['a', 'b', 'c']) await third.find(name);
  afterRecord(1, async () => {
    await into(two, 'b', 'c');
    expect(await failure(into(third, 'c', 'a'))).toMatchObject({ code: 'Conflict' });
  });
  await into(one, 'a', 'b');
  expect(await paths(one)).toEqual(['/c', '/c/b', '/c/b/a', '/m']);
});

test('regression: of two that move an artifact to the same place one does it, and it keeps its name', async () => {
  afterRecord(1, async () => {
    expect(await failure(into(two, 'm', 'a'))).toMatchObject({
      code: 'Conflict',
      message: 'm is moved there by somebody else already',
    });
  });
  await into(one, 'm', 'a');
  expect(await paths(two)).toEqual(['/a', '/a/m', '/b', '/c']);
});

/** A daemon killed after the `count`th record of `work`; answers another one on its state. */
async function killedAfter(
  count: number,
  work: () => Promise<unknown>,
  meanwhile: () => Promise<unknown> = () => Promise.resolve(),
): Promise<Artifacts> {
  const stateDir = temporaryDirectory();
  await new Promise<void>((resolve, reject) => {
    afterRecord(count, () => {
      cpSync(first.stateDir, stateDir, { recursive: true });
      resolve();
      return new Promise(() => {});
    });
    work().then(() => reject(new Error('it came to its end')), reject);
  });
  await meanwhile();
  const { artifacts } = await machines.open({ stateDir });
  await artifacts.idle();
  return artifacts;
}

// The records: ours in the new collection, theirs, ours that takes the first back.
test('regression: a move that was overtaken, and killed before it could take its name back, leaves one name', async () => {
  const again = await killedAfter(
    1,
    () => into(one, 'm', 'a'),
    () => into(two, 'm', 'b'),
  );
  expect(await paths(again)).toEqual(['/a', '/b', '/b/m', '/c']);
});

test('a move that was killed when it had taken the old name away is not undone', async () => {
  const again = await killedAfter(2, () => into(one, 'm', 'a'));
  expect(await paths(again)).toEqual(['/a', '/a/m', '/b', '/c']);
});

test('regression: a move that was killed when it had linked is not finished into itself', async () => {
  const again = await killedAfter(
    1,
    () => into(one, 'a', 'b'),
    async () => {
      expect(await failure(into(two, 'b', 'a'))).toMatchObject({ code: 'Conflict' });
    },
  );
  expect(await paths(again)).toEqual(['/b', '/b/a', '/c', '/m']);
});

test('regression: a move whose outcome was unknown is finished by the next refresh', async () => {
  machines.store.atRecord = async (when) => {
    machines.store.isGone = when === 'after the record';
  };
  expect((await failure(into(one, 'm', 'a'))).code).toBe('OutcomeUnknown');
  machines.store.atRecord = () => Promise.resolve();
  machines.store.isGone = false;
  expect(await paths(two)).toEqual(['/a', '/a/m', '/b', '/c', '/m']);
  await one.refresh();
  expect(await paths(two)).toEqual(['/a', '/a/m', '/b', '/c']);
});

test('regression: of two that restore an artifact into two collections one or neither does it', async () => {
  const { id } = await one.find('m');
  await one.unlink(await one.find('m'), { force: false, recursive: false });
  const restoring = machines.store.overtaken(
    () => two.restore(id, 'b/back'),
    () => one.restore(id, 'a/back'),
  );
  expect(await failure(restoring)).toMatchObject({
    code: 'Conflict',
    message: 'm was restored by somebody else meanwhile',
  });
  expect(await paths(two)).toEqual(['/a', '/a/back', '/b', '/c']);
  await one.unlink(await one.find('a/back'), { force: false, recursive: false });
  let haveLinked = () => {};
  const bothLinked = new Promise<void>((resolve) => {
    haveLinked = resolve;
  });
  let byOne: Promise<boolean> = Promise.resolve(false);
  const byTwo = machines.store.overtaken(
    () => succeeds(two.restore(id, 'b/back')),
    () =>
      new Promise<void>((resolve) => {
        afterRecord(1, async () => {
          afterRecord(1, async () => haveLinked());
          resolve();
          await bothLinked;
        });
        byOne = succeeds(one.restore(id, 'a/back'));
      }),
  );
  const names = (await byTwo) ? ['/b/back'] : [];
  if (await byOne) names.push('/a/back');
  expect(names.length).toBeLessThan(2);
  expect(await paths(two)).toEqual(['/a', '/b', '/c', ...names].sort());
  for (const name of names) await one.unlink(await one.find(name), { force: false, recursive: false });
  expect(await two.restore(id, 'c/back')).toBe('c/back');
  expect(await paths(one)).toEqual(['/a', '/b', '/c', '/c/back']);
});

test('regression: a restore that was killed while somebody else restored leaves one name', async () => {
  const { id } = await one.find('m');
  await one.unlink(await one.find('m'), { force: false, recursive: false });
  await two.removed();
  const other = machines.store.overtaken(
    () => failure(two.restore(id, 'b/back')),
    async () => {
      const again = await killedAfter(1, () => one.restore(id, 'a/back'));
      expect(await paths(again)).toEqual(['/a', '/a/back', '/b', '/c']);
    },
  );
  expect(await other).toMatchObject({ code: 'Conflict' });
  expect(await paths(two)).toEqual(['/a', '/a/back', '/b', '/c']);
});

test('regression: an artifact whose daemon was killed between its first version and its name gets that at the next start', async () => {
  // Never closed: its commit has no end.
  first = await openMachine({ store: machines.store });
  const { root } = first.artifacts;
  const collection = first.artifacts.create(root, 'new', { type: 'collection' });
  const inner = new Shell(first.artifacts.create(collection, 'inner'));
  await inner.write('f', 'x');
  const again = await killedAfter(1, () => collection.commit({ message: '' }));
  await two.refresh();
  expect(two.children(two.root, null, 10)).toEqual(['a', 'b', 'c', 'm', 'new']);
  expect(await new Shell(await again.find('new/inner')).commit()).toMatchObject({ version: 0 });
  expect(await paths(two)).toEqual(['/a', '/b', '/c', '/m', '/new', '/new/inner']);
});
