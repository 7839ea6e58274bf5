import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { NativeBlockFiles, plainBlockFiles } from '../../src/content/local/block-files.js';
import { checksOf } from '../../src/content/local/disk-index.js';
import { limits } from '../../src/model/limits.js';
import type { BlockWriter } from '../../src/util/block-writer.js';
import { noise } from './support.js';

const directory = mkdtempSync(join(tmpdir(), 'block-files-'));
afterAll(() => rmSync(directory, { recursive: true }));

const { checkBytes } = limits;

/** Two pieces that do not end where checksums do, the second before the first. */
const pieces = [
  { offset: 500_000, bytes: noise(checkBytes * 2 + 100, 1) },
  { offset: 5000, bytes: noise(checkBytes + 7, 2) },
];

describe('plain block files', () => {
  it('write pieces where they belong and answer the checksums of each', async () => {
    const path = join(directory, 'plain');
    const file = openSync(path, 'w+');
    const checks = await plainBlockFiles.write(file, pieces);
    expect(checks.map((each) => [...each])).toEqual(pieces.map(({ bytes }) => checksOf(bytes)));
    const found = readFileSync(path);
    for (const { offset, bytes } of pieces)
      expect(found.subarray(offset, offset + bytes.length).equals(bytes)).toBe(true);
    closeSync(file);
    const readable = openSync(path, 'r');
    await expect(plainBlockFiles.write(readable, pieces)).rejects.toMatchObject({ code: 'EBADF' });
    closeSync(readable);
  });

  it('write what follows each other', async () => {
    const path = join(directory, 'following');
    const file = openSync(path, 'w');
    const bytes = pieces.map((piece) => piece.bytes);
    expect(await plainBlockFiles.writeFollowing(file, 4096, bytes)).toBeGreaterThanOrEqual(0);
    closeSync(file);
    expect(readFileSync(path).subarray(4096).equals(Buffer.concat(bytes))).toBe(true);
  });
});

/** Of an addon that does nothing else. */
const idle: BlockWriter = {
  alignedStart: () => 0,
  writeBlocks: () => Promise.resolve(0),
  writeFollowing: () => Promise.resolve(0),
};

describe('native block files', () => {
  it('ask for all pieces at once, and tell their checksums apart', async () => {
    const asked: unknown[] = [];
    const files = new NativeBlockFiles({
      ...idle,
      writeBlocks: (file, offsets, bytes, size, checks, direct) => {
        asked.push([file, offsets, bytes.map(({ length }) => length), size, direct]);
        for (let i = 0; i < checks.length; i++) checks[i] = i;
        return Promise.resolve(1);
      },
    });
    const checks = await files.write(7, pieces);
    expect(asked).toEqual([[7, [500_000, 5000], [2 * checkBytes + 100, checkBytes + 7], checkBytes, true]]);
    expect(checks.map((each) => [...each])).toEqual([
      [0, 1, 2],
      [3, 4],
    ]);
  });

  it('leave a disk that is slow to the page cache', async () => {
    const found: boolean[] = [];
    const mebi = 1 << 20;
    const files = new NativeBlockFiles({
      ...idle,
      writeBlocks: (_file, _offsets, _bytes, _size, _checks, direct) => {
        found.push(direct);
        return Promise.resolve((2000 * mebi) / limits.cacheDirectBytesPerMsMin);
      },
    });
    const count = limits.directSampleBytes / mebi;
    for (let n = 0; n <= count; n++) await files.write(0, [{ offset: 0, bytes: Buffer.alloc(mebi) }]);
    expect(found).toEqual([...new Array(count).fill(true), false]);
  });

  it('say which error the system gave', async () => {
    const files = new NativeBlockFiles({
      ...idle,
      writeBlocks: () => Promise.resolve(-28),
      writeFollowing: () => Promise.resolve(-5),
    });
    await expect(files.write(0, pieces)).rejects.toMatchObject({ code: 'ENOSPC' });
    await expect(files.writeFollowing(0, 0, [Buffer.alloc(1)])).rejects.toMatchObject({ code: 'EIO' });
  });

  it('tell how long a write took its thread, in ms', async () => {
    const files = new NativeBlockFiles({ ...idle, writeFollowing: () => Promise.resolve(2500) });
    expect(await files.writeFollowing(0, 0, [Buffer.alloc(1)])).toBe(2.5);
  });
});
