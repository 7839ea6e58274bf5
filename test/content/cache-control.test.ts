import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { describe, expect, test } from 'vitest';
import { CacheHolds } from '../../src/content/cache/cache-holds.js';
import { CachePins } from '../../src/content/cache/cache-pins.js';
import { ObjectRanges } from '../../src/content/cache/object-ranges.js';
import { ExtentMap } from '../../src/content/extent-map.js';
import { CacheControl } from '../../src/content/read/cache-control.js';
import { ArtifactError } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import {
  artifactId,
  contentOf,
  noise,
  objectKey,
  type ReadingOptions,
  readingSide,
  useDirectory,
  WatchedStore,
} from './support.js';

const directory = useDirectory();
const MiB = 1 << 20;
const pack = 'd/s/1.pack';
const target = { artifactId, version: 0, path: '' };
const never = { signal: new AbortController().signal, onProgress: () => {} };

function side(store: WatchedStore, options: ReadingOptions = {}) {
  const holds = new CacheHolds();
  const parts = readingSide(directory(), store, { ...options, holds });
  const pins = new CachePins(join(directory(), 'pins.json'), holds);
  const { fetcher, memory, disk } = parts;
  const cache = new CacheControl({ fetcher, memory, disk, pins, objectKey });
  const read = async (object: string, offset: number, length: number): Promise<Buffer> => {
    const map = new ExtentMap();
    map.set(0, length, { type: 'object', object, offset });
    const reader = parts.reader.open(artifactId, contentOf(map, length));
    const bytes = Buffer.from(await reader.read(0, length));
    reader.close();
    return bytes;
  };
  return { ...parts, cache, read };
}

function rangesOf(...extents: [object: string, offset: number, length: number][]): ObjectRanges {
  const ranges = new ObjectRanges();
  ranges.add(extents.map(([object, offset, length]) => ({ object, offset, length })));
  return ranges;
}

