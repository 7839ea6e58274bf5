import { execFileSync } from 'node:child_process';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, expect, test } from 'vitest';
import { exportHistory } from '../../src/archive/export-history.js';
import { importHistory } from '../../src/archive/import-history.js';
import { readTar } from '../../src/archive/read-tar.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { ObjectStore } from '../../src/store/object-store.js';
import { openStore } from '../../src/store/open-store.js';
import { NamedLogs } from '../../src/workspace/fsck/named-logs.js';
import { Workspace } from '../../src/workspace/workspace.js';
import {
  failure,
  openMachine,
  removeTemporaryDirectories,
  shellOf,
  unexpected,
} from '../artifacts/support/daemon.js';
import { expectSound, fill, told } from '../artifacts/support/filled.js';

const directories: string[] = [];
afterEach(() => {
  removeTemporaryDirectories();
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
  expect(unexpected.splice(0)).toEqual([]);
});

function temporary(): string {
  const directory = mkdtempSync(join(tmpdir(), 'artifactfs-archive-'));
  directories.push(directory);
  return directory;
}

async function tarOf(store: ObjectStore): Promise<Buffer> {
  const workspace = await Workspace.open(store, { create: false });
  const { log } = await new NamedLogs(store).find(['model']);
  const chunks: Buffer[] = [];
  await exportHistory({ workspace, log }, async (bytes) => void chunks.push(bytes));
  return Buffer.concat(chunks);
}

async function importOf(store: ObjectStore, tar: Buffer, path?: string, signal?: AbortSignal) {
  const target = await Workspace.open(store);
  const entries = readTar('the tar', pieces(tar));
  const first = await entries.next();
  if (first.done === true) throw new Error('an empty tar');
  return importHistory(first.value, entries, { target, path, ...(signal === undefined ? {} : { signal }) });
}

async function* pieces(bytes: Buffer): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += 100_001) yield bytes.subarray(at, at + 100_001);
}

const names = async (store: ObjectStore) => [...(await new NamedLogs(store).root()).state.children.keys()];

async function keysUnderArtifacts(store: ObjectStore): Promise<string[]> {
  const keys: string[] = [];
  for await (const { key } of store.list('a/')) keys.push(key);
  return keys;
}

test('a tar with history brings every version, message, time and alias to another workspace', async () => {
  const [one, two] = [new MemoryStore(), new MemoryStore()];
  await fill(one);
  const imported = await importOf(two, await tarOf(one));
  expect(imported).toMatchObject({ path: 'model', versions: 3, expired: 1 });
  expect(await told(two, 'model')).toEqual(await told(one, 'model'));
  await expectSound(two);
  // And again from there, under another name, beside the first.
  expect(await importOf(two, await tarOf(two), 'again')).toMatchObject({ path: 'again', versions: 3 });
  expect(await told(two, 'again')).toEqual(await told(one, 'model'));

  const machine = await openMachine({ store: two });
  const shell = await shellOf(machine, 'again');
  expect(shell.artifact.aliases()).toEqual({ best: 0 });
  await shell.write('more', 'goes on');
  expect(await shell.commit('fourth')).toMatchObject({ version: 3 });
  await machine.close();
});

test('a tar with history, unpacked, is a workspace, and its checksums hold', async () => {
  const one = new MemoryStore();
  await fill(one);
  const directory = temporary();
  writeFileSync(join(directory, 'model.tar'), await tarOf(one));
  execFileSync('tar', ['-xf', 'model.tar'], { cwd: directory });
  rmSync(join(directory, 'model.tar'));
  execFileSync('sha256sum', ['--check', '--quiet', 'artifactfs-export.sha256'], { cwd: directory });
  await using store = await openStore(`file://${directory}`);
  expect(await told(store, 'model')).toEqual(await told(one, 'model'));
});

test('a tar that was cut anywhere, or changed, makes nothing', async () => {
  const one = new MemoryStore();
  await fill(one);
  const tar = await tarOf(one);
  // At block boundaries, where a tar seems to end, and between; and without what closes it.
  const cuts = [
    512,
    1536,
    5000,
    tar.length >> 1,
    (tar.length >> 10) << 9,
    tar.length - 1024,
    tar.length - 4096,
  ];
  for (const length of cuts) {
    const two = new MemoryStore();
    expect((await failure(importOf(two, tar.subarray(0, length)))).code).toBe('Corrupt');
    expect(await keysUnderArtifacts(two)).toEqual([]);
  }
  const changed = Buffer.from(tar);
  const at = changed.indexOf('weights weights');
  changed[at] = 0x57;
  const two = new MemoryStore();
  const error = await failure(importOf(two, changed));
  expect(error).toMatchObject({ code: 'Corrupt' });
  expect(error.message).toContain('has other bytes than were exported');
  expect(await keysUnderArtifacts(two)).toEqual([]);
});

test('a name that is taken and an interruption leave the workspace as it was', async () => {
  const one = new MemoryStore();
  await fill(one);
  const tar = await tarOf(one);
  const before = await keysUnderArtifacts(one);
  expect((await failure(importOf(one, tar))).code).toBe('Exists');
  expect((await failure(importOf(one, tar, 'nowhere/model'))).code).toBe('NotFound');
  expect(
    (await failure(importOf(one, tar, 'other', AbortSignal.abort(new Error('enough'))))).message,
  ).toContain('');
  expect(await keysUnderArtifacts(one)).toEqual(before);
  expect(await names(one)).toEqual(['model']);
});

test('what is damaged is not exported', async () => {
  const one = new MemoryStore();
  await fill(one);
  for (const key of await keysUnderArtifacts(one))
    if (key.includes('weights.bin')) await one.deleteMany([key]);
  expect((await failure(tarOf(one))).code).toBe('Corrupt');
});
