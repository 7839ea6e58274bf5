import { statSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import type { CommitProgress } from '../../src/artifacts/ports.js';
import { ArtifactError } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import {
  failure,
  openMachine,
  readAll,
  removeTemporaryDirectories,
  Shell,
  shellOf,
  unexpected,
} from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';
import { describeTree, describeVersion } from './support/observe.js';

afterEach(() => {
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

/** A new artifact, and a commit of it that is held back while `body` runs. */
async function whileCommitting(
  prepare: (shell: Shell) => Promise<void>,
  body: (shell: Shell) => Promise<void>,
): Promise<{ shell: Shell; version: string[]; close: () => Promise<void> }> {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await prepare(shell);
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await body(shell);
  release();
  const { version } = await committing;
  const tree = await shell.artifact.versionTree(shell.artifact.resolveVersion(`v${version}`));
  return {
    shell,
    version: await describeVersion(shell.artifact, tree),
    close: () => machine.close(),
  };
}

test('bytes written after a commit began are in the working view and not in the version', async () => {
  const { shell, version, close } = await whileCommitting(
    async (shell) => {
      await shell.write('f', 'sealed');
    },
    async (shell) => {
      await shell.write('f', 'SEA');
      await shell.write('f', ' and more', 6);
      await shell.write('late', 'late');
    },
  );
  expect(version.join('\n')).toContain('["sealed"]');
  expect(version.join('\n')).not.toContain('late');
  expect(await shell.read('f')).toBe('SEAled and more');
  expect((await shell.artifact.status()).staged).toMatchObject([
    { path: 'f', change: 'changed', size: 15 },
    { path: 'late', change: 'added' },
  ]);
  expect(await shell.commit()).toMatchObject({ version: 1, summary: { added: 1, changed: 1 } });
  expect(await shell.read('f')).toBe('SEAled and more');
  await close();
});

test('a name removed after the seal stays removed on top of the version that has it', async () => {
  const { shell, version, close } = await whileCommitting(
    async (shell) => {
      await shell.mkdir('d');
      await shell.write('d/f', '1');
      await shell.write('gone', '2');
    },
    async (shell) => {
      await shell.unlink('gone');
      await shell.unlink('d/f');
      await shell.rmdir('d');
    },
  );
  expect(version.join('\n')).toContain('gone file');
  expect(await shell.names()).toEqual([]);
  expect((await shell.artifact.status()).staged).toMatchObject([
    { path: 'd', change: 'removed' },
    { path: 'gone', change: 'removed' },
  ]);
  await shell.commit();
  expect(await shell.names()).toEqual([]);
  expect((await shell.artifact.status()).stagedCount).toBe(0);
  await close();
});

test('a directory renamed before and again after the seal shows the same files all along', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.mkdir('a');
  await shell.mkdir('a/deep');
  await shell.write('a/deep/f', 'content');
  await shell.commit();
  await shell.rename('a', 'b');
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await shell.rename('b', 'c');
  await shell.rename('c/deep', 'deep');
  expect(await shell.read('deep/f')).toBe('content');
  release();
  await committing;
  expect(await shell.read('deep/f')).toBe('content');
  expect(await shell.names()).toEqual(['c', 'deep']);
  expect((await shell.artifact.status()).staged).toMatchObject([
    { path: 'c', change: 'renamed', from: 'b' },
    { path: 'deep', change: 'renamed', from: 'b/deep' },
  ]);
  expect(await shell.commit()).toMatchObject({ version: 2, summary: { added: 3, removed: 3 } });
  await machine.close();
  const again = await openMachine({ store });
  const other = new Shell(await again.artifacts.find('it'));
  expect(await other.read('deep/f')).toBe('content');
  expect(await other.names()).toEqual(['c', 'deep']);
  await again.close();
});

test('files open for writing are named, and go on being written', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  const inode = await shell.write('open', 'one');
  shell.artifact.tree.opened(inode, true);
  expect((await shell.artifact.status()).openForWriting).toEqual(['open']);
  expect((await shell.commit()).openFiles).toEqual(['open']);
  await shell.artifact.tree.write(inode, 3, Buffer.from(' two'));
  expect(await shell.read('open')).toBe('one two');
  shell.artifact.tree.closed(inode, true);
  expect((await shell.commit()).openFiles).toEqual([]);
  await machine.close();
});

test('a file removed while open keeps its bytes through commits, until it is closed', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  const { tree } = shell.artifact;
  const staged = await shell.write('staged', 'staged bytes');
  const sealed = await shell.write('sealed', 'sealed bytes');
  for (const inode of [staged, sealed]) tree.retain(inode);
  await shell.unlink('staged');
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await shell.unlink('sealed');
  release();
  await committing;
  await shell.commit();
  expect([staged.nlink, sealed.nlink]).toEqual([0, 0]);
  for (const [inode, text] of [
    [staged, 'staged bytes'],
    [sealed, 'sealed bytes'],
  ] as const) {
    expect((await readAll(shell.artifact, inode)).toString()).toBe(text);
    await tree.write(inode, 0, Buffer.from('CHANGED'));
    expect((await readAll(shell.artifact, inode)).toString()).toBe(`CHANGED${text.slice(7)}`);
  }
  for (const inode of [staged, sealed]) tree.release(inode);
  expect(await shell.names()).toEqual([]);
  // What is left is where the next small files go.
  expect((await stagingFiles(machine.stateDir)).length).toBe(1);
  await shell.write('f', 'x'.repeat(100_000));
  await shell.commit();
  expect(await stagingFiles(machine.stateDir)).toEqual([]);
  await machine.close();
});

