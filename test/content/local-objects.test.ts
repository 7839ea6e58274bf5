import { closeSync, readdirSync, readFileSync, truncateSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ExtentMap } from '../../src/content/extent-map.js';
import { limits } from '../../src/model/limits.js';
import { artifactId, contentOf, noise, readingSide, useDirectory, WatchedStore } from './support.js';

const directory = useDirectory();
const MiB = 1 << 20;
const size = 3 * MiB + 77;
const object = 'd/s/1-file';
type Side = ReturnType<typeof readingSide>;

async function storeWithObject() {
  const store = new WatchedStore();
  const bytes = noise(size, 1);
  await store.putObject(object, bytes);
  return { store, bytes };
}

async function cache(side: Side, length = size): Promise<void> {
  const map = new ExtentMap();
  map.set(0, length, { type: 'object', object, offset: 0 });
  const reader = side.reader.open(artifactId, contentOf(map, length));
  for (let at = 0; at < length; at += MiB) await reader.read(at, MiB);
  reader.close();
  await side.disk.settled();
}

/** Verifies, and waits until that is over. */
async function verified(side: Side, length = size) {
  const local = side.reader.local(artifactId, object, length);
  local.verify();
  await side.localObjects.settled();
  return local;
}

function cacheFile(): string {
  const name = readdirSync(join(directory(), 'cache')).find((file) => file.endsWith('.data'));
  return join(directory(), 'cache', name ?? '');
}

test('a whole cached object is opened once it was verified, and what is read is the object', async () => {
  const { store, bytes } = await storeWithObject();
  await using side = readingSide(directory(), store);
  await cache(side);
  expect(side.reader.local(artifactId, object, size).open()).toBeUndefined();
  const descriptor = (await verified(side)).open();
  if (descriptor === undefined) throw new Error('not opened');
  try {
    expect(readFileSync(descriptor).equals(bytes)).toBe(true);
    expect(() => writeFileSync(descriptor, 'x')).toThrow('EBADF');
  } finally {
    closeSync(descriptor);
  }
  expect(side.disk.statistics().verifiedObjects).toBe(1);
});

test('one that is cached in part, or not at all, is not', async () => {
  const { store } = await storeWithObject();
  await using side = readingSide(directory(), store);
  expect((await verified(side)).open()).toBeUndefined();
  await cache(side, MiB);
  expect((await verified(side)).open()).toBeUndefined();
  expect(side.disk.statistics().verifiedObjects).toBe(0);
});

test('the beginning of a longer object is not: more of it may come into the same file', async () => {
  const { store } = await storeWithObject();
  await using side = readingSide(directory(), store);
  await cache(side, MiB);
  expect((await verified(side, MiB)).open()).toBeUndefined();
});

test('a store that is away when the size is asked for leaves it to a later try', async () => {
  const { store } = await storeWithObject();
  await using side = readingSide(directory(), store);
  await cache(side);
  const { head } = store;
  store.head = () => Promise.reject(new Error('away'));
  expect((await verified(side)).open()).toBeUndefined();
  store.head = head;
  const descriptor = (await verified(side)).open();
  expect(descriptor).toBeDefined();
  if (descriptor !== undefined) closeSync(descriptor);
});

test('a rotten block is found by verification and fetched again; nothing is opened before', async () => {
  const { store, bytes } = await storeWithObject();
  {
    await using side = readingSide(directory(), store);
    await cache(side);
  }
  const data = readFileSync(cacheFile());
  data[size - 1] = (data[size - 1] ?? 0) ^ 1;
  writeFileSync(cacheFile(), data);
  await using side = readingSide(directory(), store);
  expect((await verified(side)).open()).toBeUndefined();
  expect(side.disk.statistics()).toMatchObject({ badBlocks: 1, verifiedObjects: 0 });
  store.gets = [];
  await cache(side);
  expect(store.gets).toHaveLength(1);
  const descriptor = (await verified(side)).open();
  if (descriptor === undefined) throw new Error('not opened');
  expect(readFileSync(descriptor).equals(bytes)).toBe(true);
  closeSync(descriptor);
});

test('a verified file that somebody cut is not opened', async () => {
  const { store } = await storeWithObject();
  await using side = readingSide(directory(), store);
  await cache(side);
  const local = await verified(side);
  truncateSync(cacheFile(), size - 1);
  expect(local.open()).toBeUndefined();
});

test('an evicted file is read on by who has it open, and opened by nobody else', async () => {
  const { store, bytes } = await storeWithObject();
  await using side = readingSide(directory(), store, { diskBytes: 4 * MiB });
  await cache(side);
  const local = await verified(side);
  const descriptor = local.open();
  if (descriptor === undefined) throw new Error('not opened');
  const other = noise(2 * limits.getBytesMin, 2);
  side.disk.keep('a/other/object', other);
  await side.disk.settled();
  expect(side.disk.statistics().objects).toBe(1);
  expect(local.open()).toBeUndefined();
  expect(readFileSync(descriptor).equals(bytes)).toBe(true);
  closeSync(descriptor);
});

test('a file that somebody reads past us is not evicted for room, and counts until it is let go of', async () => {
  const { store, bytes } = await storeWithObject();
  await using side = readingSide(directory(), store, { diskBytes: 4 * MiB });
  await cache(side);
  const local = await verified(side);
  const descriptor = local.open();
  if (descriptor === undefined) throw new Error('not opened');
  const release = local.hold();
  const before = side.budget.cachedBytes;
  side.disk.keep('a/other/object', noise(2 * limits.getBytesMin, 2));
  await side.disk.settled();
  expect(side.budget.cachedBytes).toBe(before);
  // Removed all the same, when somebody asks for it: its room is not free before it is closed.
  await side.disk.evict(null);
  expect([side.budget.cachedBytes, side.budget.cacheBytesMax < 4 * MiB - size + 1]).toEqual([0, true]);
  expect(readFileSync(descriptor).equals(bytes)).toBe(true);
  closeSync(descriptor);
  release();
  expect(side.budget.cacheBytesMax).toBe(4 * MiB);
  side.disk.keep('a/other/object', noise(2 * limits.getBytesMin, 2));
  await side.disk.settled();
  expect(side.budget.cachedBytes).toBe(2 * limits.getBytesMin);
});
