import { closeSync, mkdtempSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterAll, describe, expect, it } from 'vitest';
import { NativeBlockFiles, plainBlockFiles } from '../../src/content/block-files.js';
import { checksOf } from '../../src/content/disk-index.js';
import { limits } from '../../src/model/limits.js';
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
});

describe('native block files', () => {
  it('ask for all pieces at once, and tell their checksums apart', async () => {
    const asked: unknown[] = [];
    const files = new NativeBlockFiles({
      alignedStart: () => 0,
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
      alignedStart: () => 0,
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
    const files = new NativeBlockFiles({ alignedStart: () => 0, writeBlocks: () => Promise.resolve(-28) });
    await expect(files.write(0, pieces)).rejects.toMatchObject({ code: 'ENOSPC' });
  });
});
