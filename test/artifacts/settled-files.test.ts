import { setTimeout as sleep } from 'node:timers/promises';
import { afterEach, expect, test } from 'vitest';
import type { WorkspaceArtifact } from '../../src/artifacts/artifact.js';
import { limits } from '../../src/model/limits.js';
import { noise } from '../content/support.js';
import { openMachine, removeTemporaryDirectories, Shell, shellOf } from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';
import { sendAhead } from './support/staged-view.js';

afterEach(removeTemporaryDirectories);

async function packs(store: GatedStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('a/')) if (key.endsWith('.pack')) keys.push(key);
  return keys;
}

/** As a program does it. */
async function make(shell: Shell, path: string, bytes: Buffer): Promise<void> {
  const inode = await shell.create(path);
  const { tree } = shell.artifact;
  tree.opened(inode, true);
  await tree.write(inode, 0, bytes);
  tree.closed(inode, true);
}

const fileBytes = 128 << 10;
const files = Math.ceil(limits.packAheadBytesMin / fileBytes) + 3;

test('small files are in the store before the commit, which sends those that changed since', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await shell.mkdir('d');
  for (let i = 0; i < files; i++) await make(shell, `d/${i}`, noise(fileBytes, i));
  while ((await packs(store)).length === 0) await sleep(20);
  const sent = await packs(store);
  await shell.write('d/1', 'changed');
  await shell.unlink('d/2');
  await shell.rename('d/3', 'e');
  await make(shell, 'late', noise(1000, 99));
  const { bytesUploaded } = await shell.commit();
  expect(bytesUploaded).toBe((files - 1) * fileBytes + 1000);
  expect(await packs(store)).toHaveLength(sent.length + 1);
  const other = await openMachine({ store });
  const fresh = await shellOf(other, 'it');
  expect((await fresh.bytes('d/0')).equals(noise(fileBytes, 0))).toBe(true);
  const changed = noise(fileBytes, 1);
  changed.write('changed');
  expect((await fresh.bytes('d/1')).equals(changed)).toBe(true);
  expect((await fresh.bytes('e')).equals(noise(fileBytes, 3))).toBe(true);
  expect((await fresh.bytes('late')).equals(noise(1000, 99))).toBe(true);
  expect(await fresh.names('d')).not.toContain('2');
  await other.close();
  await machine.close();
});

test('what was sent by a daemon that was killed is sent again by the next, and nothing is lost', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await make(shell, 'f', Buffer.from('bytes'));
  await sendAhead(shell.artifact);
  expect(await packs(store)).toHaveLength(1);
  await machine.close();
  const again = await openMachine({ store, stateDir: machine.stateDir });
  const after = await shellOf(again, 'it');
  await after.commit();
  expect(await after.read('f')).toBe('bytes');
  expect(await packs(store)).toHaveLength(2);
  await again.close();
});

test('a file that is written over in its place after it was sent has its last bytes in the version', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  for (const path of ['f', 'g']) await make(shell, path, Buffer.from('first'));
  await sendAhead(shell.artifact);
  await shell.write('f', 'other');
  await shell.commit();
  const fresh = await openMachine({ store });
  const theirs = await shellOf(fresh, 'it');
  expect([await theirs.read('f'), await theirs.read('g')]).toEqual(['other', 'first']);
  await fresh.close();
  await machine.close();
});

test('what a commit may find in the base is left to it', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'it'));
  await make(shell, 'f', Buffer.from('same'));
  await shell.commit();
  await shell.unlink('f');
  await make(shell, 'f', Buffer.from('same'));
  await sendAhead(shell.artifact);
  expect((await shell.commit()).summary).toMatchObject({ changed: 1 });
  expect(await packs(store)).toHaveLength(1);
  await machine.close();
});

test('nothing is sent ahead while a commit runs, and what was closed meanwhile goes with the next stage', async () => {
  const store = new GatedStore();
  const machine = await openMachine({ store });
  const artifact = machine.artifacts.create(machine.artifacts.root, 'it') as WorkspaceArtifact;
  const shell = new Shell(artifact);
  await make(shell, 'f', Buffer.from('first'));
  const release = store.hold();
  const committing = shell.commit();
  await store.waiting();
  await make(shell, 'g', Buffer.from('second'));
  await sendAhead(artifact);
  expect(await packs(store)).toHaveLength(1);
  release();
  await committing;
  await sendAhead(artifact);
  expect(await packs(store)).toHaveLength(2);
  await shell.commit();
  expect(await packs(store)).toHaveLength(2);
  expect([await shell.read('f'), await shell.read('g')]).toEqual(['first', 'second']);
  await machine.close();
});
