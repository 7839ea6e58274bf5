import { setImmediate as nextTurn } from 'node:timers/promises';
import { describe, expect, test } from 'vitest';
import { ExtentMap } from '../../src/content/extent-map.js';
import type { FileOrder } from '../../src/content/ports.js';
import { type Entry, entryPath, splitPath, time } from '../../src/model/entry.js';
import { limits } from '../../src/model/limits.js';
import { artifactId, contentOf, noise, readingSide, useDirectory, WatchedStore } from './support.js';

const directory = useDirectory();
const KiB = 1 << 10;
const MiB = 1 << 20;
const size = 300 * KiB;

interface File {
  readonly path: string;
  readonly object: string;
  readonly offset: number;
  readonly size: number;
}

function orderOf(files: readonly File[]): FileOrder & { lookups: number; extentsRead: number } {
  const entries = files.map(({ path, object, offset, size }, i): Entry => {
    const extents = [{ object, offset, length: size }];
    const rest = { kind: 'file', ino: i + 2, mode: 0o644, uid: 0, gid: 0, nlink: 1 } as const;
    const entry = { ...splitPath(path), ...rest, size, mtime: time(0), ctime: time(0) };
    return Object.defineProperty({ ...entry, extents }, 'extents', {
      get() {
        order.extentsRead++;
        return extents;
      },
    });
  });
  const order = {
    lookups: 0,
    extentsRead: 0,
    following(path: string, limit: number) {
      this.lookups++;
      const at = entries.findIndex((entry) => entryPath(entry) === path) + 1;
      return entries.slice(at, at + limit);
    },
  };
  return order;
}

/** Files of `size` bytes in two directories, each an object of its own. */
async function ownObjects(count: number, size: number) {
  const store = new WatchedStore();
  const files: File[] = [];
  for (let i = 0; i < count; i++) {
    const object = `d/s/${String(i).padStart(5, '0')}-f`;
    files.push({ path: `${i < count / 2 ? 'a' : 'b/c'}/${object.slice(4)}`, object, offset: 0, size });
    await store.putObject(object, noise(size, i));
  }
  return { store, files };
}

/** Files of 4 KiB one after the other in packs of `perPack`. */
async function packed(count: number, perPack: number) {
  const store = new WatchedStore();
  const files: File[] = [];
  const smallSize = 4 * KiB;
  for (let i = 0; i < count; i++) {
    const object = `d/s/${Math.floor(i / perPack)}.pack`;
    files.push({
      path: `d/${String(i).padStart(6, '0')}`,
      object,
      offset: (i % perPack) * smallSize,
      size: smallSize,
    });
  }
  for (let p = 0; p * perPack < count; p++)
    await store.putObject(`d/s/${p}.pack`, noise(perPack * smallSize, p));
  return { store, files };
}

function readerOf(store: WatchedStore, order: FileOrder) {
  const side = readingSide(directory(), store);
  const read = async ({ path, object, offset, size }: File): Promise<void> => {
    const map = new ExtentMap();
    map.set(0, size, { type: 'object', object, offset });
    const reader = side.reader.open(artifactId, contentOf(map, size), { order, path });
    for (let at = 0; at < size; at += MiB) await reader.read(at, Math.min(MiB, size - at));
    reader.close();
  };
  /** What is asked for ahead has come, besides `waitedBytes` that reads waited for and that nobody asked for before. */
  const quiet = async (waitedBytes = 0): Promise<void> => {
    const isComing = () => store.gotBytes < side.walks.statistics().aheadBytes + waitedBytes;
    while (side.fetcher.statistics().active > 0 || isComing()) await nextTurn();
  };
  return { ...side, read, quiet };
}

/** How many of the files, each an object of its own, had to be waited for from the beginning. */
async function waitedFor(side: ReturnType<typeof readerOf>, store: WatchedStore, files: readonly File[]) {
  let waited = 0;
  for (const file of files) {
    const before = store.gets.length;
    await side.read(file);
    if (store.gets.slice(before).some(({ key }) => key.endsWith(file.object))) waited++;
    await side.quiet(waited * file.size);
  }
  return waited;
}

