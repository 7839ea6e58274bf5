import { afterAll, afterEach, beforeAll, expect, test } from 'vitest';
import { copyBetween } from '../../src/app/copy-artifact.js';
import { loadConfig } from '../../src/config/load.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { ObjectStore } from '../../src/store/object-store.js';
import { openStore } from '../../src/store/open-store.js';
import { type CopiedArtifact, copyArtifact } from '../../src/workspace/copy-artifact.js';
import { NamedLogs } from '../../src/workspace/fsck/named-logs.js';
import { parseKey } from '../../src/workspace/keys.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { type S3Server, startS3Server } from '../support/s3-server/server.js';
import { failure, openMachine, removeTemporaryDirectories, shellOf, unexpected } from './support/daemon.js';
import { expectSound, fill, told } from './support/filled.js';

afterEach(() => {
  removeTemporaryDirectories();
  expect(unexpected.splice(0)).toEqual([]);
});

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.close());

async function copyOf(source: ObjectStore, target: ObjectStore, path: string): Promise<CopiedArtifact> {
  const { log } = await new NamedLogs(source).find(['model']);
  return copyArtifact({ source, log, target: await Workspace.open(target), path });
}

test('an artifact comes to another workspace and back with every version as it was', async () => {
  const [one, two] = [new MemoryStore(), new MemoryStore()];
  await fill(one);
  const copied = await copyOf(one, two, 'model');
  expect(copied).toMatchObject({ versions: 3, bytesInside: 0 });
  expect(await told(two, 'model')).toEqual(await told(one, 'model'));
  await expectSound(two);
  await copyOf(two, one, 'again');
  expect(await told(one, 'again')).toEqual(await told(one, 'model'));
  await expectSound(one);

  const machine = await openMachine({ store: two });
  const shell = await shellOf(machine, 'model');
  const whole = await shell.bytes('hard');
  expect(whole.equals(await shell.bytes('dir/weights.bin'))).toBe(true);
  expect(shell.artifact.aliases()).toEqual({ best: 0 });
  await shell.write('more', 'goes on');
  expect(await shell.commit('fourth')).toMatchObject({ version: 3 });
  await machine.close();
});

test('what only expired versions use stays behind', async () => {
  const [one, two] = [new MemoryStore(), new MemoryStore()];
  await fill(one);
  const { artifactId } = await copyOf(one, two, 'model');
  const packs = [];
  for await (const { key } of two.list(`a/${artifactId}/d/`)) packs.push((await two.get(key)).toString());
  expect(packs.some((text) => text.includes('gone with v1'))).toBe(false);
});

test('a name that is taken, a collection that is not there, and one that is to be copied are refused', async () => {
  const [one, two] = [new MemoryStore(), new MemoryStore()];
  await fill(one);
  await copyOf(one, two, 'model');
  expect((await failure(copyOf(one, two, 'model'))).code).toBe('Exists');
  expect((await failure(copyOf(one, two, 'nowhere/model'))).code).toBe('NotFound');
  const log = await new NamedLogs(one).root();
  const target = await Workspace.open(two);
  expect((await failure(copyArtifact({ source: one, log, target, path: 'x' }))).code).toBe('Unsupported');
});

test('what is damaged is not copied, and no name is made for it', async () => {
  const [one, two] = [new MemoryStore(), new MemoryStore()];
  await fill(one);
  for await (const { key } of one.list('a/')) {
    const parsed = parseKey(key);
    if (parsed?.type === 'data' && parsed.name === 'weights.bin') await one.deleteMany([key]);
  }
  expect((await failure(copyOf(one, two, 'model'))).code).toBe('Corrupt');
  expect((await new NamedLogs(two).root()).state.children.size).toBe(0);
});

test('inside one bucket the store copies by itself', async () => {
  const { endpoint, accessKeyId, secretAccessKey, bucket } = server;
  const s3 = { endpoint, accessKeyId, secretAccessKey };
  const urls = [`s3://${bucket}/one`, `s3://${bucket}/two`] as const;
  const store = await openStore(urls[0], { s3 });
  await fill(store);
  const { config } = loadConfig({ flags: { store: urls[0] }, env: { HOME: '/nonexistent' }, cwd: '/' });
  const from = { ...config, ...s3 };
  const to = { ...from, store: urls[1] };
  const copied = await copyBetween({ from, to, artifact: ['model'], path: undefined });
  expect(copied).toMatchObject({ path: 'model', versions: 3, bytesInside: copied.bytes });
  await using other = await openStore(urls[1], { s3 });
  expect(await told(other, 'model')).toEqual(await told(store, 'model'));
  await expectSound(other);
  await store[Symbol.asyncDispose]();
});
