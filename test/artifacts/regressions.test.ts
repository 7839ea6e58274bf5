import { readdirSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import { newCommitId, newStageId } from '../../src/model/ids.js';
import { limits } from '../../src/model/limits.js';
import { collectGarbage } from '../../src/workspace/gc/collect-garbage.js';
import { Workspace } from '../../src/workspace/workspace.js';
import {
  failure,
  newStore,
  openMachine,
  readAll,
  removeTemporaryDirectories,
  Shell,
  unexpected,
} from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';
import { describeTree, describeVersion } from './support/observe.js';
import { stagedRows } from './support/stage-rows.js';

afterEach(() => {
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

// Found by the model: staging the inode put its name back after the name was removed.
test('regression: one of two names of a committed file can be removed and replaced', async () => {
  const machine = await openMachine({ store: newStore() });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.mkdir('d');
  await shell.write('d/f', 'linked');
  await shell.link('d/f', 'one');
  await shell.link('d/f', 'two');
  await shell.write('other', 'other');
  await shell.commit();
  await shell.unlink('d/f');
  expect(await shell.names('d')).toEqual([]);
  expect((await shell.get('one')).nlink).toBe(2);
  await shell.rename('other', 'one');
  expect(await shell.names()).toEqual(['d', 'one', 'two']);
  expect(await shell.read('one')).toBe('other');
  expect((await shell.get('two')).nlink).toBe(1);
  await machine.close();
});

// Small files share staging files, so the inode's own staging file does not tell what was sealed.
test('a small file written again after the seal keeps its new bytes when the commit is done', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', 'sealed bytes');
  await shell.write('g', 'other');
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await shell.write('f', 'NEW');
  release();
  await committing;
  expect(await shell.read('f')).toBe('NEWled bytes');
  await shell.write('g', 'OTHER');
  await shell.commit();
  expect(await shell.read('f')).toBe('NEWled bytes');
  expect(await shell.read('g')).toBe('OTHER');
  await machine.close();
});

// Found by the model: after the commit no staged name led to the change, and the version had one name only.
test('regression: a change to the last name of a file, made while a commit removes the other, is not lost', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('one', 'linked');
  await shell.mkdir('d');
  await shell.link('one', 'd/two');
  await shell.commit();
  await shell.unlink('one');
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await shell.write('d/two', 'LINK');
  release();
  await committing;
  expect(await shell.read('d/two')).toBe('LINKed');
  await machine.close();
  const again = await openMachine({ store, stateDir: machine.stateDir });
  const after = new Shell(await again.artifacts.find('it'));
  expect(await after.read('d/two')).toBe('LINKed');
  expect(await after.commit()).toMatchObject({ version: 2, summary: { changed: 1 } });
  const version = await after.artifact.versionTree(after.artifact.resolveVersion('v2'));
  expect(await describeVersion(after.artifact, version)).toEqual(await describeTree(after.artifact));
  await again.close();
});

// Found by the model: the removal of the first bytes was put off until the commit was done, and took the second ones.
test('regression: a small file made and written anew while a commit runs keeps its bytes', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('sealed', '1');
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await shell.put('f', 'first');
  await shell.put('f', 'second');
  release();
  await committing;
  expect(await shell.read('f')).toBe('second');
  await machine.close();
});

// Found by the model: only the new name was staged, and the version's own name kept the old count.
test('regression: a file that gets another name while a commit runs has two links in the next version', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('gone', 'linked');
  await shell.link('gone', 'kept');
  await shell.commit();
  await shell.unlink('gone');
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await shell.link('kept', 'new');
  release();
  await committing;
  await shell.commit();
  const version = await shell.artifact.versionTree(shell.artifact.resolveVersion('v2'));
  expect(await describeVersion(shell.artifact, version)).toEqual(await describeTree(shell.artifact));
  expect((await shell.get('kept')).nlink).toBe(2);
  await machine.close();
});

