import { beforeEach, expect, test } from 'vitest';
import type { Artifacts } from '../../src/artifacts/ports.js';
import { newCommitId, newStageId } from '../../src/model/ids.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { failure, type Machine, Shell, shellOf } from './support/daemon.js';
import { gatedMachines } from './support/machines.js';

const machines = gatedMachines();
let first: Machine;
let second: Machine;
let one: Artifacts;
let two: Artifacts;

const gently = { force: false, recursive: false };
const namesOf = async (artifacts: Artifacts, path = '') =>
  artifacts.children(await artifacts.find(path), null, 100);

/** Two machines that know the artifact m, the collection c and the artifact c/n. */
beforeEach(async () => {
  first = await machines.open();
  one = first.artifacts;
  const collection = one.create(one.root, 'c', { type: 'collection' });
  await collection.commit({ message: '' });
  for (const artifact of [one.create(one.root, 'm'), one.create(collection, 'n')]) {
    const shell = new Shell(artifact);
    await shell.put('f', artifact.path);
    await shell.commit();
  }
  second = await machines.open();
  two = second.artifacts;
  for (const path of ['m', 'c/n']) await two.find(path);
});

test('a removed artifact is gone everywhere, is listed, and comes back with all its versions', async () => {
  const { id } = await one.find('m');
  await one.unlink(await one.find('m'), gently);
  expect(await namesOf(one)).toEqual(['c']);
  const told: string[] = [];
  two.onChildrenChanged((collection, name) => told.push(`${collection.path}/${name}`));
  expect(await two.removed()).toHaveLength(1);
  expect(told).toEqual(['/m']);
  expect((await failure(() => two.find('m'))).code).toBe('NotFound');
  expect(await two.removed()).toMatchObject([{ artifactId: id, path: 'm', versions: 1, user: 'tester' }]);
  expect(await two.restore('m')).toBe('m');
  expect(await two.removed()).toEqual([]);
  expect((await failure(two.restore('m'))).code).toBe('NotFound');
  await one.refresh();
  expect((await one.find('m')).id).toBe(id);
  expect(await new Shell(await one.find('m')).read('f')).toBe('m');
});

test('an artifact comes back under another name or by its id when its own is taken', async () => {
  const { id } = await one.find('m');
  await one.unlink(await one.find('m'), gently);
  const other = new Shell(one.create(one.root, 'm'));
  expect((await failure(one.restore('m'))).code).toBe('Exists');
  await other.put('f', 'the other');
  await other.commit();
  expect(await failure(one.restore(id))).toMatchObject({ code: 'Exists', message: 'm exists' });
  expect((await failure(one.restore(id, 'no/where'))).code).toBe('NotFound');
  expect((await failure(one.restore(id, 'm/inside'))).code).toBe('NotDirectory');
  expect(await one.restore(id, 'c/back')).toBe('c/back');
  expect(await new Shell(await one.find('c/back')).read('f')).toBe('m');
  expect(await other.read('f')).toBe('the other');
});

test('an artifact that was moved is not one that was removed', async () => {
  await one.rename(one.root, 'm', await one.find('c'), 'moved');
  expect(await one.removed()).toEqual([]);
  expect(await two.removed()).toEqual([]);
});

test('what gc has let go of does not come back', async () => {
  const { id } = await one.find('m');
  await one.unlink(await one.find('m'), gently);
  expect(await one.removed()).toHaveLength(1);
  // As garbage collection does with what was removed long ago.
  const workspace = await Workspace.open(machines.store, { host: 'test', user: 'tester' });
  const request = {
    artifactId: id,
    commitId: newCommitId(),
    stageId: newStageId(),
    sinceSeq: 0,
    sincePrev: '',
  };
  const journal = { save: () => {}, pending: () => [], remove: () => {} };
  await workspace.append(request, () => ({ type: 'expire', versions: [0] }), journal);
  expect(await one.removed()).toEqual([]);
  expect((await failure(one.restore(id))).code).toBe('NotFound');
});

test('what is staged is lost only by force, and a collection goes with what it holds only when that is said', async () => {
  const shell = await shellOf(first, 'c/n');
  await shell.put('f', 'staged');
  const collection = await one.find('c');
  expect((await failure(one.unlink(collection, gently))).message).toBe('c holds artifacts');
  expect(await failure(one.unlink(collection, { force: false, recursive: true }))).toMatchObject({
    code: 'NotEmpty',
    details: { paths: ['c/n'] },
  });
  expect(await failure(one.unlink(shell.artifact, gently))).toMatchObject({ code: 'NotEmpty' });
  expect(await namesOf(one)).toEqual(['c', 'm']);
  await one.unlink(collection, { force: true, recursive: true });
  expect(await namesOf(one)).toEqual(['m']);
  expect(one.staged()).toEqual([]);
  expect(await one.removed()).toMatchObject([{ path: 'c' }]);
  await one.restore('c');
  expect(await (await shellOf(first, 'c/n')).read('f')).toBe('c/n');
  expect((await failure(one.unlink(one.root, gently))).code).toBe('NotPermitted');
});

