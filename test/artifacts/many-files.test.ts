// More files than are read or deleted at once: what is done in several turns of the event loop is done to all of them.
import { afterEach, expect, test } from 'vitest';
import { openMachine, removeTemporaryDirectories, Shell, unexpected } from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';
import { stagedRows } from './support/stage-rows.js';

afterEach(() => {
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

const names = Array.from({ length: 1300 }, (_, i) => `f${String(i).padStart(4, '0')}`);

async function withFiles() {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.mkdir('d');
  for (const name of names) await shell.write(`d/${name}`, `one ${name}`);
  return { store, machine, shell };
}

test('what changes while many files are committed stays, and nothing else does', async () => {
  const { store, machine, shell } = await withFiles();
  expect(await shell.commit()).toMatchObject({ summary: { added: names.length + 1 } });
  expect(stagedRows(machine.stateDir)).toEqual({ inodes: 0, dirents: 0 });

  for (const name of names) await shell.put(`d/${name}`, `two ${name}`);
  await shell.rename('d', 'e');
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await shell.write('e/f0007', 'late');
  await shell.unlink('e/f0008');
  release();
  expect(await committing).toMatchObject({ version: 1 });
  // The root, the directory and the file; two names lead to the file, and one is removed.
  expect(stagedRows(machine.stateDir)).toEqual({ inodes: 3, dirents: 3 });
  expect((await shell.artifact.status()).staged).toMatchObject([
    { path: 'e/f0007', change: 'changed' },
    { path: 'e/f0008', change: 'removed' },
  ]);
  expect(await shell.read('e/f0007')).toBe('latef0007');
  expect(await shell.read('e/f1299')).toBe('two f1299');
  expect(await shell.commit()).toMatchObject({ version: 2, summary: { changed: 1, removed: 1, added: 0 } });
  await machine.close();
});

test('a discard of many files leaves the version, no rows, and what an open file reads', async () => {
  const { machine, shell } = await withFiles();
  await shell.commit();
  for (const name of names) await shell.put(`d/${name}`, `two ${name}`);
  await shell.write('d/new', 'of an open file');
  const reader = shell.artifact.tree.open(await shell.get('d/new'));
  expect(await shell.artifact.discard()).toBe(names.length + 1);
  expect(stagedRows(machine.stateDir)).toEqual({ inodes: 0, dirents: 0 });
  expect(await shell.names('d')).toEqual(names);
  for (const name of names) expect(await shell.read(`d/${name}`)).toBe(`one ${name}`);
  expect(Buffer.from(await reader.read(0, 100)).toString()).toBe('of an open file');
  reader.close();
  await machine.close();
});
