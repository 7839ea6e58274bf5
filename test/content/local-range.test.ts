import { fstatSync, readdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExtentMap } from '../../src/content/extent-map.js';
import { readRange } from '../../src/content/local/local-range.js';
import type { FileReader, LocalRange } from '../../src/content/ports.js';
import { limits } from '../../src/model/limits.js';
import { artifactId, contentOf, noise, readingSide, useDirectory, WatchedStore } from './support.js';

const directory = useDirectory();
const MiB = 1 << 20;
const { blockBytes, checkBytes } = limits;
const object = 'd/s/1-file';

/** A store with one object, and a file that is exactly that object. */
async function oneObject(length: number) {
  const store = new WatchedStore();
  const bytes = noise(length, 1);
  await store.putObject(object, bytes);
  const map = new ExtentMap();
  map.set(0, length, { type: 'object', object, offset: 0 });
  return { store, bytes, map, content: contentOf(map, length) };
}

type Side = ReturnType<typeof readingSide>;

async function readAll(reader: FileReader, size: number): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for (let at = 0; at < size; at += MiB) chunks.push(Buffer.from(await reader.read(at, MiB)));
  return Buffer.concat(chunks);
}

/** All of it in the disk cache, and nothing in memory. */
async function cached(store: WatchedStore, content: ReturnType<typeof contentOf>): Promise<void> {
  await using side: Side = readingSide(directory(), store);
  await readAll(side.reader.open(artifactId, content), content.size());
  await side.disk.settled();
  store.gets = [];
}

function here(range: LocalRange | undefined): LocalRange {
  if (range === undefined) throw new Error('the bytes are in no local file');
  return range;
}

function damage(at: number): void {
  const cache = join(directory(), 'cache');
  const file = join(cache, readdirSync(cache).find((name) => name.endsWith('.data')) ?? '');
  const data = readFileSync(file);
  data[at] = (data[at] ?? 0) ^ 1;
  writeFileSync(file, data);
}

describe('bytes as a local file has them', () => {
  test('any range of a cached object and of a staged file is the bytes that a read gives', async () => {
    const size = 2 * blockBytes + checkBytes + 777;
    const { store, bytes, content } = await oneObject(size);
    await cached(store, content);
    await using side = readingSide(directory(), store);
    await side.staging.write(3, 0, bytes);
    const staged = new ExtentMap();
    staged.set(0, size, { type: 'local', file: 3, offset: 0 });
    const readers = [content, contentOf(staged, size)].map((each) => side.reader.open(artifactId, each));
    await readers[0]?.read(0, 1); // from now on it is known what the disk has
    await fc.assert(
      fc.asyncProperty(
        fc.nat(size - 1),
        fc.integer({ min: 1, max: MiB }),
        fc.nat(1),
        async (offset, length, which) => {
          const range = here(readers[which]?.local(offset, length));
          const expected = bytes.subarray(offset, offset + length);
          expect(range.length).toBe(expected.length);
          const found = await readRange(range);
          expect(Buffer.isBuffer(found) && expected.equals(found)).toBe(true);
        },
      ),
    );
    expect(store.gets).toEqual([]);
  });

  test('there is none where bytes are in memory, in the store, in several places or nowhere', async () => {
    const size = 2 * MiB;
    const { store, content, map } = await oneObject(size);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    expect(reader.local(0, 4096)).toBeUndefined();
    await reader.read(0, 4096);
    await side.disk.settled();
    expect(reader.local(0, 4096)).toBeUndefined(); // `read` answers from memory, and at once
    expect(reader.local(0, blockBytes + 1)).toBeUndefined();
    side.memory.clear();
    const range = here(reader.local(0, blockBytes));
    range.release(false);
    expect(reader.local(0, blockBytes + 1)).toBeUndefined();
    expect(reader.local(size, 4096)).toBeUndefined();
    map.punch(0, 1);
    expect(reader.local(0, 4096)).toBeUndefined();
    expect(side.disk.statistics().hitBytes).toBe(0);
    reader.close();
    expect(() => reader.local(0, 4096)).toThrow('closed');
  });

  test('what the disk cache has is not kept in memory besides, nor fetched ahead', async () => {
    const { store, bytes, content } = await oneObject(6 * MiB);
    await cached(store, content);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    expect((await readAll(reader, 6 * MiB)).equals(bytes)).toBe(true);
    expect(side.memory.bytes).toBe(0);
    expect(side.disk.statistics().hitBytes).toBe(6 * MiB);
    expect(store.gets).toEqual([]);
  });

  test('a small read looks at the pieces it touches: damage beside them is not its business', async () => {
    const { store, bytes, content } = await oneObject(MiB);
    await cached(store, content);
    damage(3 * checkBytes);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    for (const [offset, length] of [
      [0, 3 * checkBytes],
      [4 * checkBytes, blockBytes - 4 * checkBytes],
      [2 * checkBytes + 5, 100],
    ] as const) {
      expect((await reader.read(offset, length)).equals(bytes.subarray(offset, offset + length))).toBe(true);
    }
    expect(side.disk.statistics().badBlocks).toBe(0);
    expect(store.gets).toEqual([]);
  });

  test('damage is seen by who reads the file himself, and mended by reading; it is counted once', async () => {
    const { store, bytes, content } = await oneObject(MiB);
    await cached(store, content);
    damage(blockBytes + 5 * checkBytes + 9);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    await reader.read(0, 1);
    expect(await readRange(here(reader.local(0, MiB)))).toEqual({ damagedAt: blockBytes + 5 * checkBytes });
    const found = await Promise.all([0, 1, 2].map(() => reader.read(blockBytes, blockBytes)));
    for (const each of found) expect(each.equals(bytes.subarray(blockBytes, 2 * blockBytes))).toBe(true);
    expect(side.disk.statistics().badBlocks).toBe(1);
    expect(store.gets).toHaveLength(1);
    await side.disk.settled();
    side.memory.clear();
    const mended = await readRange(here(reader.local(0, MiB)));
    expect(Buffer.isBuffer(mended) && bytes.equals(mended)).toBe(true);
  });

  test('a file is open until the last range of it is released, also when it was evicted or removed meanwhile', async () => {
    const { store, bytes, content } = await oneObject(MiB);
    await cached(store, content);
    const side = readingSide(directory(), store);
    await side.staging.write(3, 0, bytes);
    const staged = new ExtentMap();
    staged.set(0, MiB, { type: 'local', file: 3, offset: 0 });
    const reader = side.reader.open(artifactId, content);
    await reader.read(0, 1);
    const ranges = [reader, side.reader.open(artifactId, contentOf(staged, MiB))].map((each) =>
      here(each.local(0, MiB)),
    );
    const again = ranges.map((range) => ({ ...range, descriptor: range.descriptor, release: () => {} }));
    side.staging.remove(3);
    await side.staging.write(4, 0, Buffer.alloc(1));
    await side.budget.reclaim(2 * MiB, () => {});
    await side.disk.settled();
    expect(side.disk.statistics().objects).toBe(0);
    await side[Symbol.asyncDispose]();
    for (const range of again) {
      const found = await readRange(range);
      expect(Buffer.isBuffer(found) && bytes.equals(found)).toBe(true);
    }
    for (const range of ranges) {
      const { descriptor } = range;
      range.release(true);
      expect(() => fstatSync(descriptor)).toThrow('EBADF');
    }
  });
});