test('only one commit runs at a time, and discard waits its turn', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', '1');
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  expect((await failure(shell.commit())).code).toBe('Busy');
  expect((await failure(shell.artifact.discard())).code).toBe('Busy');
  expect((await shell.artifact.status()).committing).toMatchObject({ phase: 'publish' });
  release();
  expect(await committing).toMatchObject({ version: 0 });
  expect((await shell.artifact.status()).committing).toBe(null);
  await machine.close();
});

test('progress is told, and staging files go when their bytes are published', async () => {
  const machine = await openMachine({ store: new GatedStore() });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  for (let i = 0; i < 10; i++) await shell.write(`f${i}`, `content ${i}`);
  expect((await stagingFiles(machine.stateDir)).length).toBeGreaterThan(0);
  const progress: CommitProgress[] = [];
  const result = await shell.artifact.commit({ message: 'm', onProgress: (now) => progress.push(now) });
  expect(progress.at(-1)?.phase).toBe('publish');
  expect(progress.some((now) => now.phase === 'upload' && now.bytesDone === 90)).toBe(true);
  expect(result.bytesUploaded).toBe(90);
  expect(await stagingFiles(machine.stateDir)).toEqual([]);
  await machine.close();
});

test('a commit that fails leaves everything staged, and the next one publishes it', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', 'first');
  store.isAway = true;
  expect((await failure(shell.commit())).code).toBe('StoreUnavailable');
  expect(shell.artifact.lastError()).not.toBe('');
  await shell.write('f', ' and second', 5);
  await shell.write('g', 'third');
  const before = await describeTree(shell.artifact);
  expect((await failure(shell.commit())).code).toBe('StoreUnavailable');
  store.isAway = false;
  expect(await shell.commit()).toMatchObject({ version: 0, summary: { added: 2 } });
  expect(await describeTree(shell.artifact)).toEqual(before);
  expect(await stagingFiles(machine.stateDir)).toEqual([]);
  await machine.close();
});