describe('warming', () => {
  test('afterwards reading makes no GET, also after a restart and while the store is away', async () => {
    const store = new WatchedStore();
    const files = noise(3 * MiB + 100, 1);
    const large = noise(20 * MiB + 7, 2);
    await store.putObject(pack, files);
    await store.putObject('d/s/2-large', large);
    const ranges = rangesOf([pack, 0, 5000], [pack, 5000, 3 * MiB - 5000], ['d/s/2-large', 0, large.length]);
    {
      await using first = side(store);
      const seen: [number, number][] = [];
      const done = await first.cache.warm(artifactId, ranges, {
        signal: never.signal,
        onProgress: (...now) => seen.push(now),
      });
      const bytes = 3 * MiB + large.length;
      expect(done).toEqual({ bytes, cachedBytes: 0, fetchedBytes: bytes });
      expect(seen.at(0)).toEqual([0, bytes]);
      expect(seen.at(-1)).toEqual([bytes, bytes]);
      expect(store.gets.length).toBe(1 + 3);
      expect(await first.cache.coverage(artifactId, ranges)).toEqual({ bytes, cachedBytes: bytes });
      const again = await first.cache.warm(artifactId, ranges, never);
      expect(again).toEqual({ bytes, cachedBytes: bytes, fetchedBytes: 0 });
      expect(store.gets.length).toBe(4);
    }
    store.failure = new ArtifactError('StoreUnavailable', 'away');
    await using second = side(store);
    expect((await second.read(pack, 5000, 3 * MiB - 5000)).equals(files.subarray(5000, 3 * MiB))).toBe(true);
    expect((await second.read('d/s/2-large', 0, large.length)).equals(large)).toBe(true);
    expect(store.gets.length).toBe(4);
    expect(store.heads).toBe(0);
  });

  test('who has the file open already finds it, too', async () => {
    const store = new WatchedStore();
    const bytes = noise(4 * MiB, 1);
    await store.putObject('d/s/1-f', bytes);
    await using parts = side(store);
    const map = new ExtentMap();
    map.set(0, bytes.length, { type: 'object', object: 'd/s/1-f', offset: 0 });
    const reader = parts.reader.open(artifactId, contentOf(map, bytes.length));
    store.failure = new ArtifactError('StoreUnavailable', 'away');
    await expect(Promise.resolve(reader.read(0, 10))).rejects.toMatchObject({ code: 'StoreUnavailable' });
    store.failure = null;
    await parts.cache.warm(artifactId, rangesOf(['d/s/1-f', 0, bytes.length]), never);
    store.failure = new ArtifactError('StoreUnavailable', 'away');
    expect(bytes.equals(await reader.read(0, bytes.length))).toBe(true);
    reader.close();
  });

  test('fetches only what is missing, in whole blocks, and counts bytes that files share once', async () => {
    const store = new WatchedStore();
    await store.putObject(pack, noise(8 * limits.blockBytes, 1));
    await using parts = side(store);
    const one = rangesOf([pack, limits.blockBytes + 10, 20]);
    expect(await parts.cache.warm(artifactId, one, never)).toMatchObject({ bytes: 20, cachedBytes: 0 });
    store.gets = [];
    const { blockBytes } = limits;
    const all = rangesOf([pack, 0, 3 * blockBytes], [pack, blockBytes, blockBytes]);
    // The block is known as long as the first call knew it to be.
    const result = await parts.cache.warm(artifactId, all, never);
    expect(result.bytes).toBe(3 * blockBytes);
    expect(result.cachedBytes).toBe(30);
    expect(store.gotBytes).toBe(result.fetchedBytes);
    expect(result.fetchedBytes).toBe(3 * blockBytes);
  });

  test('what cannot fit is refused before anything is fetched', async () => {
    const store = new WatchedStore();
    await store.putObject('d/s/1-f', noise(4 * MiB, 1));
    await using parts = side(store, { diskBytes: 3 * MiB });
    const ranges = rangesOf(['d/s/1-f', 0, 4 * MiB]);
    await expect(parts.cache.warm(artifactId, ranges, never)).rejects.toMatchObject({
      code: 'NoSpace',
      message: `${4 * MiB} bytes are to be fetched; the cache has room for ${3 * MiB} beside what is warm or pinned`,
    });
    expect(store.gets).toEqual([]);
  });

  test('pushes out others, but nothing of itself', async () => {
    const store = new WatchedStore();
    for (const i of [0, 1, 2, 3]) await store.putObject(`d/s/${i}-f`, noise(MiB, i));
    await using parts = side(store, { diskBytes: 3 * MiB });
    const of = (...numbers: number[]) =>
      rangesOf(...numbers.map((i): [string, number, number] => [`d/s/${i}-f`, 0, MiB]));
    await parts.cache.warm(artifactId, of(0, 1), never);
    await parts.cache.warm(artifactId, of(1, 2, 3), never);
    expect(await parts.cache.coverage(artifactId, of(0))).toMatchObject({ cachedBytes: 0 });
    expect(await parts.cache.coverage(artifactId, of(1, 2, 3))).toMatchObject({ cachedBytes: 3 * MiB });
  });

  test('ends when it is cancelled, with the reason, and leaves what it has', async () => {
    const store = new WatchedStore();
    const objects = Array.from({ length: 4 * limits.warmGetsMax }, (_, i) => `d/s/${i}-f`);
    for (const object of objects) await store.putObject(object, noise(100_000, 1));
    await using parts = side(store);
    const controller = new AbortController();
    const ranges = rangesOf(...objects.map((object): [string, number, number] => [object, 0, 100_000]));
    const warming = parts.cache.warm(artifactId, ranges, {
      signal: controller.signal,
      onProgress: (done) => {
        if (done > 0) controller.abort(new ArtifactError('Interrupted', 'cancelled'));
      },
    });
    await expect(warming).rejects.toMatchObject({ code: 'Interrupted' });
    const { cachedBytes } = await parts.cache.coverage(artifactId, ranges);
    expect(cachedBytes).toBeGreaterThan(0);
    expect(store.gets.length).toBeLessThan(objects.length);
    expect(await parts.cache.warm(artifactId, ranges, never)).toMatchObject({ cachedBytes });
  });

  test('a failing store fails it', async () => {
    const store = new WatchedStore();
    await store.putObject('d/s/1-f', noise(MiB, 1));
    store.failure = new ArtifactError('StoreUnavailable', 'away');
    await using parts = side(store);
    const warming = parts.cache.warm(artifactId, rangesOf(['d/s/1-f', 0, MiB]), never);
    await expect(warming).rejects.toMatchObject({ code: 'StoreUnavailable' });
  });
});

