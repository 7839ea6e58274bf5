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

describe('plain block files', () => {
  it('write bytes where they belong and answer the checksum of each piece', async () => {
    const path = join(directory, 'plain');
    const file = openSync(path, 'w+');
    const bytes = noise(limits.checkBytes * 2 + 100, 1);
    expect([...(await plainBlockFiles.write(file, 5000, bytes))]).toEqual(checksOf(bytes));
    expect(readFileSync(path).subarray(5000)).toEqual(bytes);
    closeSync(file);
    await expect(plainBlockFiles.write(openSync(path, 'r'), 0, bytes)).rejects.toMatchObject({
      code: 'EBADF',
    });
  });
});

describe('native block files', () => {
  /** Answers how each of `count` writes of a MiB went when they take so long. */
  async function directly(count: number, milliseconds: (n: number) => number): Promise<boolean[]> {
    const found: boolean[] = [];
    const files = new NativeBlockFiles({
      alignedStart: () => 0,
      writeBlocks: (_file, _offset, _bytes, _checkBytes, _checks, direct) =>
        Promise.resolve(milliseconds(found.push(direct)) * 1000),
    });
    const bytes = Buffer.alloc(1 << 20);
    for (let n = 0; n < count; n++) await files.write(0, 0, bytes);
    return found;
  }

  it('write past the page cache as long as the disk is fast, also when it is slow now and then', async () => {
    const slow = limits.cacheDirectMsMax + 1;
    expect(await directly(500, (n) => (n % limits.cacheDirectSlowMax === 0 ? 1 : slow))).not.toContain(false);
  });

  it('spare a slow disk for a while, then try it again', async () => {
    const found = await directly(400, () => limits.cacheDirectMsMax + 1);
    const spared = limits.cacheBufferedBytes >> 20;
    const round = [
      ...new Array(limits.cacheDirectSlowMax).fill(true),
      ...new Array<boolean>(spared).fill(false),
    ];
    expect(found.slice(0, round.length * 2)).toEqual([...round, ...round]);
  });

  it('say which error the system gave', async () => {
    const files = new NativeBlockFiles({ alignedStart: () => 0, writeBlocks: () => Promise.resolve(-28) });
    await expect(files.write(0, 0, Buffer.alloc(1))).rejects.toMatchObject({ code: 'ENOSPC' });
  });
});
