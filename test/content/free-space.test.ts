import { execFileSync } from 'node:child_process';
import { mkdirSync, readdirSync, rmSync, statfsSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DiskCache } from '../../src/content/cache/disk-cache.js';
import { DiskBudget } from '../../src/content/local/disk-budget.js';
import { FreeSpace } from '../../src/content/local/free-space.js';
import { StagingFiles } from '../../src/content/local/staging.js';
import { deferred } from '../../src/util/deferred.js';
import { noise, useDirectory } from './support.js';

const directory = useDirectory();
const MiB = 1 << 20;
const unlimited = Number.MAX_SAFE_INTEGER;
const isRoot = process.getuid?.() === 0;
const blockBytes = 4096;
const space = (total: number, free: number) => ({
  blocks: total / blockBytes,
  bavail: free / blockBytes,
  bsize: blockBytes,
});
const noSpace = expect.objectContaining({ code: 'NoSpace' });

describe('FreeSpace', () => {
  test.each([
    [10 * MiB, 2 * MiB],
    [1000 * MiB, 20 * MiB],
    [2 ** 40, 64 * MiB],
  ])('of %i bytes keeps %i for the databases', (total, headroom) => {
    const free = new FreeSpace('/', () => space(total, total));
    expect(free.headroomBytes).toBe(headroom);
    expect(free.spareBytes).toBe(total - headroom);
  });

  test('counts what is being written, also when the file system is asked meanwhile', () => {
    let freeBytes = 100 * MiB;
    const free = new FreeSpace('/', () => space(100 * MiB, freeBytes));
    expect(free.spareBytes).toBe(98 * MiB);
    free.begin(10 * MiB);
    free.begin(5 * MiB);
    expect(free.spareBytes).toBe(83 * MiB);
    free.forget();
    expect(free.spareBytes).toBe(83 * MiB);
    free.end(10 * MiB);
    expect(free.spareBytes).toBe(83 * MiB);
    freeBytes -= 10 * MiB;
    free.forget();
    expect(free.spareBytes).toBe(83 * MiB);
  });

  test('refuses nothing where a file system does not tell its size', () => {
    const free = new FreeSpace('/', () => space(0, 0));
    new DiskBudget(unlimited, free).admitOnDisk(2 ** 50);
  });
});