// Found by the POSIX suite with commits between its calls: a listing ended at the first page that names were missing of.
test('regression: a new directory is listed to its end when a page of it was removed while a commit runs', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.put('f', 'bytes to send');
  await shell.mkdir('d');
  const names = Array.from({ length: 700 }, (_, i) => `n${String(i).padStart(3, '0')}`);
  for (const name of names) await shell.mkdir(`d/${name}`);
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  for (const name of names.slice(0, 600)) await shell.rmdir(`d/${name}`);
  const directory = await shell.get('d');
  const listed = await shell.artifact.tree.list(directory, null, 200);
  expect(listed.map((item) => item.name)).toEqual(names.slice(600));
  release();
  await committing;
  await machine.close();
});

// The directory of an artifact without versions stays staged, under the number that gc had declared dead.
test('regression: an artifact that was never committed can be, after its abandoned stage was discarded', async () => {
  const store = newStore();
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const shell = new Shell(artifacts.create(artifacts.root, 'it'));
  await shell.write('f', 'old');
  const stages = artifacts.staged().map(({ tree }) => tree.core.stage.stageId);
  const workspace = await Workspace.open(store);
  const request = {
    ...{ artifactId: shell.artifact.id, commitId: newCommitId(), stageId: newStageId() },
    ...{ sinceSeq: 0, sincePrev: '' },
  };
  const journal = { save: () => {}, pending: () => [], remove: () => {} };
  await workspace.append(request, () => ({ type: 'abandon', stages }), journal);
  expect((await failure(shell.commit())).code).toBe('Stale');
  await shell.artifact.discard();
  await shell.write('f', 'new');
  expect(await shell.commit()).toMatchObject({ version: 0 });
  await collectGarbage(workspace, { paths: [], graceMs: 0, deadAfterMs: 1e12, dryRun: false });
  expect(await shell.read('f')).toBe('new');
  await machine.close();
});

// The kernel knows a file by its number as long as it likes, and changes it without another look-up.
test('regression: a file whose first name was removed before a commit is changed by its other name after it', async () => {
  const store = newStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  const { tree } = shell.artifact;
  const file = await shell.write('one', 'linked');
  const symlink = await shell.symlink('first', 'target');
  for (const inode of [file, symlink]) tree.retain(inode);
  await shell.link('one', 'two');
  await shell.link('first', 'second');
  await shell.unlink('one');
  await shell.unlink('first');
  await shell.commit();
  await tree.write(file, 6, Buffer.from(' and more'));
  await tree.setAttributes(symlink, { uid: 3, gid: 2 });
  expect(await shell.commit()).toMatchObject({ version: 1, summary: { changed: 2 } });
  await tree.setAttributes(file, { mode: 0o600 });
  await machine.close();
  const again = await openMachine({ store, stateDir: machine.stateDir });
  const after = new Shell(await again.artifacts.find('it'));
  expect(await after.read('two')).toBe('linked and more');
  expect(await after.get('two')).toMatchObject({ mode: 0o600, nlink: 1 });
  expect(await after.get('second')).toMatchObject({ uid: 3, gid: 2 });
  expect(await after.commit()).toMatchObject({ version: 2, summary: { changed: 1 } });
  const version = await after.artifact.versionTree(after.artifact.resolveVersion('v2'));
  expect(await describeVersion(after.artifact, version)).toEqual(await describeTree(after.artifact));
  await again.close();
});

