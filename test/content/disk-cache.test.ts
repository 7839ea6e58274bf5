import { mkdtempSync, readdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { DiskCache } from '../../src/content/cache/disk-cache.js';
import { DiskBudget } from '../../src/content/local/disk-budget.js';

const MiB = 1 << 20;

let directory: string;
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'afs-disk-cache-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

test('blocks that were written together, in any order, are all there after a restart', async () => {
  const block = 256 << 10;
  const bytes = (n: number) => Buffer.alloc(block, n);
  {
    await using cache = new DiskCache(directory, new DiskBudget(100 * MiB), 64 * MiB);
    const object = await cache.open('a/b/object');
    for (const n of [9, 3, 1, 2, 7, 8, 40, 0]) expect(cache.store(object, n * block, bytes(n))).toBe(true);
    await cache.settled();
  }
  await using cache = new DiskCache(directory, new DiskBudget(100 * MiB), 64 * MiB);
  const object = await cache.open('a/b/object');
  const there = Array.from({ length: 50 }, (_, n) => n).filter((n) => object.has(n, block));
  expect(there).toEqual([0, 1, 2, 3, 7, 8, 9, 40]);
  for (const n of there) expect((await cache.read(object, n * block, block))?.equals(bytes(n))).toBe(true);
});

test('an object that is evicted because its own new blocks no longer fit leaves nothing counted', async () => {
  const budget = new DiskBudget(4 * MiB);
  await using cache = new DiskCache(directory, budget, 16 * MiB);
  const object = await cache.open('a/b/object');
  await cache.keepNow(object, 0, Buffer.alloc(MiB, 1));
  const second = cache.keepNow(object, MiB, Buffer.alloc(MiB, 2));
  // It had its room when it began; a file staged meanwhile took it away.
  budget.addStaged(2.5 * MiB);
  await second;
  await cache.settled();
  expect(object.dead).toBe(true);
  expect(budget.cachedBytes).toBe(0);
  expect(cache.statistics()).toMatchObject({ objects: 0, bytes: 0 });
  expect(readdirSync(directory)).toEqual([]);
});
