import { afterEach, expect, test } from 'vitest';
import { isCode } from '../../src/model/errors.js';
import {
  newStore,
  openMachine,
  removeTemporaryDirectories,
  Shell,
  shellOf,
  unexpected,
} from './support/daemon.js';

afterEach(() => {
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

test('what is written and committed on one machine is read on another', async () => {
  const store = newStore();
  const one = await openMachine({ store });
  const artifact = one.artifacts.create(one.artifacts.root, 'model');
  const shell = new Shell(artifact);
  await shell.mkdir('weights');
  await shell.write('weights/a.bin', 'some bytes');
  await shell.write('readme', 'hello');
  expect(await shell.read('weights/a.bin')).toBe('some bytes');
  expect(artifact.isNew).toBe(true);
  const result = await shell.commit('first');
  expect(result).toMatchObject({ version: 0, summary: { added: 3, changed: 0, removed: 0 }, rebased: false });
  expect(artifact.isNew).toBe(false);
  expect(await shell.read('weights/a.bin')).toBe('some bytes');
  expect((await artifact.status()).staged).toEqual([]);

  const two = await openMachine({ store });
  const other = await shellOf(two, 'model');
  expect(await other.names()).toEqual(['readme', 'weights']);
  expect(await other.read('weights/a.bin')).toBe('some bytes');
  expect(await other.read('readme')).toBe('hello');
  await one.close();
  await two.close();
});

test('a second commit holds only what changed', async () => {
  const store = newStore();
  const one = await openMachine({ store });
  const shell = new Shell(one.artifacts.create(one.artifacts.root, 'data'));
  await shell.write('a', 'aaaa');
  await shell.write('b', 'bbbb');
  await shell.commit();
  await shell.write('a', 'AA', 1);
  await shell.unlink('b');
  await shell.write('c', 'cccc');
  expect((await shell.artifact.status()).staged).toEqual([
    { path: 'a', change: 'changed', kind: 'file', size: 4 },
    { path: 'b', change: 'removed', kind: 'file', size: 4 },
    { path: 'c', change: 'added', kind: 'file', size: 4 },
  ]);
  const result = await shell.commit('second');
  expect(result).toMatchObject({ version: 1, summary: { added: 1, changed: 1, removed: 1 } });
  expect(await shell.read('a')).toBe('aAAa');
  expect(await shell.names()).toEqual(['a', 'c']);
  const error = await shell.commit('third').catch((caught: unknown) => caught);
  expect(isCode(error, 'NothingStaged')).toBe(true);
  await one.close();

  const again = await openMachine({ store, stateDir: one.stateDir });
  const after = await shellOf(again, 'data');
  expect(await after.read('a')).toBe('aAAa');
  expect(await after.names()).toEqual(['a', 'c']);
  await again.close();
});

test('staged changes survive a restart', async () => {
  const store = newStore();
  const one = await openMachine({ store });
  const shell = new Shell(one.artifacts.create(one.artifacts.root, 'data', { type: 'dataset' }));
  await shell.mkdir('d');
  await shell.write('d/file', 'not committed');
  await shell.symlink('d/link', 'file');
  await one.close();
  const again = await openMachine({ store, stateDir: one.stateDir });
  expect(again.artifacts.children(again.artifacts.root, null, 10)).toEqual(['data']);
  const after = await shellOf(again, 'data');
  expect(after.artifact.manifest()).toEqual({ type: 'dataset' });
  expect(await after.read('d/file')).toBe('not committed');
  expect((await after.get('d/link')).target).toBe('file');
  await again.close();
});