test('what is truncated, replaced or removed while its sealed bytes are sent is in the version all the same', async () => {
  const store = new GatedStore();
  const steps: string[] = [];
  const machine = await openMachine({ store, onStep: (step) => steps.push(step) });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  const large = (letter: string): string => letter.repeat(100_000);
  for (const name of ['cut', 'gone', 'put']) {
    await shell.write(name, large(name[0] ?? ''));
    await shell.write(`small-${name}`, name);
  }
  const expected = await describeTree(shell.artifact);
  const release = store.holdPuts();
  const committing = shell.commit();
  while (!steps.includes('planned')) await new Promise((resolve) => setImmediate(resolve));
  for (const prefix of ['', 'small-']) {
    await shell.artifact.tree.setAttributes(await shell.get(`${prefix}cut`), { size: 0 });
    await shell.unlink(`${prefix}gone`);
    await shell.put(`${prefix}put`, 'new');
    await shell.write(`${prefix}other`, large('o'));
  }
  release();
  await committing;
  const version = await shell.artifact.versionTree(shell.artifact.resolveVersion('v0'));
  expect(await describeVersion(shell.artifact, version)).toEqual(expected);
  expect(await shell.read('cut')).toBe('');
  expect(await shell.read('small-put')).toBe('new');
  expect(await shell.names()).toEqual(['cut', 'other', 'put', 'small-cut', 'small-other', 'small-put']);
  await shell.commit();
  expect(await stagingFiles(machine.stateDir)).toEqual([]);
  await machine.close();
});

test('an open file that was removed, and written while the commit ran, keeps what was written', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  const { tree } = shell.artifact;
  const inode = await shell.write('f', 'sealed');
  tree.retain(inode);
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await shell.unlink('f');
  await tree.write(inode, 0, Buffer.from('SE'));
  release();
  await committing;
  expect((await readAll(shell.artifact, inode)).toString()).toBe('SEaled');
  expect(inode.nlink).toBe(0);
  tree.release(inode);
  await machine.close();
});

test('when the outcome is unknown the stage waits; the next commit finds out first', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', 'one');
  await shell.write('f2', 'one');
  await shell.commit();
  for (const isStored of [true, false]) {
    const versions = shell.artifact.versions().length;
    await shell.write('f', isStored ? 'two' : 'three');
    store.atRecord = async (when) => {
      if (isStored !== (when === 'after the record')) return;
      store.isGone = true;
      throw new ArtifactError('StoreUnavailable', 'the answer was lost');
    };
    expect((await failure(shell.commit())).code).toBe('OutcomeUnknown');
    store.atRecord = () => Promise.resolve();
    await shell.write('g', `later ${isStored}`);
    await shell.unlink('f2').catch(() => {});
    expect((await failure(shell.commit())).code).toBe('OutcomeUnknown');
    expect(await shell.read('g')).toBe(`later ${isStored}`);
    store.isGone = false;
    await shell.commit();
    // The record that was on its way, or may still have been, and what came after it.
    expect(shell.artifact.versions().length).toBe(versions + 2);
    expect(await shell.names()).toEqual(['f', 'g']);
    const version = await shell.artifact.versionTree(shell.artifact.resolveVersion('latest'));
    expect(await describeVersion(shell.artifact, version)).toEqual(await describeTree(shell.artifact));
    expect((await shell.artifact.status()).stagedCount).toBe(0);
  }
  await machine.close();
});

test('a refresh finds out what became of a commit whose outcome was unknown', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  for (const isStored of [true, false]) {
    const versions = shell.artifact.versions().length;
    await shell.write('f', `${isStored}`);
    store.atRecord = async (when) => {
      if (isStored !== (when === 'after the record')) return;
      store.isGone = true;
      throw new ArtifactError('StoreUnavailable', 'the answer was lost');
    };
    expect((await failure(shell.commit())).code).toBe('OutcomeUnknown');
    expect(shell.artifact.lastError()).toMatch(/^it is not known whether/);
    store.atRecord = () => Promise.resolve();
    await shell.write('g', `later ${isStored}`);
    // Neither a store that is away nor a commit that runs is in its way.
    await failure(machine.artifacts.refresh());
    store.isGone = false;
    await Promise.all([machine.artifacts.refresh(), machine.artifacts.refresh({ openOnly: true })]);
    expect(shell.artifact.versions().length).toBe(versions + 1);
    expect(shell.artifact.isNew).toBe(false);
    expect(shell.artifact.lastError()).toBe('');
    expect((await shell.artifact.status()).staged.map(({ path }) => path)).toEqual(['g']);
    const other = await openMachine({ store });
    expect(await (await shellOf(other, 'it')).read('f')).toBe(`${isStored}`);
    await other.close();
    await Promise.all([shell.commit(), machine.artifacts.refresh()]);
    expect((await shell.artifact.status()).stagedCount).toBe(0);
  }
  await machine.close();
});