describe('reading files in the order of the tree', () => {
  test('fetches the next ones ahead, across directories, each byte once', async () => {
    const { store, files } = await ownObjects(60, size);
    await using side = readerOf(store, orderOf(files));
    expect(await waitedFor(side, store, files)).toBeLessThanOrEqual(limits.walkStepsMin + 1);
    expect(store.gotBytes).toBe(60 * size);
    expect(side.walks.statistics().wastedBytes).toBe(0);
    expect(side.readAhead.bytes).toBe(0);
  });

  test('goes on from one pack to the next without waiting for it', async () => {
    const { store, files } = await packed(1024, 256);
    await using side = readerOf(store, orderOf(files));
    const packs = new Set<string>();
    let waited = 0;
    for (const file of files) {
      const before = store.gets.length;
      await side.read(file);
      const isFirst = !packs.has(file.object);
      packs.add(file.object);
      if (isFirst && store.gets.slice(before).some(({ key }) => key.endsWith(file.object))) waited++;
      await side.quiet();
    }
    expect(packs.size).toBe(4);
    expect(waited).toBe(1);
    expect(store.gotBytes).toBeLessThan(4 * MiB + 4 * limits.blockBytes);
    expect(store.gets.length).toBeLessThan(24);
  });

  test('looks at no file again and again when all of them have been asked for', async () => {
    const { store, files } = await packed(600, 600);
    const order = orderOf(files);
    const side = readerOf(store, order);
    for (const file of files) await side.read(file);
    while (side.fetcher.statistics().active > 0) await nextTurn();
    expect(order.extentsRead).toBeLessThan(20 * files.length);
  });

  test('of large files only the beginning is fetched ahead', async () => {
    const { store, files } = await ownObjects(5, 6 * MiB);
    await using side = readerOf(store, orderOf(files));
    for (const file of files.slice(0, 3)) await side.read(file);
    while (!store.gets.some(({ key }) => key.endsWith('00004-f'))) await nextTurn();
    await side.quiet();
    const ahead = store.gets.filter(({ key }) => /0000[34]-f/.test(key));
    expect(ahead.length).toBeGreaterThan(0);
    const bytes = ahead.reduce((sum, { length }) => sum + length, 0);
    expect(bytes).toBeLessThanOrEqual(2 * 4 * MiB);
  });
});

describe('what is not a walk', () => {
  test('reads here and there in very many versions are remembered of the last ones only', async () => {
    const side = readingSide(directory(), new WatchedStore());
    const files = Array.from({ length: 200 }, (_, i) => ({
      path: `d/${String(i).padStart(3, '0')}`,
      object: `d/s/${i}`,
      offset: 0,
      size,
    }));
    const begin = (order: FileOrder, at: number): void =>
      side.walks.began(artifactId, { order, path: files[at]?.path ?? '' }, size, true);
    let newest = orderOf(files);
    for (let version = 0; version < 100; version++) {
      newest = orderOf(files);
      for (const at of [0, 50, 100, 150]) begin(newest, at);
    }
    const near = limits.walksAllMax * limits.walkNearFiles;
    expect(side.walks.statistics()).toMatchObject({ walks: limits.walksAllMax, files: near });
    // Of these it goes on, and looks further: no other is begun. One file of 200 is read, the 33 last ones come.
    begin(newest, 151);
    expect(side.walks.statistics()).toMatchObject({ walks: limits.walksAllMax, files: near - 1 + 33 });
  });

  test('two files of many cost what they are', async () => {
    const { store, files } = await ownObjects(60, size);
    await using side = readerOf(store, orderOf(files));
    for (const file of files.slice(0, 2)) await side.read(file);
    await side.disk.settled();
    await side.quiet();
    expect(store.gotBytes).toBe(2 * size);
  });

  test('a walk that ends has fetched no more ahead than four times what it read, and says so', async () => {
    const { store, files } = await ownObjects(60, size);
    await using side = readerOf(store, orderOf(files));
    const waited = await waitedFor(side, store, files.slice(0, 4));
    expect(waited).toBe(limits.walkStepsMin + 1);
    expect(side.walks.statistics().aheadBytes).toBe(store.gotBytes - waited * size);
    expect(store.gotBytes).toBeGreaterThan(4 * size);
    expect(store.gotBytes).toBeLessThanOrEqual(5 * 4 * size);
  });

  test('random order fetches hardly more than is read', async () => {
    const { store, files } = await ownObjects(600, 64 * KiB);
    await using side = readerOf(store, orderOf(files));
    const shuffled = files.map((file, i) => ({ file, at: (i * 7919) % 600 })).sort((a, b) => a.at - b.at);
    for (const { file } of shuffled.slice(0, 150)) await side.read(file);
    await side.disk.settled();
    expect(store.gotBytes).toBeLessThan(1.3 * 150 * 64 * KiB);
  });

  test('what is in memory is not looked up in the tree', async () => {
    const { store, files } = await packed(60, 60);
    const order = orderOf(files);
    await using side = readerOf(store, order);
    const whole = { path: 'all', object: files[0]?.object ?? '', offset: 0, size: 60 * 4 * KiB };
    await side.read(whole);
    order.lookups = 0;
    const other = orderOf(files);
    const map = new ExtentMap();
    map.set(0, 4 * KiB, { type: 'object', object: whole.object, offset: 0 });
    for (const { path } of files) {
      const reader = side.reader.open(artifactId, contentOf(map, 4 * KiB), { order: other, path });
      await reader.read(0, 4 * KiB);
      reader.close();
    }
    expect(other.lookups).toBe(0);
  });
});

describe('several readers', () => {
  test('workers that share the files in order are one walk', async () => {
    const { store, files } = await ownObjects(80, size);
    await using side = readerOf(store, orderOf(files));
    for (let i = 0; i < 80; i += 8) await Promise.all(files.slice(i, i + 8).map(side.read));
    expect(store.gotBytes).toBe(80 * size);
    expect(side.walks.statistics().aheadBytes).toBeGreaterThan(60 * size);
    expect(side.readAhead.bytes).toBe(0);
  });
});