test('one that was never committed goes when it is empty, and with files by force', async () => {
  one.create(one.root, 'empty');
  await one.unlink(await one.find('empty'), gently);
  const shell = new Shell(one.create(one.root, 'new'));
  await shell.put('f', 'x');
  expect((await failure(one.unlink(shell.artifact, gently))).code).toBe('NotEmpty');
  await one.unlink(shell.artifact, { force: true, recursive: false });
  expect(await namesOf(one)).toEqual(['c', 'm']);
  expect(one.staged()).toEqual([]);
});

test('a removal that comes after a rename by somebody else removes nothing', async () => {
  const removing = machines.store.overtaken(
    async () => two.unlink(await two.find('m'), gently),
    async () => one.rename(one.root, 'm', one.root, 'renamed'),
  );
  expect(await failure(removing)).toMatchObject({
    code: 'Conflict',
    message: 'm was renamed, moved or removed by somebody else',
  });
  await two.refresh();
  expect(await namesOf(two)).toEqual(['c', 'renamed']);
});

test('of two renames the first is what happened, and the other is told', async () => {
  const renaming = machines.store.overtaken(
    async () => two.rename(two.root, 'm', two.root, 'by-two'),
    async () => one.rename(one.root, 'm', one.root, 'by-one'),
  );
  expect((await failure(renaming)).code).toBe('Conflict');
  await two.refresh();
  expect(await namesOf(two)).toEqual(['by-one', 'c']);
});

test.each([
  ['a rename', () => one.rename(one.root, 'm', one.root, 'by-one'), ['by-one', 'c'], 0],
  ['a removal', async () => one.unlink(await one.find('m'), gently), ['c'], 1],
])(
  'a move that %s by somebody else overtakes leaves the artifact one name at most',
  async (_, first, left, removed) => {
    const target = await two.find('c');
    const moving = machines.store.overtaken(
      async () => two.rename(two.root, 'm', target, 'by-two'),
      first as () => Promise<void>,
    );
    expect(await failure(moving)).toMatchObject({
      code: 'Conflict',
      message: 'm was renamed, moved or removed by somebody else meanwhile',
    });
    for (const artifacts of [one, two]) {
      await artifacts.refresh();
      expect(await namesOf(artifacts)).toEqual(left);
      expect(await namesOf(artifacts, 'c')).toEqual(['n']);
    }
    expect(await two.removed()).toHaveLength(removed);
  },
);

test('a commit and the removal of its artifact both happen: the version is there when it comes back', async () => {
  const shell = await shellOf(second, 'm');
  await shell.put('f', 'committed');
  const committing = machines.store.overtaken(
    () => shell.commit(),
    async () => one.unlink(await one.find('m'), gently),
  );
  expect(await committing).toMatchObject({ version: 1 });
  await two.refresh();
  expect((await failure(() => two.find('m'))).code).toBe('NotFound');
  expect(await one.removed()).toMatchObject([{ path: 'm', versions: 2 }]);
  await one.restore('m');
  expect(await (await shellOf(first, 'm')).read('f')).toBe('committed');
});

test('of two that restore the same artifact the first names it', async () => {
  const { id } = await one.find('m');
  await one.unlink(await one.find('m'), gently);
  const restoring = machines.store.overtaken(
    () => two.restore(id, 'by-two'),
    () => one.restore(id, 'by-one'),
  );
  expect(await failure(restoring)).toMatchObject({
    code: 'Conflict',
    message: 'm was restored by somebody else meanwhile',
  });
  await two.refresh();
  expect(await namesOf(two)).toEqual(['by-one', 'c']);
});

test('regression: names that a collection learns of by its own refresh or commit are told', async () => {
  const told: string[] = [];
  two.onChildrenChanged((collection, name) => told.push(`${collection.path}/${name}`));
  const make = async (name: string) => {
    const shell = new Shell(one.create(await one.find('c'), name));
    await shell.put('f', 'x');
    await shell.commit();
  };
  const collection = await two.find('c');
  await make('by-refresh');
  await collection.refresh();
  expect(told).toEqual(['c/by-refresh']);
  await make('by-commit');
  collection.setManifest({ type: 'collection', name: 'told' });
  await collection.commit({ message: '' });
  expect(told).toEqual(['c/by-refresh', 'c/by-commit']);
});