// A name tells nothing of who has the file open: what is written to it must be found by the names that it has now.
test('regression: an open file is written on when others have renamed it, or removed the name it is known by', async () => {
  const store = newStore();
  const one = await openMachine({ store });
  const there = new Shell(one.artifacts.create(one.artifacts.root, 'it'));
  await there.mkdir('d');
  await there.write('d/log', 'log ');
  await there.write('known', 'linked ');
  await there.link('known', 'other');
  await there.commit();
  const two = await openMachine({ store });
  const here = new Shell(await two.artifacts.find('it'));
  const { tree } = here.artifact;
  const log = await here.get('d/log');
  const linked = await here.get('known');
  for (const inode of [log, linked]) tree.opened(inode, true);
  await there.rename('d/log', 'd/log.1');
  await there.rename('d', 'e');
  await there.unlink('known');
  await there.commit();
  await here.artifact.refresh();
  await tree.write(log, 4, Buffer.from('goes on'));
  await tree.write(linked, 7, Buffer.from('goes on'));
  expect(await here.read('e/log.1')).toBe('log goes on');
  expect(await here.get('other')).toBe(linked);
  expect(await here.commit()).toMatchObject({ version: 2, summary: { added: 0, changed: 2, removed: 0 } });
  await there.artifact.refresh();
  await there.rename('e/log.1', 'log.2');
  await there.commit();
  await here.write('more', 'staged');
  await here.commit();
  await tree.write(log, 11, Buffer.from(' again'));
  await here.commit();
  await there.artifact.refresh();
  expect(await there.read('log.2')).toBe('log goes on again');
  expect(await there.read('other')).toBe('linked goes on');
  for (const inode of [log, linked]) tree.closed(inode, true);
  for (const machine of [one, two]) await machine.close();
});

// Programs go on with what they have open; the kernel asks no name again for it.
test('regression: what is changed in a new artifact after its removal is staged nowhere', async () => {
  const store = newStore();
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const empty = artifacts.create(artifacts.root, 'empty');
  await artifacts.remove(artifacts.root, 'empty');
  const shell = new Shell(artifacts.create(artifacts.root, 'full'));
  const { tree } = shell.artifact;
  const file = await shell.write('f', 'written ');
  tree.opened(file, true);
  await shell.write('large', Buffer.alloc(100_000));
  await artifacts.unlink(shell.artifact, { force: true, recursive: false });
  // The bytes of the open file.
  await expect.poll(() => readdirSync(join(machine.stateDir, 'staging')).length).toBe(1);
  for (const artifact of [empty, shell.artifact]) {
    await artifact.tree.setAttributes(artifact.tree.root, { mode: 0o700 });
    expect(artifact.tree.root).toMatchObject({ nlink: 0, mode: 0o700 });
    expect((await failure(new Shell(artifact).create('new'))).code).toBe('NotFound');
    expect((await failure(() => artifact.setManifest({}))).code).toBe('Stale');
  }
  await tree.write(file, 8, Buffer.from('on'));
  expect((await readAll(shell.artifact, file)).toString()).toBe('written on');
  tree.closed(file, true);
  expect(stagedRows(machine.stateDir)).toEqual({ inodes: 0, dirents: 0 });
  await machine.close();
  const again = await openMachine({ store, stateDir: machine.stateDir });
  expect(again.artifacts.staged()).toEqual([]);
  await again.close();
});

// Found by the model: who had it open went on with a file without a name.
test('regression: a file that is removed while its first commit runs is itself again after a discard', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  const { tree } = shell.artifact;
  const file = await shell.write('f', 'published');
  tree.retain(file);
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await shell.unlink('f');
  release();
  await committing;
  await shell.artifact.discard();
  expect(await shell.get('f')).toBe(file);
  await tree.write(file, 9, Buffer.from(' and more'));
  expect(await shell.commit()).toMatchObject({ version: 1, summary: { changed: 1 } });
  expect(await shell.read('f')).toBe('published and more');
  tree.release(file);
  await machine.close();
});

test('regression: a status shows what is on its way to us, however little time the machine has for us', async () => {
  const machine = await openMachine({ store: newStore() });
  const artifact = machine.artifacts.create(machine.artifacts.root, 'it');
  const shell = new Shell(artifact);
  await shell.write('f', 'first');
  artifact.onSettle(async () => {
    await sleep(1);
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, limits.settleMsMax + 100);
    await sleep(1);
    await shell.write('f', 'longer than the first');
  });
  expect((await artifact.status()).staged).toMatchObject([{ path: 'f', size: 21 }]);
});