async function stagingFiles(stateDir: string): Promise<string[]> {
  const { readdir } = await import('node:fs/promises');
  return readdir(`${stateDir}/staging`);
}

test('regression: the log of stage.db stays bounded however much is changed while a commit uploads', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', 'sealed');
  const release = store.holdPuts();
  const committing = shell.commit();
  const inode = await shell.get('f');
  const { tree } = shell.artifact;
  let bytes = 0;
  for (let i = 0; bytes < 3 * limits.stageWalBytesMax; i++) {
    const value = Buffer.alloc(limits.xattrValueBytesMax, i);
    await tree.setXattr(inode, 'user.it', value);
    bytes += value.length;
    // The commit has its turns, too.
    await new Promise((resolve) => setImmediate(resolve));
  }
  const log = statSync(join(machine.stateDir, 'stage.db-wal')).size;
  expect(log).toBeGreaterThan(0);
  expect(log).toBeLessThan(1.25 * limits.stageWalBytesMax);
  release();
  expect(await committing).toMatchObject({ version: 0 });
  expect(Buffer.from((await tree.xattr(inode, 'user.it')) ?? []).length).toBe(limits.xattrValueBytesMax);
  await machine.close();
});

test('regression: a commit that was published, but not linked, is not told as a failure; the next one links it', async () => {
  const store = new GatedStore();
  const machine = await openMachine({
    store,
    onStep: (step) => {
      if (step === 'cleaned') store.isGone = true;
    },
  });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.write('f', 'one');
  const error = await failure(shell.commit());
  expect(error).toMatchObject({ code: 'OutcomeUnknown', details: { version: 0 } });
  expect(error.message).toMatch(/^v0 was published, but its artifact has no name yet: /);
  expect(shell.artifact.lastError()).toContain('v0 was published');
  store.isGone = false;
  expect(shell.artifact.versions()).toMatchObject([{ version: 0, commitId: error.details['commitId'] }]);
  expect(await shell.commit()).toMatchObject({ version: 0 });
  expect(shell.artifact.isNew).toBe(false);
  const other = await openMachine({ store });
  expect(await (await shellOf(other, 'it')).read('f')).toBe('one');
  await other.close();
  await machine.close();
});

test('regression: a commit that was published, but whose stage was not retired, is not told as a failure', async () => {
  const store = new GatedStore();
  const first = await openMachine({ store });
  const one = new Shell(first.artifacts.create(first.artifacts.root, 'it'));
  await one.write('x', 'x');
  await one.write('y', 'y');
  await one.commit();
  const second = await openMachine({
    store,
    onStep: (step) => {
      if (step === 'applied') throw new ArtifactError('StoreUnavailable', 'made to be gone');
    },
  });
  const two = await shellOf(second, 'it');
  await two.put('y', 'y by two');
  const error = await failure(two.commit());
  expect(error).toMatchObject({ code: 'OutcomeUnknown', details: { version: 1 } });
  expect(error.message).toBe('v1 was published, but its changes still count as staged here: made to be gone');
  await one.artifact.refresh();
  expect(one.artifact.versions()[0]).toMatchObject({ version: 1, commitId: error.details['commitId'] });
  expect(await one.read('y')).toBe('y by two');
  await second.close();

  const again = await openMachine({ store, stateDir: second.stateDir });
  await again.artifacts.idle();
  expect(again.artifacts.staged()).toEqual([]);
  expect(await (await shellOf(again, 'it')).read('y')).toBe('y by two');
  await again.close();
  await first.close();
});
