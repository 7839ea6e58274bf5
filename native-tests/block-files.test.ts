import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { checksOf } from '../src/content/local/disk-index.js';
import { loadNative } from '../src/fuse/native.js';
import { limits } from '../src/model/limits.js';

/** Blocks on their way into the disk cache, by the addon: native/block-write.h. */

const native = loadNative();
const directory = mkdtempSync(join(tmpdir(), 'block-files-'));
afterAll(() => rmSync(directory, { recursive: true }));

const { checkBytes } = limits;

function alignedBytes(length: number, shift = 0): Buffer {
  const whole = Buffer.alloc(length + 2 * 4096);
  const start = native.alignedStart(whole) + shift;
  for (let at = 0; at < length; at++) whole[start + at] = (at * 31 + (at >> 9)) & 0xff;
  return whole.subarray(start, start + length);
}

async function write(bytes: Buffer, offset: number, direct: boolean) {
  const path = join(directory, 'file');
  const file = openSync(path, 'w+');
  const checks = new Uint32Array(Math.ceil(bytes.length / checkBytes));
  const took = await native.writeBlocks(file, [offset], [bytes], checkBytes, checks, direct);
  closeSync(file);
  return { took, checks: [...checks], found: readFileSync(path) };
}

describe('blocks written by the addon', () => {
  it.each([
    ['by way of the page cache', 3 * checkBytes, 0, 0, false],
    ['past it', 24 * checkBytes, 8 * checkBytes, 0, true],
    ['past it, with an end that no disk takes', 9 * checkBytes + 4096 + 777, 8 * checkBytes, 0, true],
    ['less than any disk takes', 100, 8 * checkBytes, 0, true],
    ['from memory that no disk takes', 2 * checkBytes, 0, 24, true],
    ['at an offset that no disk takes', 2 * checkBytes, 512, 0, true],
  ])('are there, with their checksums: %s', async (_how, length, offset, shift, direct) => {
    const bytes = alignedBytes(length, shift);
    const { took, checks, found } = await write(bytes, offset, direct);
    expect(took).toBeGreaterThanOrEqual(0);
    expect(checks).toEqual(checksOf(bytes));
    expect(found.length).toBe(offset + length);
    expect(found.subarray(offset).equals(bytes)).toBe(true);
  });

  it.each([true, false])('are there when there are several at once (direct: %s)', async (direct) => {
    const path = join(directory, 'several');
    const file = openSync(path, 'w+');
    const pieces = [3 * checkBytes, checkBytes + 100, 2 * checkBytes].map((length) => alignedBytes(length));
    const offsets = [16 * checkBytes, 8 * checkBytes, 0];
    const checks = new Uint32Array(3 + 2 + 2);
    expect(
      await native.writeBlocks(file, offsets, pieces, checkBytes, checks, direct),
    ).toBeGreaterThanOrEqual(0);
    closeSync(file);
    expect([...checks]).toEqual(pieces.flatMap((bytes) => checksOf(bytes)));
    const found = readFileSync(path);
    expect(found.length).toBe(19 * checkBytes);
    for (const [i, bytes] of pieces.entries()) {
      const at = offsets[i] ?? 0;
      expect(found.subarray(at, at + bytes.length).equals(bytes)).toBe(true);
    }
  });

  it('are there when they follow each other, and more than the kernel takes at once', async () => {
    const path = join(directory, 'following');
    const file = openSync(path, 'w+');
    const pieces = Array.from({ length: 1500 }, (_, i) => Buffer.alloc(1 + (i % 7), i & 0xff));
    const all = [...pieces, Buffer.alloc(0), alignedBytes(3 * checkBytes)];
    expect(await native.writeFollowing(file, 700, all)).toBeGreaterThanOrEqual(0);
    closeSync(file);
    const found = readFileSync(path);
    expect(found.subarray(700).equals(Buffer.concat(all))).toBe(true);
    const readable = openSync(path, 'r');
    expect(await native.writeFollowing(readable, 0, pieces)).toBe(-9);
    closeSync(readable);
  });

  it('start where memory is aligned, which is close', () => {
    for (let i = 0; i < 20; i++) {
      const memory = Buffer.allocUnsafeSlow(5000 + i * 100);
      const start = native.alignedStart(memory);
      expect(start).toBeLessThan(4096);
      expect(native.alignedStart(memory.subarray(start))).toBe(0);
    }
  });

  it.each([true, false])('fail with the reason of the system (direct: %s)', async (direct) => {
    const file = openSync('/dev/full', 'w');
    const bytes = alignedBytes(checkBytes);
    expect(await native.writeBlocks(file, [0], [bytes], checkBytes, new Uint32Array(1), direct)).toBe(-28);
    closeSync(file);
  });
});
