import { createHash } from 'node:crypto';
import { writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { WriteBehind } from '../../src/content/cache/write-behind.js';
import { DiskBudget } from '../../src/content/local/disk-budget.js';
import { ReadAheadBudget, Stream } from '../../src/content/read/read-ahead.js';
import { TransferQueue } from '../../src/content/transfer-queue.js';
import { Frontier } from '../../src/content/upload/frontier.js';
import { HashPool } from '../../src/content/upload/hash-pool.js';
import { partAt, partBase, partLength, partStart } from '../../src/content/upload/part-plan.js';
import { limits } from '../../src/model/limits.js';
import { type Deferred, deferred } from '../../src/util/deferred.js';
import { noise, useDirectory } from './support.js';

const directory = useDirectory();
const MiB = 1 << 20;

describe('the plan of parts', () => {
  test('10,000 parts reach 5 TiB, none above 5 GiB, the first half all of one size', () => {
    const base = limits.partBytesMin;
    const end = partStart(limits.partsMax, base) + partLength(limits.partsMax, base);
    expect(end).toBeGreaterThanOrEqual(limits.objectBytesMax);
    for (let part = 1; part <= limits.partsMax; part++) {
      expect(partLength(part, base)).toBeLessThanOrEqual(5 * 2 ** 30);
      if (part <= 5000) expect(partLength(part, base)).toBe(base);
    }
  });

  test('parts follow each other without a gap, and partAt finds the part of any byte', () => {
    const base = limits.partBytesMin;
    for (let part = 1; part < limits.partsMax; part++) {
      expect(partStart(part, base) + partLength(part, base)).toBe(partStart(part + 1, base));
    }
    const place = fc.record({
      part: fc.integer({ min: 1, max: limits.partsMax }),
      within: fc.double({ min: 0, max: 0.999, noNaN: true }),
    });
    fc.assert(
      fc.property(place, ({ part, within }) => {
        const offset = partStart(part, base) + Math.floor(within * partLength(part, base));
        expect(partAt(offset, base)).toBe(part);
      }),
    );
  });

  test('a known size gets equal parts', () => {
    for (const size of [1, 100 * MiB, 2 ** 40, limits.objectBytesMax]) {
      expect(partAt(size - 1, partBase(size))).toBeLessThanOrEqual(5000);
    }
  });
});

describe('Frontier', () => {
  test('is the end of the gapless beginning, in whatever order few ranges come', () => {
    const range = fc.record({ offset: fc.nat(60), length: fc.integer({ min: 1, max: 20 }) });
    fc.assert(
      fc.property(fc.array(range, { maxLength: 30 }), (ranges) => {
        const frontier = new Frontier();
        const written = Array.from({ length: 100 }, () => false);
        for (const { offset, length } of ranges) {
          frontier.add(offset, length);
          written.fill(true, offset, offset + length);
          expect(frontier.end).toBe(written.indexOf(false));
        }
      }),
    );
  });
});

describe('TransferQueue', () => {
  function started() {
    const order: string[] = [];
    const gates = new Map<string, Deferred<void>>();
    const body = (name: string) => () => {
      order.push(name);
      const gate = deferred();
      gates.set(name, gate);
      return gate.promise;
    };
    const finish = async (name: string) => {
      gates.get(name)?.resolve();
      await new Promise((resolve) => setImmediate(resolve));
    };
    return { order, body, finish };
  }

  test('bounds count and bytes, takes the urgent first, and lets one too large run alone', async () => {
    const queue = new TransferQueue(2, 100);
    const { order, body, finish } = started();
    queue.run(60, false, body('a'));
    queue.run(60, false, body('b'));
    const late = queue.run(10, false, body('c'));
    queue.run(10, true, body('d'));
    late.hurry();
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual(['a', 'd']);
    queue.run(500, false, body('large'));
    await finish('a');
    expect(order).toEqual(['a', 'd', 'c']);
    await finish('c');
    await finish('d');
    expect(order).toEqual(['a', 'd', 'c', 'b']);
    await finish('b');
    expect(order.at(-1)).toBe('large');
    expect(queue.active).toBe(1);
    await finish('large');
    expect(queue.active).toBe(0);
  });

  test('what comes after a transfer holds its place and not its result', async () => {
    const queue = new TransferQueue(1, 100);
    const slow = deferred();
    const first = queue.run(
      1,
      true,
      async () => 'bytes',
      () => slow.promise,
    );
    expect(await first.promise).toBe('bytes');
    expect(queue.active).toBe(1);
    slow.resolve();
    await new Promise((resolve) => setImmediate(resolve));
    expect(queue.active).toBe(0);
  });

  test('a failure frees its place', async () => {
    const queue = new TransferQueue(1, 100);
    const broken = queue.run(1, true, () => Promise.reject(new Error('no')));
    await expect(broken.promise).rejects.toThrow('no');
    expect(await queue.run(1, true, async () => 'next').promise).toBe('next');
  });

  test('one owner whose transfers do not come leaves room for the others', async () => {
    const queue = new TransferQueue(4, 1000, 3 / 4);
    const { order, body, finish } = started();
    const add = (name: string, urgent: boolean) =>
      void queue.run(1, urgent, body(name), () => {}, name.slice(0, 1));
    for (const name of ['a1', 'a2', 'a3', 'a4', 'a5']) add(name, true);
    add('b1', false);
    add('b2', false);
    await new Promise((resolve) => setImmediate(resolve));
    expect(order).toEqual(['a1', 'a2', 'a3', 'b1']);
    await finish('b1');
    expect(order.at(-1)).toBe('b2');
    await finish('a1');
    expect(order.at(-1)).toBe('a4');
  });
});

describe('WriteBehind', () => {
  test('has room for its bytes, and lets in one patient caller for each write that is done', async () => {
    const gates = [deferred(), deferred(), deferred()];
    let running = 0;
    const writes = new WriteBehind(100, async (_place: string, items: readonly Deferred<void>[]) => {
      running++;
      await Promise.all(items.map(({ promise }) => promise));
      running--;
    });
    expect(writes.reserve(80)).toBe(true);
    const first = writes.run('file', gates[0] ?? deferred(), 80);
    expect(writes.reserve(30)).toBe(false);
    const patient = gates.slice(1).map(async (gate) => {
      expect(await writes.reserveLater(80)).toBe(true);
      await writes.run('file', gate, 80);
    });
    for (const gate of gates) {
      await new Promise((resolve) => setImmediate(resolve));
      expect(running).toBe(1);
      gate.resolve();
    }
    await Promise.all([first, ...patient]);
    writes.close();
    expect(writes.reserve(1)).toBe(false);
    expect(await writes.reserveLater(1)).toBe(false);
  });
});

describe('read-ahead', () => {
  test('all streams together stay within the budget, and an idle one gives its share back', () => {
    const budget = new ReadAheadBudget(8 * MiB);
    const idle = new Stream(MiB);
    idle.advance(MiB, 2 * MiB, 1000 * MiB, budget);
    idle.advance(2 * MiB, 3 * MiB, 1000 * MiB, budget);
    const held = budget.bytes;
    expect(held).toBeGreaterThan(0);
    const busy = new Stream(MiB);
    for (let i = 1; i < 400; i++) {
      busy.advance(i * MiB, (i + 1) * MiB, 1000 * MiB, budget);
      expect(budget.bytes).toBeLessThanOrEqual(8 * MiB);
    }
    budget.forget(busy);
    expect(budget.bytes).toBe(0);
  });
});

describe('HashPool', () => {
  test('hashes pieces of files as one content, whole or as they come', async () => {
    await using pool = new HashPool();
    const bytes = noise(5 * MiB + 77, 1);
    const path = join(directory(), 'f');
    writeFileSync(path, bytes);
    const expected = createHash('sha256').update(bytes).digest('hex');
    const half = { path, offset: 0, length: 3 * MiB };
    const rest = { path, offset: 3 * MiB, length: bytes.length - 3 * MiB };
    expect(await pool.hash([half, rest])).toBe(expected);
    const session = pool.session();
    await session.update([half]);
    expect(await session.finish([rest])).toBe(expected);
    await expect(pool.hash([{ path, offset: 0, length: 100 * MiB }])).rejects.toMatchObject({
      code: 'Corrupt',
    });
  });
});

describe('DiskBudget', () => {
  test('staged bytes push cached ones out and are refused only when they alone are too many', () => {
    const budget = new DiskBudget(100);
    let pressure = 0;
    budget.attachCache(
      () => {
        pressure++;
      },
      () => {},
    );
    budget.addCached(60);
    budget.admit(90);
    budget.addStaged(90);
    expect(pressure).toBe(1);
    expect(budget.cacheBytesMax).toBe(10);
    expect(() => budget.admit(11)).toThrow(expect.objectContaining({ code: 'NoSpace' }));
  });

  test('cached bytes may have a limit of their own, which staged ones do not count into', () => {
    const budget = new DiskBudget(1000, null, 50);
    budget.addStaged(900);
    expect(budget.cacheBytesMax).toBe(50);
    budget.addStaged(80);
    expect(budget.cacheBytesMax).toBe(20);
  });
});
