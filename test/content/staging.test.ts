import { execFileSync } from 'node:child_process';
import {
  closeSync,
  mkdtempSync,
  openSync,
  readdirSync,
  rmSync,
  statSync,
  truncateSync,
  writeFileSync,
} from 'node:fs';
import { open } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setImmediate as nextTurn } from 'node:timers/promises';
import fc from 'fast-check';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { DiskBudget } from '../../src/content/local/disk-budget.js';
import { StagingFiles } from '../../src/content/local/staging.js';
import { limits } from '../../src/model/limits.js';
import { runs } from '../support/seed.js';

let directory = '';
beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'staging-'));
});
afterEach(() => rmSync(directory, { recursive: true, force: true }));

const unlimited = () => new DiskBudget(Number.MAX_SAFE_INTEGER);
const pattern = (length: number, seed: number) => Buffer.alloc(length, `pattern ${seed} `);

describe('StagingFiles', () => {
  test('a large file that is opened again while its name goes is closed then', async () => {
    using staging = new StagingFiles(directory, unlimited());
    const data = pattern(limits.unlinkSyncBytesMax + 4096, 1);
    await staging.write(1, 0, data);
    // The threads that take names away wait for somebody who writes.
    const pipe = join(directory, 'pipe');
    execFileSync('mkfifo', [pipe]);
    const threads = Number(process.env['UV_THREADPOOL_SIZE'] ?? 4);
    const waiting = Array.from({ length: threads }, () => open(pipe, 'r'));
    staging.remove(1);
    expect(staging.openFiles).toBe(0);
    expect(staging.read(1, 0, 100)).toEqual(data.subarray(0, 100));
    const writer = openSync(pipe, 'r+');
    for (const reader of waiting) await (await reader).close();
    closeSync(writer);
    while ((await staging.files()).length > 0) await nextTurn();
    await nextTurn();
    expect(staging.openFiles).toBe(0);
  });

  test('reads back what was written, for any mix of files, offsets and sizes on both sides of the pool', async () => {
    const writes = fc.array(
      fc.record({
        file: fc.integer({ min: 1, max: 4 }),
        offset: fc.integer({ min: 0, max: 200_000 }),
        length: fc.oneof(fc.integer({ min: 1, max: 5000 }), fc.integer({ min: 65_000, max: 150_000 })),
      }),
      { minLength: 1, maxLength: 12 },
    );
    await fc.assert(
      fc.asyncProperty(writes, async (steps) => {
        const root = mkdtempSync(join(directory, 'run-'));
        using staging = new StagingFiles(root, unlimited(), 2);
        const model = new Map<number, Buffer>();
        for (const [i, { file, offset, length }] of steps.entries()) {
          const data = pattern(length, i);
          await staging.write(file, offset, data);
          const whole = model.get(file) ?? Buffer.alloc(400_000);
          data.copy(whole, offset);
          model.set(file, whole);
        }
        for (const { file, offset, length } of steps) {
          const expected = model.get(file)?.subarray(offset, offset + length);
          expect(expected?.equals(await staging.read(file, offset, length))).toBe(true);
        }
        expect((await staging.files()).sort()).toEqual([...model.keys()].sort());
      }),
      { numRuns: runs(40) },
    );
  });

  test('answers small writes and reads at once', () => {
    using staging = new StagingFiles(directory, unlimited());
    expect(staging.write(1, 0, pattern(4096, 1))).toBeUndefined();
    expect(staging.read(1, 100, 50)).toEqual(pattern(4096, 1).subarray(100, 150));
  });

  test('holds a bounded number of descriptors and works beyond it', async () => {
    using staging = new StagingFiles(directory, unlimited(), 8);
    for (let file = 1; file <= 100; file++) await staging.write(file, 0, pattern(100, file));
    for (let file = 1; file <= 100; file++) {
      expect(await staging.read(file, 0, 100)).toEqual(pattern(100, file));
    }
    expect(staging.openFiles).toBeLessThanOrEqual(8);
  });

  test('counts the bytes really used, across holes, growth, removal and a restart', async () => {
    const used = () =>
      readdirSync(directory).reduce((sum, name) => sum + statSync(join(directory, name)).blocks * 512, 0);
    {
      using staging = new StagingFiles(directory, unlimited(), 2);
      await staging.write(1, 0, pattern(4096, 1));
      await staging.write(1, 100 << 20, pattern(4096, 2));
      await staging.write(2, 0, pattern(1 << 20, 3));
      await staging.write(3, 0, pattern(10_000, 4));
      await staging.sync(2);
      expect(staging.usedBytes()).toBe(used());
      expect(used()).toBeLessThan(4 << 20);
      staging.remove(3);
      expect(staging.usedBytes()).toBe(used());
    }
    using again = new StagingFiles(directory, unlimited());
    expect(again.usedBytes()).toBe(used());
    expect((await again.files()).sort()).toEqual([1, 2]);
  });

  test('sync reaches the file and its directory entry, also for many files at once', async () => {
    using staging = new StagingFiles(directory, unlimited(), 4);
    const files = Array.from({ length: 20 }, (_, i) => i + 1);
    for (const file of files) await staging.write(file, 0, pattern(500, file));
    await Promise.all(files.map((file) => staging.sync(file)));
    await expect(staging.sync(99)).rejects.toMatchObject({
      code: 'NotFound',
      message: expect.stringContaining('/99'),
    });
  });

  test('keeps files private and ignores names that are not its own', async () => {
    writeFileSync(join(directory, 'note.txt'), 'x');
    const own = join(directory, 'staging');
    using staging = new StagingFiles(own, unlimited());
    await staging.write(5, 0, pattern(10, 1));
    expect(statSync(own).mode & 0o777).toBe(0o700);
    expect(statSync(staging.path(5)).mode & 0o777).toBe(0o600);
    using outer = new StagingFiles(directory, unlimited());
    expect(await outer.files()).toEqual([]);
  });

  test('says so when staged bytes were lost, and never answers fewer', async () => {
    using staging = new StagingFiles(directory, unlimited());
    await staging.write(1, 0, pattern(200_000, 1));
    truncateSync(staging.path(1), 100_000);
    expect(() => staging.read(1, 99_990, 20)).toThrow(expect.objectContaining({ code: 'Corrupt' }));
    await expect(staging.read(1, 0, 150_000)).rejects.toMatchObject({ code: 'Corrupt' });
  });

  test('refuses more than the disk budget, with a hint, and goes on after a removal', async () => {
    using staging = new StagingFiles(directory, new DiskBudget(1 << 20));
    await staging.write(1, 0, pattern(900_000, 1));
    expect(() => staging.write(2, 0, pattern(400_000, 2))).toThrow(
      expect.objectContaining({
        code: 'NoSpace',
        details: { hint: expect.stringContaining('disk budget') },
      }),
    );
    staging.remove(1);
    await staging.write(2, 0, pattern(400_000, 2));
  });
});