describe('DiskBudget on a disk', () => {
  function budgetOn(freeBytes: number) {
    const disk = { freeBytes };
    const budget = new DiskBudget(unlimited, new FreeSpace('/', () => space(1000 * MiB, disk.freeBytes)));
    return { disk, budget };
  }

  test('refuses what would touch the headroom, and only for what is so now', () => {
    const { disk, budget } = budgetOn(30 * MiB);
    budget.admitOnDisk(10 * MiB);
    expect(() => budget.admitOnDisk(10 * MiB + 1)).toThrow(noSpace);
    disk.freeBytes = 40 * MiB;
    budget.admitOnDisk(20 * MiB);
  });

  test('rows of the databases are refused later than staged bytes, and only for what is so now', () => {
    const { disk, budget } = budgetOn(15 * MiB);
    expect(() => budget.admitOnDisk(1)).toThrow(noSpace);
    budget.admitRows();
    disk.freeBytes = 9 * MiB;
    const many = () => {
      for (let i = 0; i < 1000; i++) budget.admitRows();
    };
    expect(many).toThrow(noSpace);
    disk.freeBytes = 15 * MiB;
    budget.admitRows();
  });

  test('reclaims as much as others took from the headroom besides what is wanted', async () => {
    const { disk, budget } = budgetOn(500 * MiB);
    const asked: number[] = [];
    budget.attachCache(
      () => {},
      (bytes) => asked.push(bytes),
    );
    budget.addCached(400 * MiB);
    disk.freeBytes = 0;
    expect(await budget.reclaim(MiB, () => asked.length)).toBe(1);
    expect(asked).toEqual([21 * MiB]);
  });

  test('waits for what is being removed instead of evicting more', async () => {
    const { disk, budget } = budgetOn(30 * MiB);
    const asked: number[] = [];
    budget.attachCache(
      () => {},
      (bytes) => asked.push(bytes),
    );
    const removal = Promise.resolve().then(() => {
      disk.freeBytes += 8 * MiB;
    });
    budget.addLeaving(8 * MiB, removal);
    expect(budget.cacheBytesMax).toBe(8 * MiB);
    expect(() => budget.admitOnDisk(18 * MiB)).toThrow(noSpace);
    expect(budget.reclaimable).toBe(true);
    await budget.reclaim(8 * MiB, () => budget.admitOnDisk(18 * MiB));
    expect(budget.cacheBytesMax).toBe(8 * MiB);
    expect(asked).toEqual([]);
    expect(budget.reclaimable).toBe(false);
  });

  test('rows are not refused for the room that cached blocks on their way were promised', () => {
    const { budget } = budgetOn(22 * MiB);
    budget.attachCache(
      () => {},
      () => {},
    );
    const never = new Promise<void>(() => {});
    budget.addLeaving(16 * MiB, never);
    void budget.writeCached(16 * MiB, () => never);
    budget.admitRows();
  });

  test('the cache keeps a distance from the headroom, and shrinks when rows come near to it', () => {
    const { disk, budget } = budgetOn(40 * MiB);
    let pressure = 0;
    budget.attachCache(
      () => {
        pressure++;
      },
      () => {},
    );
    budget.addCached(400 * MiB);
    expect(budget.cacheBytesMax).toBe(410 * MiB);
    disk.freeBytes = 30 * MiB;
    budget.admitRows();
    expect(pressure).toBe(0);
    const many = () => {
      for (let i = 0; i < 1000; i++) budget.admitRows();
    };
    disk.freeBytes = 25 * MiB;
    many();
    expect(pressure).toBeGreaterThan(0);
    expect(budget.cacheBytesMax).toBeLessThanOrEqual(395 * MiB);
  });

  test('who has no room waits for what the cache is writing, which gives way, and gets it before others', async () => {
    const { disk, budget } = budgetOn(28 * MiB);
    budget.attachCache(
      () => {},
      (bytes) => {
        budget.addCached(-bytes);
        budget.addLeaving(
          bytes,
          Promise.resolve().then(() => {
            disk.freeBytes += bytes;
          }),
        );
      },
    );
    const written = deferred();
    const arriving = budget.writeCached(8 * MiB, () => written.promise);
    expect(() => budget.admitOnDisk(MiB)).toThrow(noSpace);
    expect(budget.reclaimable).toBe(true);
    const room: number[] = [];
    const reclaimed = budget.reclaim(MiB, () => {
      budget.admitOnDisk(MiB);
      room.push(budget.cacheBytesMax - budget.cachedBytes);
    });
    disk.freeBytes -= 8 * MiB;
    budget.addCached(8 * MiB);
    written.resolve();
    await Promise.all([arriving, reclaimed]);
    expect(budget.cachedBytes).toBe(7 * MiB);
    expect(room).toEqual([expect.any(Number)]);
    expect(room[0]).toBeLessThanOrEqual(0);
  });

  test('a removal is no reason for the next one', () => {
    const { disk, budget } = budgetOn(500 * MiB);
    let pressure = 0;
    budget.attachCache(
      () => {
        pressure++;
      },
      () => {},
    );
    budget.addCached(400 * MiB);
    disk.freeBytes = 0;
    budget.addCached(-MiB);
    budget.addStaged(-MiB);
    expect(pressure).toBe(0);
    budget.addStaged(1);
    expect(pressure).toBe(1);
  });
});

