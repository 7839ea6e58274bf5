import { randomBytes } from 'node:crypto';
import { describe, expect, test } from 'vitest';
import { type Borrower, LentMemory, LentMemoryPool } from '../../src/content/lent-memory.js';
import { limits } from '../../src/model/limits.js';
import { artifactId, readingSide, useDirectory, WatchedStore } from './support.js';

const { blockBytes } = limits;
const directory = useDirectory();

/** One read whose asker says when he is done. */
class Asked implements Borrower {
  done: () => void = () => {};

  onAnswered(done: () => void): void {
    this.done = done;
  }
}

describe('lent memory', () => {
  test('is free when the last who held it has released it, and throws when it is used after that', () => {
    let freed = 0;
    const memory = new LentMemory(Buffer.alloc(1), () => freed++);
    memory.hold();
    memory.release();
    expect(freed).toBe(0);
    memory.release();
    expect(freed).toBe(1);
    expect(() => memory.hold()).toThrow(expect.objectContaining({ code: 'Internal' }));
    expect(() => memory.release()).toThrow(expect.objectContaining({ code: 'Internal' }));
    expect(freed).toBe(1);
  });

  test('is given away to who does not say when he is done', () => {
    let freed = 0;
    const memory = new LentMemory(Buffer.alloc(1), () => freed++);
    memory.lend(undefined);
    memory.release();
    expect(freed).toBe(0);
    const asked = new Asked();
    const other = new LentMemory(Buffer.alloc(1), () => freed++);
    other.lend(asked);
    other.release();
    expect(freed).toBe(0);
    asked.done();
    expect(freed).toBe(1);
  });

  test('is used again for the same number of blocks, and not kept beyond the limit', () => {
    const pool = new LentMemoryPool(3 * blockBytes);
    const [first, second, third] = [pool.take(blockBytes + 1), pool.take(2 * blockBytes), pool.take(10)];
    expect([first?.bytes.length, third?.bytes.length]).toEqual([blockBytes + 1, 10]);
    first?.release();
    expect(pool.freeBytes).toBe(2 * blockBytes);
    const again = pool.take(2 * blockBytes - 1);
    expect(again.bytes.buffer).toBe(first?.bytes.buffer);
    expect(pool.freeBytes).toBe(0);
    for (const memory of [again, second, third]) memory?.release();
    expect(pool.freeBytes).toBe(3 * blockBytes);
    expect(pool.take(10).bytes.buffer).toBe(third?.bytes.buffer);
  });
});

describe('reading into lent memory', () => {
  test('bytes stay as they are until their borrower is done, or for ever without one, however much is read besides', async () => {
    const bytes = randomBytes(24 << 20);
    const store = new WatchedStore();
    await store.putObject('d/x/1-big', bytes);
    await using side = readingSide(directory(), store, { memoryBytes: 2 << 20, diskBytes: 0 });
    const open = () =>
      side.reader.open(artifactId, {
        size: () => bytes.length,
        pieces: (start, length) => [
          { start, length, source: { type: 'object', object: 'd/x/1-big', offset: start } },
        ],
      });
    const file = open();
    const step = 300_000;
    const kept: { at: number; found: Buffer; asked: Asked }[] = [];
    for (let at = 0; at + step <= bytes.length; at += step) {
      const asked = new Asked();
      const found = await file.read(at, step, undefined, at % (2 * step) === 0 ? asked : undefined);
      kept.push({ at, found, asked });
    }
    for (const { at, found } of kept) expect(found.equals(bytes.subarray(at, at + step))).toBe(true);
    for (const { asked } of kept) asked.done();
    // The memory of those that are done is used for others, and only theirs.
    const second = open();
    for (let at = 0; at + step <= bytes.length; at += step) {
      const asked = new Asked();
      const found = await second.read(at, step, undefined, asked);
      expect(found.equals(bytes.subarray(at, at + step))).toBe(true);
      asked.done();
    }
    for (const [i, { at, found }] of kept.entries()) {
      if (i % 2 === 1) expect(found.equals(bytes.subarray(at, at + step))).toBe(true);
    }
    file.close();
    second.close();
  });
});