describe('on a full disk', () => {
  let mounted = '';
  beforeEach(() => {
    mounted = join(directory, 'small');
    execFileSync('mkdir', [mounted]);
    if (process.getuid?.() === 0) {
      execFileSync('mount', ['-t', 'tmpfs', '-o', 'size=1m', 'artifactfs-test', mounted]);
    }
  });
  afterEach(() => {
    if (process.getuid?.() === 0) execFileSync('umount', [mounted]);
  });

  /** As root a real full file system; otherwise the budget, which reaches the caller the same way. */
  const budget = () => (process.getuid?.() === 0 ? unlimited() : new DiskBudget(1 << 20));

  test.each([
    ['small', 4096],
    ['large', 256 << 10],
  ])(
    '%s writes fail with NoSpace, keep what was acknowledged, and work again after a removal',
    async (_, size) => {
      using staging = new StagingFiles(join(mounted, 's'), budget());
      let acknowledged = 0;
      const fill = async () => {
        for (; acknowledged < 1000; acknowledged++) {
          await staging.write(1, acknowledged * size, pattern(size, acknowledged));
        }
      };
      await expect(fill()).rejects.toMatchObject({ code: 'NoSpace' });
      expect(acknowledged).toBeGreaterThan(1);
      for (let i = 0; i < acknowledged; i++) {
        expect(pattern(size, i).equals(await staging.read(1, i * size, size))).toBe(true);
      }
      staging.remove(1);
      await staging.write(2, 0, pattern(size, 7));
      expect(pattern(size, 7).equals(await staging.read(2, 0, size))).toBe(true);
    },
  );

  test('the cache gives way before a write fails', async () => {
    const shared = budget();
    const filler = join(mounted, 'cached');
    writeFileSync(filler, Buffer.alloc(700 << 10));
    shared.attachCache(
      () => {},
      () => {
        rmSync(filler);
        shared.addCached(-(700 << 10));
      },
    );
    shared.addCached(700 << 10);
    using staging = new StagingFiles(join(mounted, 's'), shared);
    await staging.write(1, 0, pattern(500 << 10, 1));
    expect(pattern(500 << 10, 1).equals(await staging.read(1, 0, 500 << 10))).toBe(true);
  });
});