describe('pins', () => {
  const objects = ['d/s/0-f', 'd/s/1-f', 'd/s/2-f', 'd/s/3-f'];

  async function fourObjects(): Promise<WatchedStore> {
    const store = new WatchedStore();
    for (const [i, object] of objects.entries()) await store.putObject(object, noise(MiB, i));
    return store;
  }
  const one = (i: number) => rangesOf([objects[i] ?? '', 0, MiB]);

  test('what is pinned is not pushed out by what is read, also after a restart; unpinned it is', async () => {
    const store = await fourObjects();
    for (const round of [0, 1]) {
      await using parts = side(store, { diskBytes: 3 * MiB });
      if (round === 0) {
        await parts.cache.warm(artifactId, one(0), never);
        expect(await parts.cache.pin(target, 'a', one(0))).toEqual({ bytes: MiB, cachedBytes: MiB });
        expect(parts.cache.figures().pinnedBytes).toBe(MiB);
      }
      for (const i of [1, 2, 3]) {
        await parts.read(objects[i] ?? '', 0, MiB);
        await parts.disk.settled();
      }
      expect(await parts.cache.coverage(artifactId, one(0))).toMatchObject({ cachedBytes: MiB });
      expect(parts.cache.pins()).toMatchObject([{ ...target, artifact: 'a' }]);
      if (round === 0) continue;
      expect(await parts.cache.unpin(target)).toBe(true);
      expect(await parts.cache.unpin(target)).toBe(false);
      for (const i of [1, 2, 3]) await parts.cache.warm(artifactId, one(i), never);
      expect(await parts.cache.coverage(artifactId, one(0))).toMatchObject({ cachedBytes: 0 });
    }
  });

  test('staged files push out also what is pinned, after everything else', async () => {
    const store = await fourObjects();
    await using parts = side(store, { diskBytes: 10 * MiB });
    await parts.cache.warm(artifactId, one(0), never);
    await parts.cache.pin(target, 'a', one(0));
    await parts.cache.warm(artifactId, one(1), never);
    await parts.budget.reclaim(MiB, () => {});
    expect(await parts.cache.coverage(artifactId, one(0))).toMatchObject({ cachedBytes: MiB });
    expect(await parts.cache.coverage(artifactId, one(1))).toMatchObject({ cachedBytes: 0 });
    await parts.budget.reclaim(MiB, () => {});
    expect(await parts.cache.coverage(artifactId, one(0))).toMatchObject({ cachedBytes: 0 });
  });

  test('pins leave a part of the cache to others', async () => {
    await using parts = side(await fourObjects(), { diskBytes: 2 * MiB });
    await parts.cache.pin(target, 'a', one(0));
    await parts.cache.warm(artifactId, one(0), never);
    const more = parts.cache.pin({ ...target, version: 1 }, 'a', one(1));
    await expect(more).rejects.toMatchObject({ code: 'NoSpace' });
    expect(parts.cache.pins()).toHaveLength(1);
    await expect(parts.cache.warm(artifactId, rangesOf(['d/s/1-f', 0, MiB], ['d/s/2-f', 0, MiB]), never))
      .rejects //
      .toMatchObject({ code: 'NoSpace' });
  });

  test('a damaged file of pins is no pins', async () => {
    writeFileSync(join(directory(), 'pins.json'), '{"formatVersion":1,"pi');
    await using parts = side(await fourObjects());
    expect(parts.cache.pins()).toEqual([]);
    await parts.cache.pin(target, 'a', one(0));
    expect(parts.cache.pins()).toHaveLength(1);
  });

  test('evicting takes from disk and memory, and leaves what is pinned', async () => {
    const store = await fourObjects();
    await using parts = side(store);
    for (const i of [0, 1, 2]) await parts.read(objects[i] ?? '', 0, MiB);
    await parts.disk.settled();
    await parts.cache.pin(target, 'a', one(0));
    expect(await parts.cache.evict(artifactId, one(1))).toBe(MiB);
    store.gets = [];
    await parts.read(objects[1] ?? '', 0, MiB);
    expect(store.gotBytes).toBe(MiB);
    await parts.disk.settled();
    expect(await parts.cache.evictAll()).toBe(2 * MiB);
    expect(parts.cache.figures()).toMatchObject({ objects: 1, bytes: MiB, pinnedBytes: MiB });
  });
});
