import { cpSync } from 'node:fs';
import { afterEach, expect, test } from 'vitest';
import { deferred } from '../../src/util/deferred.js';
import {
  failure,
  newStore,
  openMachine,
  removeTemporaryDirectories,
  Shell,
  shellOf,
  temporaryDirectory,
  unexpected,
} from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';

afterEach(() => {
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

test('new artifacts are made, renamed, moved and removed in the stage alone', async () => {
  const store = newStore();
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const { root } = artifacts;
  const told: string[] = [];
  artifacts.onChildrenChanged((collection, name) => told.push(`${collection.path}:${name}`));
  const gallery = artifacts.create(root, 'gallery', { type: 'collection' });
  const plain = artifacts.create(root, 'plain', { mode: 0o700, uid: 5, gid: 6, announce: true });
  expect(told).toEqual([':plain']);
  expect(plain.tree.root).toMatchObject({ kind: 'dir', mode: 0o700, uid: 5, gid: 6, nlink: 2 });
  expect([gallery.isCollection, plain.isCollection, root.isCollection]).toEqual([true, false, true]);
  expect((await failure(() => artifacts.create(root, 'plain'))).code).toBe('Exists');
  expect((await failure(() => artifacts.create(plain, 'in'))).code).toBe('NotDirectory');
  for (const bad of ['.hidden', '@x', 'a@v1', 'a/b', '', 'x'.repeat(256)])
    expect(['InvalidName', 'NameTooLong']).toContain((await failure(() => artifacts.create(root, bad))).code);
  const inner = artifacts.create(gallery, 'inner');
  expect(inner.path).toBe('gallery/inner');
  await artifacts.rename(root, 'plain', gallery, 'moved');
  expect(artifacts.children(root, null, 10)).toEqual(['gallery']);
  expect(artifacts.children(gallery, null, 10)).toEqual(['inner', 'moved']);
  expect(plain.path).toBe('gallery/moved');
  expect(await artifacts.find('gallery/moved')).toBe(plain);
  expect((await failure(() => artifacts.find('gallery/none'))).code).toBe('NotFound');
  expect((await failure(() => artifacts.find('gallery/moved/deeper'))).code).toBe('NotDirectory');
  expect((await failure(() => artifacts.rename(root, 'gallery', gallery, 'self'))).code).toBe('Loop');
  expect((await failure(() => artifacts.remove(root, 'gallery'))).code).toBe('NotEmpty');
  await new Shell(inner).write('f', '1');
  expect((await failure(() => artifacts.remove(gallery, 'inner'))).code).toBe('NotEmpty');
  await new Shell(inner).unlink('f');
  await artifacts.remove(gallery, 'inner');
  expect(artifacts.children(gallery, null, 10)).toEqual(['moved']);
  expect(
    artifacts
      .staged()
      .map((artifact) => artifact.path)
      .sort(),
  ).toEqual(['gallery', 'gallery/moved']);
  await machine.close();

  const again = await openMachine({ store, stateDir: machine.stateDir });
  expect(
    again.artifacts
      .staged()
      .map((artifact) => artifact.path)
      .sort(),
  ).toEqual(['gallery', 'gallery/moved']);
  expect((await again.artifacts.find('gallery/moved')).tree.root).toMatchObject({ mode: 0o700, uid: 5 });
  expect(await store.list('a/')[Symbol.asyncIterator]().next()).toMatchObject({ done: true });
  await again.close();
});

test('an artifact in a collection that was not committed has to wait for it', async () => {
  const store = newStore();
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const gallery = artifacts.create(artifacts.root, 'gallery', { type: 'collection' });
  const inner = new Shell(artifacts.create(gallery, 'inner'));
  await inner.write('f', 'content');
  const error = await failure(inner.commit());
  expect(error.code).toBe('NotPermitted');
  expect(error.details.hint).toContain('gallery');
  expect(await gallery.commit({ message: 'gallery' })).toMatchObject({ version: 0 });
  expect(await inner.commit()).toMatchObject({ version: 0 });
  const other = await openMachine({ store });
  expect(await (await shellOf(other, 'gallery/inner')).read('f')).toBe('content');
  expect((await other.artifacts.find('gallery')).manifest()).toEqual({ type: 'collection' });
  await other.close();
  await machine.close();
});

test('a committed artifact is renamed and moved for everybody at once, and never removed by rmdir', async () => {
  const store = newStore();
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const { root } = artifacts;
  const gallery = artifacts.create(root, 'gallery', { type: 'collection' });
  await gallery.commit({ message: 'm' });
  const it = new Shell(artifacts.create(root, 'it'));
  await it.write('f', 'content');
  await it.commit();
  await it.write('f', 'CON');
  const error = await failure(() => artifacts.remove(root, 'it'));
  expect(error.code).toBe('NotPermitted');
  expect(error.details.hint).toContain('artifactfs rm it');
  await artifacts.rename(root, 'it', root, 'renamed');
  expect((await failure(() => artifacts.rename(root, 'it', root, 'x'))).code).toBe('NotFound');
  expect((await failure(() => artifacts.rename(root, 'renamed', root, 'gallery'))).code).toBe('Exists');
  await artifacts.rename(root, 'renamed', gallery, 'moved');
  expect(it.artifact.path).toBe('gallery/moved');
  expect(await it.read('f')).toBe('CONtent');
  expect(await it.commit()).toMatchObject({ version: 1 });
  const other = await openMachine({ store });
  expect(other.artifacts.children(other.artifacts.root, null, 10)).toEqual(['gallery']);
  expect(await (await shellOf(other, 'gallery/moved')).read('f')).toBe('CONtent');
  // An empty new artifact in the way gives way, as an empty directory does.
  other.artifacts.create(other.artifacts.root, 'empty');
  const place = await other.artifacts.find('gallery');
  await other.artifacts.rename(place, 'moved', other.artifacts.root, 'empty');
  expect(await (await shellOf(other, 'empty')).read('f')).toBe('CONtent');
  await artifacts.refresh();
  expect(artifacts.children(gallery, null, 10)).toEqual([]);
  expect(it.artifact.path).toBe('empty');
  await other.close();
  await machine.close();
});

test('a rename fails cleanly when the store is away', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const { root } = artifacts;
  const gallery = artifacts.create(root, 'gallery', { type: 'collection' });
  await gallery.commit({ message: 'm' });
  const it = new Shell(artifacts.create(root, 'it'));
  await it.write('f', 'content');
  await it.commit();
  store.isGone = true;
  expect((await failure(() => artifacts.rename(root, 'it', gallery, 'moved'))).code).toBe('StoreUnavailable');
  expect((await failure(() => artifacts.rename(root, 'it', root, 'renamed'))).code).toBe('StoreUnavailable');
  store.isGone = false;
  expect(artifacts.children(root, null, 10)).toEqual(['gallery', 'it']);
  expect(it.artifact.path).toBe('it');
  await artifacts.rename(root, 'it', gallery, 'moved');
  expect(it.artifact.path).toBe('gallery/moved');
  await machine.close();
});

test.each([1, 2])(
  'a move that was killed after record %i has one name after the restart',
  async (records) => {
    const store = new GatedStore();
    const machine = await openMachine({ store });
    const { artifacts } = machine;
    const gallery = artifacts.create(artifacts.root, 'gallery', { type: 'collection' });
    await gallery.commit({ message: 'm' });
    const it = new Shell(artifacts.create(artifacts.root, 'it'));
    await it.write('f', 'content');
    await it.commit();
    let copied = '';
    let seen = 0;
    store.atRecord = (when) => {
      if (when === 'before the record' || ++seen < records) return Promise.resolve();
      copied = temporaryDirectory();
      cpSync(machine.stateDir, copied, { recursive: true });
      return new Promise(() => {});
    };
    void artifacts.rename(artifacts.root, 'it', gallery, 'moved');
    while (copied === '') await new Promise((resolve) => setTimeout(resolve, 5));
    store.atRecord = () => Promise.resolve();
    const again = await openMachine({ store, stateDir: copied });
    await again.artifacts.idle();
    expect(again.artifacts.children(again.artifacts.root, null, 10)).toEqual(['gallery']);
    expect(await (await shellOf(again, 'gallery/moved')).read('f')).toBe('content');
    await again.close();
  },
);

test('an artifact becomes a collection by its manifest; the manifest is staged like any change', async () => {
  const store = newStore();
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const it = new Shell(artifacts.create(artifacts.root, 'it'));
  await it.write('cover.txt', 'cover');
  await it.commit();
  expect(it.artifact.isCollection).toBe(false);
  it.artifact.setManifest({ type: 'collection', description: 'many things' });
  expect(it.artifact.isCollection).toBe(true);
  expect(artifacts.staged()).toEqual([it.artifact]);
  expect(await it.artifact.discard()).toBe(1);
  expect(it.artifact.isCollection).toBe(false);
  it.artifact.setManifest({ type: 'collection', description: 'many things' });
  expect(await it.commit()).toMatchObject({ version: 1, summary: { added: 0, changed: 0, removed: 0 } });
  const inner = new Shell(artifacts.create(it.artifact, 'inner'));
  await inner.write('f', '1');
  await inner.commit();
  expect((await failure(() => it.artifact.setManifest([] as never))).code).toBe('Invalid');
  expect((await failure(() => it.artifact.setManifest({ x: 'y'.repeat(60_000) }))).code).toBe('Invalid');
  const other = await openMachine({ store });
  expect((await other.artifacts.find('it')).manifest()).toEqual({
    type: 'collection',
    description: 'many things',
  });
  expect(await (await shellOf(other, 'it/inner')).read('f')).toBe('1');
  expect(await (await shellOf(other, 'it')).read('cover.txt')).toBe('cover');
  await other.close();
  await machine.close();
});

test('versions and aliases are resolved by name, and a wrong name is told what exists', async () => {
  const machine = await openMachine({ store: newStore() });
  const { artifacts } = machine;
  const it = new Shell(artifacts.create(artifacts.root, 'it'));
  expect((await failure(() => it.artifact.resolveVersion('latest'))).message).toContain(
    'nothing was committed',
  );
  for (const text of ['a', 'b', 'c']) {
    await it.put('f', text);
    await it.commit(`commit ${text}`);
  }
  expect(it.artifact.versions().map(({ version, message }) => `${version} ${message}`)).toEqual([
    '2 commit c',
    '1 commit b',
    '0 commit a',
  ]);
  for (const [name, version] of [
    ['latest', 2],
    ['v1', 1],
    ['0', 0],
  ] as const)
    expect(it.artifact.resolveVersion(name).version).toBe(version);
  const error = await failure(() => it.artifact.resolveVersion('v9'));
  expect(error.code).toBe('NotFound');
  expect(error.message).toContain('v0 to v2');
  await machine.close();
});

test('status and diff say what a user did', async () => {
  const machine = await openMachine({ store: newStore() });
  const it = new Shell(machine.artifacts.create(machine.artifacts.root, 'it', { type: 'dataset' }));
  await it.mkdir('dir');
  await it.mkdir('dir/sub');
  for (const path of ['dir/a', 'dir/sub/b', 'keep', 'gone', 'edit', 'moved'])
    await it.write(path, `${path} v0`);
  expect(await it.artifact.status()).toMatchObject({
    name: 'it',
    path: 'it',
    type: 'dataset',
    base: null,
    stagedCount: 8,
    lastError: null,
  });
  await it.commit();
  await it.rename('dir', 'renamed');
  await it.rename('moved', 'to');
  await it.unlink('gone');
  await it.put('edit', 'edited');
  await it.write('renamed/new', 'new');
  // An editor's way of saving.
  await it.write('keep.tmp', 'saved');
  await it.rename('keep.tmp', 'keep');
  const status = await it.artifact.status();
  expect(status.staged).toEqual([
    { path: 'edit', change: 'changed', kind: 'file', size: 6 },
    { path: 'gone', change: 'removed', kind: 'file', size: 7 },
    { path: 'keep', change: 'changed', kind: 'file', size: 5 },
    { path: 'renamed', change: 'renamed', kind: 'dir', size: 0, from: 'dir' },
    { path: 'renamed/new', change: 'added', kind: 'file', size: 3 },
    { path: 'to', change: 'renamed', kind: 'file', size: 8, from: 'moved' },
  ]);
  expect(status).toMatchObject({ base: 0, stagedCount: 6, bytesToUpload: 14 });
  expect((await it.artifact.status(2)).staged.length).toBe(2);
  const staged = await it.artifact.diff(0, 'stage');
  expect(staged.summary).toEqual({ added: 6, changed: 2, removed: 6 });
  expect(staged.changes.filter(({ change }) => change === 'changed').map(({ path }) => path)).toEqual([
    'edit',
    'keep',
  ]);
  const result = await it.commit();
  expect(result.summary).toEqual({ added: 6, changed: 2, removed: 6 });
  expect(await it.artifact.diff(0, 1)).toEqual(staged);
  expect((await it.artifact.diff(null, 1)).summary).toEqual({ added: 8, changed: 0, removed: 0 });
  expect((await it.artifact.diff(1, 'stage')).changes).toEqual([]);
  expect((await it.artifact.diff(0, 1, 3)).changes.length).toBe(3);
  await machine.close();
});

test("status and diff tell of other rights of the artifact's own directory", async () => {
  const machine = await openMachine({ store: newStore() });
  const it = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await it.write('f', '');
  await it.commit();
  await it.write('g', '');
  expect((await it.artifact.status()).staged.map(({ path }) => path)).toEqual(['g']);
  await it.unlink('g');
  const { tree } = it.artifact;
  await tree.setAttributes(tree.root, { mode: 0o700 });
  const changed = { path: '.', change: 'changed', kind: 'dir', size: 0 };
  expect((await it.artifact.status()).staged).toEqual([changed]);
  const staged = await it.artifact.diff(0, 'stage');
  expect(staged.changes).toEqual([changed]);
  await it.commit();
  expect((await it.artifact.diff(0, 1)).changes).toEqual([changed]);
  expect((await it.artifact.diff(0, 'stage')).changes).toEqual([changed]);
  expect((await it.artifact.diff(1, 'stage')).changes).toEqual([]);
  await machine.close();
});

test('regression: who moves an artifact learns of the names that others made meanwhile', async () => {
  const store = newStore();
  const first = await openMachine({ store });
  const { root } = first.artifacts;
  const gallery = first.artifacts.create(root, 'gallery', { type: 'collection' });
  await gallery.commit({ message: 'm' });
  for (const name of ['it', 'its']) {
    const made = new Shell(first.artifacts.create(root, name));
    await made.write('f', name);
    await made.commit();
  }
  const second = await openMachine({ store });
  const told: string[] = [];
  first.artifacts.onChildrenChanged((collection, name) => told.push(`${collection.path}:${name}`));
  await second.artifacts.rename(
    second.artifacts.root,
    'its',
    await second.artifacts.find('gallery'),
    'theirs',
  );
  await first.artifacts.rename(root, 'it', gallery, 'mine');
  expect(first.artifacts.children(gallery, null, 10)).toEqual(['mine', 'theirs']);
  expect(told.sort(), 'not what it did itself').toEqual([':its', 'gallery:theirs']);
  await first.close();
  await second.close();
});

test('regression: a move that is finished after the start is told to who looked before', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const gallery = artifacts.create(artifacts.root, 'gallery', { type: 'collection' });
  await gallery.commit({ message: 'm' });
  const it = new Shell(artifacts.create(artifacts.root, 'it'));
  await it.write('f', 'content');
  await it.commit();
  const copied = temporaryDirectory();
  let killed = false;
  store.atRecord = (when) => {
    if (when === 'before the record') return Promise.resolve();
    cpSync(machine.stateDir, copied, { recursive: true });
    killed = true;
    return new Promise(() => {});
  };
  void artifacts.rename(artifacts.root, 'it', gallery, 'moved');
  while (!killed) await new Promise((resolve) => setTimeout(resolve, 5));
  store.atRecord = () => Promise.resolve();
  const read = deferred();
  store.atLog = () => read.promise;
  const again = await openMachine({ store, stateDir: copied, storeIsAway: true });
  const told: string[] = [];
  again.artifacts.onChildrenChanged((collection, name) => told.push(`${collection.path}:${name}`));
  const moved = await again.artifacts.find('it');
  const place = await again.artifacts.find('gallery');
  read.resolve();
  await again.artifacts.idle();
  expect(told.sort()).toEqual([':it', 'gallery:moved']);
  expect(await again.artifacts.child(place, 'moved')).toBe(moved);
  expect(moved.path).toBe('gallery/moved');
  await again.close();
});
