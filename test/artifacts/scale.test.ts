import { afterEach, expect, test } from 'vitest';
import { newStore, openMachine, removeTemporaryDirectories, Shell, unexpected } from './support/daemon.js';
import { describeTree } from './support/observe.js';
import { stagedRows } from './support/stage-rows.js';

afterEach(() => {
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

const count = 10_000;

test(`a directory of ${count} files is renamed by a handful of rows, and its files keep their numbers`, async () => {
  const store = newStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  const { tree } = shell.artifact;
  await shell.mkdir('top');
  const directory = await shell.mkdir('top/many');
  tree.retain(directory);
  for (let i = 0; i < count; i++)
    await tree.create(directory, `file-${i}`, { kind: 'file', mode: 0o644, uid: 1, gid: 1 });
  await shell.write('top/many/file-7', 'seven');
  expect((await shell.commit()).summary).toEqual({ added: count + 2, changed: 0, removed: 0 });
  expect(stagedRows(machine.stateDir)).toEqual({ inodes: 0, dirents: 0 });
  const number = (await shell.get('top/many/file-7')).ino;

  await shell.rename('top/many', 'moved');
  // The root, both parents' chain and the directory; one name and its removal, and the way to it.
  const rows = stagedRows(machine.stateDir);
  expect(rows.inodes).toBeLessThanOrEqual(3);
  expect(rows.dirents).toBeLessThanOrEqual(3);
  expect(await shell.read('moved/file-7')).toBe('seven');
  expect((await shell.get('moved/file-7')).ino).toBe(number);
  expect((await tree.list(directory, 'file-9998', 10)).map((item) => item.name)).toEqual(['file-9999']);
  expect((await shell.artifact.status()).staged).toEqual([
    { path: 'moved', change: 'renamed', kind: 'dir', size: 0, from: 'top/many' },
  ]);
  const result = await shell.commit();
  expect(result.summary).toEqual({ added: count + 1, changed: 0, removed: count + 1 });
  expect(result.bytesUploaded).toBe(0);
  expect(await shell.read('moved/file-7')).toBe('seven');
  tree.release(directory);
  await machine.close();
});

test('a file of many extents stores each write once, and reads back after a restart', async () => {
  const store = newStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  const { tree } = shell.artifact;
  const inode = await shell.create('random');
  tree.retain(inode);
  const expected = Buffer.alloc(4096 * 3000);
  for (let i = 0; i < 3000; i++) {
    const block = (i * 7919) % 3000;
    if (block % 3 === 0) continue;
    const data = Buffer.alloc(4096, 1 + (i % 255));
    await tree.write(inode, block * 4096, data);
    data.copy(expected, block * 4096);
  }
  await tree.setAttributes(inode, { size: expected.length });
  for (let i = 0; i < 40; i++) {
    await tree.write(inode, i * 30_000, Buffer.from('again'));
    expected.write('again', i * 30_000);
  }
  tree.release(inode);
  await machine.close();
  const again = await openMachine({ store, stateDir: machine.stateDir });
  const after = new Shell(await again.artifacts.find('it'));
  expect((await after.bytes('random')).equals(expected)).toBe(true);
  await after.commit();
  expect((await after.bytes('random')).equals(expected)).toBe(true);
  await again.close();
});

test('many inodes pass through memory that holds few, and stay what they are', async () => {
  const machine = await openMachine({ store: newStore() });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  for (let d = 0; d < 20; d++) {
    await shell.mkdir(`d${d}`);
    for (let f = 0; f < 20; f++) await shell.write(`d${d}/f${f}`, `${d} ${f}`);
  }
  const held = await shell.get('d3/f4');
  shell.artifact.tree.retain(held);
  const before = await describeTree(shell.artifact);
  const { core } = shell.artifact.tree as unknown as { core: { table: { clearIdle(): void; size: number } } };
  core.table.clearIdle();
  expect(core.table.size).toBe(3);
  expect(await shell.get('d3/f4')).toBe(held);
  await shell.commit();
  core.table.clearIdle();
  expect(core.table.size).toBe(3);
  expect(await shell.get('d3/f4')).toBe(held);
  expect(await describeTree(shell.artifact)).toEqual(before);
  shell.artifact.tree.release(held);
  core.table.clearIdle();
  expect(core.table.size).toBe(1);
  await machine.close();
});