describe('on a small disk', () => {
  const diskBytes = 48 * MiB;
  const headroomBytes = 2 * MiB;
  let mounted = '';
  beforeEach(() => {
    mounted = join(directory(), 'small');
    mkdirSync(mounted);
    if (isRoot) {
      execFileSync('mount', ['-t', 'tmpfs', '-o', `size=${diskBytes}`, 'artifactfs-test', mounted]);
    }
  });
  afterEach(() => {
    if (isRoot) execFileSync('umount', [mounted]);
  });

  /** As root a real file system; otherwise what the files under `mounted` leave of the same size. */
  const ask = () => (isRoot ? statfsSync(mounted) : space(diskBytes, diskBytes - usedUnder(mounted)));
  function free(): number {
    const { bavail, bsize } = ask();
    return bavail * bsize;
  }

  function start() {
    const budget = new DiskBudget(unlimited, new FreeSpace(mounted, ask));
    const staging = new StagingFiles(join(mounted, 'staging'), budget);
    const cache = new DiskCache(join(mounted, 'cache'), budget, 256 * MiB);
    return {
      budget,
      staging,
      cache,
      async [Symbol.asyncDispose]() {
        await cache[Symbol.asyncDispose]();
        // The disk cannot be unmounted while a file is still being removed from it.
        await budget.reclaim(0, () => {});
        staging[Symbol.dispose]();
      },
    };
  }
  type Side = ReturnType<typeof start>;

  /** Objects of `size` bytes offered to the cache all at once; the least that was free while they were written. */
  async function offer({ cache }: Side, count: number, size: number, first = 0): Promise<number> {
    let least = free();
    for (let i = first; i < first + count; i++) {
      const object = await cache.open(`object-${i}`);
      cache.store(object, 0, noise(size, i));
      least = Math.min(least, free());
    }
    let settled = false;
    const done = cache.settled().then(() => {
      settled = true;
    });
    while (!settled) {
      await new Promise((resolve) => setImmediate(resolve));
      least = Math.min(least, free());
    }
    await done;
    return least;
  }

  test.each([
    ['small', 32 << 10],
    ['large', MiB],
  ])('%s staged writes stop at the headroom, and go on at once after a removal', async (_, size) => {
    await using side = start();
    const fill = async () => {
      for (let at = 0; at < diskBytes; at += size) await side.staging.write(1, at, noise(size, at));
    };
    await expect(fill()).rejects.toMatchObject({ code: 'NoSpace', message: 'the local disk is full' });
    expect(free()).toBeGreaterThanOrEqual(headroomBytes);
    expect(free()).toBeLessThan(headroomBytes + 2 * size + 16 * blockBytes);
    // Large enough to be removed in the background.
    side.staging.remove(1);
    await side.staging.write(2, 0, noise(30 * MiB, 1));
    expect(() => side.staging.write(2, 30 * MiB, noise(30 * MiB, 1))).toThrow(noSpace);
    side.staging.remove(2);
    await side.staging.write(3, 0, noise(size, 2));
  });

  test('many staged writes at once are not promised the same room', async () => {
    await using side = start();
    const writes = Array.from({ length: 80 }, async (_, i) => side.staging.write(i + 1, 0, noise(MiB, i)));
    const results = await Promise.allSettled(writes);
    expect(results.filter(({ status }) => status === 'fulfilled').length).toBeGreaterThan(30);
    expect(results.filter(({ status }) => status === 'rejected').length).toBeGreaterThan(30);
    expect(free()).toBeGreaterThanOrEqual(headroomBytes);
  });

  test('the cache never eats the headroom, and keeps what was used last', async () => {
    await using side = start();
    expect(await offer(side, 100, MiB)).toBeGreaterThanOrEqual(headroomBytes);
    expect(side.cache.statistics()).toMatchObject({ writeErrors: 0, lastError: null });
    const { objects } = side.cache.statistics();
    expect(objects).toBeGreaterThan(30);
    expect(await offer(side, 1, MiB, 1000)).toBeGreaterThanOrEqual(headroomBytes);
    const last = await side.cache.open('object-1000');
    expect((await side.cache.read(last, 0, MiB))?.equals(noise(MiB, 1000))).toBe(true);
    // Room was made for it and not for more.
    expect(side.cache.statistics().objects).toBeGreaterThanOrEqual(objects - 2);
  });

  test('the cache gives way to staged bytes, and comes back when they are gone', async () => {
    await using side = start();
    await offer(side, 100, MiB);
    const sizes = [...Array.from({ length: 40 }, () => MiB), 32 << 10, 4096];
    await Promise.all(sizes.map(async (size, i) => side.staging.write(i + 1, 0, noise(size, i))));
    for (const [i, size] of sizes.entries()) {
      expect(noise(size, i).equals(await side.staging.read(i + 1, 0, size))).toBe(true);
    }
    expect(free()).toBeGreaterThanOrEqual(headroomBytes);
    expect(await offer(side, 20, MiB, 200)).toBeGreaterThanOrEqual(headroomBytes);
    expect(side.cache.statistics().bytes).toBeLessThan(7 * MiB);
    for (const i of sizes.keys()) side.staging.remove(i + 1);
    await offer(side, 20, MiB, 300);
    expect(side.cache.statistics().bytes).toBeGreaterThanOrEqual(20 * MiB);
  });

  test('the cache gives the headroom back when others take it', async () => {
    await using side = start();
    await offer(side, 100, MiB);
    const filler = join(mounted, 'filler');
    writeFileSync(filler, Buffer.alloc(free() - 64 * blockBytes));
    // More than the cache had left: what others did a moment ago may not be known otherwise.
    await side.staging.write(1, 0, noise(2 * MiB, 1));
    expect(free()).toBeGreaterThanOrEqual(headroomBytes);
    rmSync(filler);
  });
});

function usedUnder(path: string): number {
  let used = 0;
  for (const each of readdirSync(path, { withFileTypes: true })) {
    const inside = join(path, each.name);
    used += each.isDirectory()
      ? usedUnder(inside)
      : (statSync(inside, { throwIfNoEntry: false })?.blocks ?? 0) * 512;
  }
  return used;
}
