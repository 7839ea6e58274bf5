import { getEventListeners } from 'node:events';
import { readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { ExtentMap } from '../../src/content/extent-map.js';
import { checksOf } from '../../src/content/local/disk-index.js';
import { ArtifactError } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import { memoryShares } from '../../src/model/memory-shares.js';
import { deferred } from '../../src/util/deferred.js';
import { runs } from '../support/seed.js';
import {
  artifactId,
  contentOf,
  noise,
  objectKey,
  readingSide,
  useDirectory,
  WatchedStore,
  warningsDuring,
} from './support.js';

const directory = useDirectory();
const MiB = 1 << 20;

/** A store with one object, and a map of a file that is exactly that object. */
async function oneObject(length: number, object = 'd/s/1-file') {
  const store = new WatchedStore();
  const bytes = noise(length, 1);
  await store.putObject(object, bytes);
  const map = new ExtentMap();
  map.set(0, length, { type: 'object', object, offset: 0 });
  return { store, bytes, map, content: contentOf(map, length) };
}

describe('reading', () => {
  test('of many pieces at a time is no leak of listeners, and leaves none', async () => {
    const store = new WatchedStore();
    const map = new ExtentMap();
    const pieces = Array.from({ length: 30 }, (_, i) => noise(1000, i));
    for (const [i, bytes] of pieces.entries()) {
      const object = `d/s/${i}-f`;
      await store.putObject(object, bytes);
      map.set(i * 1000, 1000, { type: 'object', object, offset: 0 });
    }
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, contentOf(map, 30_000));
    const { signal } = new AbortController();
    const warnings = await warningsDuring(async () => {
      const gate = deferred();
      store.gate = gate.promise;
      const read = reader.read(0, 30_000, signal);
      while (store.gets.length < 20) await new Promise((resolve) => setImmediate(resolve));
      gate.resolve();
      expect((await read).equals(Buffer.concat(pieces))).toBe(true);
    });
    expect(warnings).toEqual([]);
    expect(getEventListeners(signal, 'abort')).toEqual([]);
    reader.close();
  });

  test('gives the bytes of any mix of objects, staged pieces and holes, as a byte array would', async () => {
    const size = 3 * MiB;
    const piece = fc.record({
      kind: fc.constantFrom('object-1', 'object-2', 'pack', 'local', 'hole'),
      start: fc.nat(size - 1),
      length: fc.oneof(fc.integer({ min: 1, max: 2000 }), fc.integer({ min: 1, max: MiB })),
      offset: fc.nat(MiB),
    });
    const reads = fc.array(fc.record({ offset: fc.nat(size + 10), length: fc.nat(MiB) }), { maxLength: 6 });
    const objects = new Map([
      ['object-1', noise(2 * MiB, 1)],
      ['object-2', noise(2 * MiB + 777, 2)],
      ['pack', noise(2 * MiB + 5, 3)],
    ]);
    const names = new Map([
      ['object-1', 'd/s/1-a'],
      ['object-2', 'd/s/2-b'],
      ['pack', 'd/s/3.pack'],
    ]);
    let run = 0;
    const property = fc.asyncProperty(fc.array(piece, { maxLength: 8 }), reads, async (pieces, wanted) => {
      const store = new WatchedStore();
      for (const [name, bytes] of objects) await store.putObject(names.get(name) ?? '', bytes);
      await using side = readingSide(join(directory(), `run-${run++}`), store);
      const map = new ExtentMap();
      const model = Buffer.alloc(size);
      const local = noise(size, 9);
      await side.staging.write(1, 0, local);
      for (const { kind, start, length: any, offset } of pieces) {
        const length = Math.min(any, size - start);
        const bytes = objects.get(kind);
        if (kind === 'hole') {
          map.punch(start, length);
          model.fill(0, start, start + length);
        } else if (bytes === undefined) {
          map.set(start, length, { type: 'local', file: 1, offset: start });
          local.copy(model, start, start, start + length);
        } else {
          map.set(start, length, { type: 'object', object: names.get(kind) ?? '', offset });
          bytes.copy(model, start, offset, offset + length);
        }
      }
      const reader = side.reader.open(artifactId, contentOf(map, size));
      for (const { offset, length } of [...wanted, ...wanted]) {
        const bytes = await reader.read(offset, length);
        expect(model.subarray(offset, offset + length).equals(bytes)).toBe(true);
      }
      reader.close();
      await side.disk.settled();
    });
    await fc.assert(property, { numRuns: runs(40) });
  });

  test('answers what is in memory at once, and one piece without a copy', async () => {
    const { store, bytes, content } = await oneObject(4 * MiB);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    expect(reader.read(0, MiB)).toBeInstanceOf(Promise);
    const first = await reader.read(0, MiB);
    const again = reader.read(1000, 5000);
    expect(Buffer.isBuffer(again)).toBe(true);
    expect(Buffer.isBuffer(again) && again.buffer).toBe(first.buffer);
    expect(Buffer.isBuffer(again) && again.equals(bytes.subarray(1000, 6000))).toBe(true);
    expect(reader.read(4 * MiB, 10)).toEqual(Buffer.alloc(0));
    reader.close();
    expect(() => reader.read(0, 1)).toThrow(expect.objectContaining({ code: 'BadHandle' }));
  });

  test('asks the borrower for his signal only when there is something to wait for, and then gives up by it', async () => {
    const { store, bytes, content } = await oneObject(100);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    const controller = new AbortController();
    let asked = 0;
    const borrower = {
      get signal() {
        asked++;
        return controller.signal;
      },
    };
    const gate = deferred();
    store.gate = gate.promise;
    const waiting = reader.read(0, 100, undefined, borrower);
    expect(asked).toBeGreaterThan(0);
    controller.abort(new ArtifactError('Interrupted', 'no more'));
    await expect(waiting).rejects.toMatchObject({ code: 'Interrupted' });
    gate.resolve();
    expect(await reader.read(0, 100)).toEqual(bytes);
    asked = 0;
    expect(reader.read(0, 100, undefined, borrower)).toEqual(bytes);
    expect(asked).toBe(0);
    reader.close();
  });

  test('a random read fetches the block it touches and nothing else, by one GET', async () => {
    const { store, bytes, content } = await oneObject(64 * MiB);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    for (const block of [200, 3, 90, 250, 41]) {
      store.gets = [];
      const offset = block * limits.blockBytes;
      const got = await reader.read(offset + 100, 4096);
      expect(got.equals(bytes.subarray(offset + 100, offset + 4196))).toBe(true);
      expect(store.gets).toEqual([expect.objectContaining({ offset, length: limits.blockBytes })]);
    }
  });

  test('a sequential read fetches every byte once, in GETs that grow, ahead of the reader', async () => {
    const length = 100 * MiB + 12_345;
    const { store, bytes, content } = await oneObject(length);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    let ready = 0;
    for (let offset = 0; offset < length; offset += 128 << 10) {
      const answer = reader.read(offset, 128 << 10);
      if (Buffer.isBuffer(answer)) ready++;
      const got = await answer;
      expect(got.equals(bytes.subarray(offset, offset + (128 << 10)))).toBe(true);
    }
    expect(store.gotBytes).toBe(length);
    expect(store.gets[0]?.length).toBe(limits.blockBytes);
    expect(Math.max(...store.gets.map((get) => get.length))).toBe(limits.getBytesMin);
    expect(ready).toBeGreaterThan(0.9 * (length / (128 << 10)));
    expect(side.readAhead.bytes).toBe(0);
    reader.close();
  });

  test('has sixteen GETs under way after six reads of a far file in a row, with the default memory', async () => {
    const { store, bytes, content } = await oneObject(40 * MiB);
    const shares = memoryShares(192 * MiB);
    const memory = { memoryBytes: shares.blocks, fetchBytes: shares.fetches };
    await using side = readingSide(directory(), store, memory);
    const reader = side.reader.open(artifactId, content);
    for (const at of [0, 1]) await reader.read(at * MiB, MiB);
    const gate = deferred();
    store.gate = gate.promise;
    store.gets = [];
    // As the kernel asks: several before the first is answered. Nothing more is asked for while none is.
    const answers = [2, 3, 4, 5].map((at) => reader.read(at * MiB, MiB));
    while (store.gets.length < 16) await new Promise((resolve) => setImmediate(resolve));
    expect(side.fetcher.activeBytes).toBeLessThanOrEqual(shares.fetches);
    gate.resolve();
    expect(Buffer.concat(await Promise.all(answers)).equals(bytes.subarray(2 * MiB, 6 * MiB))).toBe(true);
    reader.close();
  });

  test('two interleaved sequential readers of one file are both followed', async () => {
    const { store, bytes, content } = await oneObject(64 * MiB);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    for (let step = 0; step < 20; step++) {
      for (const base of [0, 32 * MiB]) {
        const offset = base + step * MiB;
        const got = await reader.read(offset, MiB);
        expect(got.equals(bytes.subarray(offset, offset + MiB))).toBe(true);
      }
    }
    expect(store.gets.length).toBeLessThan(100);
    expect(store.gets.length).toBe(new Set(store.gets.map((get) => get.offset)).size);
    reader.close();
    expect(side.readAhead.bytes).toBe(0);
  });

  test('reads of the same block at the same time share one GET, and an interrupt stops only the waiting', async () => {
    const { store, bytes, content } = await oneObject(MiB);
    await using side = readingSide(directory(), store);
    const gate = deferred();
    store.gate = gate.promise;
    const one = side.reader.open(artifactId, content);
    const two = side.reader.open(artifactId, content);
    const abort = new AbortController();
    const interrupted = Promise.resolve(one.read(0, 1000, abort.signal));
    const other = Promise.resolve(two.read(500, 1000));
    abort.abort();
    await expect(interrupted).rejects.toMatchObject({ code: 'Interrupted' });
    gate.resolve();
    expect((await other).equals(bytes.subarray(500, 1500))).toBe(true);
    expect(store.gets).toHaveLength(1);
  });

  test('a failed GET reaches the reader as it is, and the next read tries again', async () => {
    const { store, bytes, content } = await oneObject(MiB);
    await using side = readingSide(directory(), store);
    const reader = side.reader.open(artifactId, content);
    store.failure = new Error('out of order');
    await expect(reader.read(0, 100)).rejects.toBe(store.failure);
    store.failure = null;
    expect((await reader.read(0, 100)).equals(bytes.subarray(0, 100))).toBe(true);
  });

  test('a read that joins a GET begun before it, which then fails, asks the store itself', async () => {
    const { store, bytes, content } = await oneObject(MiB);
    await using side = readingSide(directory(), store);
    const gate = deferred();
    store.gate = gate.promise;
    store.failure = new Error('out of order');
    store.failing = 1;
    const one = Promise.resolve(side.reader.open(artifactId, content).read(0, 1000));
    await expect.poll(() => store.gets.length).toBe(1);
    const joining = Array.from({ length: 20 }, (_, i) =>
      Promise.resolve(side.reader.open(artifactId, content).read(500 + i, 1000)),
    );
    gate.resolve();
    await expect(one).rejects.toBe(store.failure);
    for (const [i, read] of joining.entries()) {
      expect((await read).equals(bytes.subarray(500 + i, 1500 + i))).toBe(true);
    }
    expect(store.gets).toHaveLength(2);
  });

  test('a read ends with the failure of a GET that began during it, whoever began that', async () => {
    const { store, content } = await oneObject(MiB);
    await using side = readingSide(directory(), store);
    const gate = deferred();
    store.gate = gate.promise;
    store.failure = new Error('out of order');
    const one = Promise.resolve(side.reader.open(artifactId, content).read(0, 1000));
    await expect.poll(() => store.gets.length).toBe(1);
    const others = Array.from({ length: 20 }, () =>
      Promise.resolve(side.reader.open(artifactId, content).read(0, 1000)),
    );
    gate.resolve();
    const ends = await Promise.allSettled([one, ...others]);
    expect(ends.every(({ status }) => status === 'rejected')).toBe(true);
    expect(store.gets).toHaveLength(2);
  });

  test('what was read ahead while the store was away fails no read', async () => {
    const { store, bytes, content } = await oneObject(MiB);
    await using side = readingSide(directory(), store);
    const gate = deferred();
    store.gate = gate.promise;
    store.failure = new Error('out of order');
    store.failing = 1;
    const blocks = side.memory.acquire(objectKey(artifactId, 'd/s/1-file'));
    blocks.noteEnd(MiB);
    await side.fetcher.ahead(blocks, 0, MiB, MiB);
    await expect.poll(() => store.gets.length).toBe(1);
    const read = Promise.resolve(side.reader.open(artifactId, content).read(0, 1000));
    gate.resolve();
    expect((await read).equals(bytes.subarray(0, 1000))).toBe(true);
    side.memory.release(blocks);
  });

  test('memory stays within its limit', async () => {
    const { store, content } = await oneObject(64 * MiB);
    await using side = readingSide(directory(), store, { memoryBytes: 8 * MiB });
    const reader = side.reader.open(artifactId, content);
    for (let offset = 0; offset < 64 * MiB; offset += MiB) {
      await reader.read(offset, MiB);
      expect(side.memory.bytes).toBeLessThanOrEqual(8 * MiB);
    }
    expect(store.gotBytes).toBe(64 * MiB);
  });
});

describe('packs', () => {
  test('thousands of small files are a few large GETs', async () => {
    const store = new WatchedStore();
    const count = 3000;
    const pack = noise(count * 4096, 5);
    await store.putObject('d/s/1.pack', pack);
    await using side = readingSide(directory(), store);
    for (let i = 0; i < count; i++) {
      const map = new ExtentMap();
      map.set(0, 4096, { type: 'object', object: 'd/s/1.pack', offset: i * 4096 });
      const reader = side.reader.open(artifactId, contentOf(map, 4096));
      const got = await reader.read(0, 131_072);
      expect(got.equals(pack.subarray(i * 4096, i * 4096 + 4096))).toBe(true);
      reader.close();
    }
    expect(store.gets.length).toBeLessThan(14);
    expect(store.gotBytes).toBeLessThan(pack.length + 3 * limits.blockBytes);
    expect(store.heads).toBe(1);
  });

  test('two files far apart do not fetch the pack', async () => {
    const store = new WatchedStore();
    const pack = noise(20 * MiB, 6);
    await store.putObject('d/s/1.pack', pack);
    await using side = readingSide(directory(), store);
    for (const offset of [MiB, 15 * MiB]) {
      const map = new ExtentMap();
      map.set(0, 5000, { type: 'object', object: 'd/s/1.pack', offset });
      const reader = side.reader.open(artifactId, contentOf(map, 5000));
      expect((await reader.read(0, 5000)).equals(pack.subarray(offset, offset + 5000))).toBe(true);
    }
    expect(store.gotBytes).toBeLessThanOrEqual(4 * limits.blockBytes);
  });
});

describe('the disk cache', () => {
  const cacheFile = (suffix: string) => {
    const names = readdirSync(join(directory(), 'cache')).filter((name) => name.endsWith(suffix));
    expect(names).toHaveLength(1);
    return join(directory(), 'cache', names[0] ?? '');
  };

  async function readAll(side: ReturnType<typeof readingSide>, content: ReturnType<typeof contentOf>) {
    const reader = side.reader.open(artifactId, content);
    const chunks: Buffer[] = [];
    for (let offset = 0; offset < content.size(); offset += MiB) {
      chunks.push(Buffer.from(await reader.read(offset, MiB)));
    }
    reader.close();
    await side.disk.settled();
    return Buffer.concat(chunks);
  }

  test('has in the end what was fetched faster than the disk took it', async () => {
    const size = 16 * MiB;
    const { store, bytes, content } = await oneObject(size);
    await using side = readingSide(directory(), store, { cacheWriteBytes: limits.blockBytes });
    const reader = side.reader.open(artifactId, content);
    const offsets = Array.from({ length: size / limits.blockBytes }, (_, i) => i * limits.blockBytes);
    const readAll = () => Promise.all(offsets.map((offset) => reader.read(offset, limits.blockBytes)));
    await readAll();
    await side.disk.settled();
    expect(side.disk.statistics()).toMatchObject({ bytes: size, skippedBytes: 0 });
    side.memory.clear();
    expect(Buffer.concat(await readAll()).equals(bytes)).toBe(true);
    expect(store.gotBytes).toBe(size);
  });

  test('says what it never had: fetched faster than the disk took it, and gone from memory', async () => {
    const size = 16 * MiB;
    const { store, content } = await oneObject(size);
    const options = { cacheWriteBytes: limits.blockBytes, memoryBytes: MiB };
    await using side = readingSide(directory(), store, options);
    const reader = side.reader.open(artifactId, content);
    const offsets = Array.from({ length: size / limits.blockBytes }, (_, i) => i * limits.blockBytes);
    await Promise.all(offsets.map((offset) => reader.read(offset, limits.blockBytes)));
    await side.disk.settled();
    const { bytes, skippedBytes } = side.disk.statistics();
    expect(bytes + skippedBytes).toBe(size);
    expect(skippedBytes).toBeGreaterThan(0);
  });

  test('survives a restart: nothing is fetched again', async () => {
    const { store, bytes, content } = await oneObject(10 * MiB + 99);
    {
      await using side = readingSide(directory(), store);
      expect((await readAll(side, content)).equals(bytes)).toBe(true);
    }
    store.gets = [];
    await using again = readingSide(directory(), store);
    expect((await readAll(again, content)).equals(bytes)).toBe(true);
    expect(store.gets).toEqual([]);
    expect(again.disk.statistics()).toMatchObject({ badBlocks: 0, objects: 1 });
    expect(again.disk.statistics().bytes).toBeGreaterThanOrEqual(10 * MiB);
  });

  test('a block that rotted is fetched again, counted, and never served', async () => {
    const { store, bytes, content } = await oneObject(4 * MiB);
    {
      await using side = readingSide(directory(), store);
      await readAll(side, content);
    }
    const file = cacheFile('.data');
    const data = readFileSync(file);
    data[3 * limits.blockBytes + 17] = (data[3 * limits.blockBytes + 17] ?? 0) ^ 1;
    writeFileSync(file, data);
    store.gets = [];
    {
      await using side = readingSide(directory(), store);
      expect((await readAll(side, content)).equals(bytes)).toBe(true);
      expect(side.disk.statistics().badBlocks).toBe(1);
      expect(store.gets.length).toBeGreaterThan(0);
    }
    store.gets = [];
    await using healed = readingSide(directory(), store);
    expect((await readAll(healed, content)).equals(bytes)).toBe(true);
    expect(store.gets).toEqual([]);
  });

  test('whatever a crash or a power loss leaves of its files, bytes served are right', async () => {
    const { store, bytes, content } = await oneObject(2 * MiB + 5);
    {
      await using side = readingSide(directory(), store);
      await readAll(side, content);
    }
    const data = readFileSync(cacheFile('.data'));
    const index = readFileSync(cacheFile('.idx'));
    const damage = fc.record({
      file: fc.constantFrom('data' as const, 'index' as const),
      kind: fc.constantFrom('cut' as const, 'zero' as const, 'flip' as const, 'remove' as const),
      at: fc.double({ min: 0, max: 0.999, noNaN: true }),
    });
    let run = 0;
    await fc.assert(
      fc.asyncProperty(damage, async ({ file, kind, at }) => {
        const root = join(directory(), `crash-${run++}`);
        {
          await using side = readingSide(root, store);
          await side.disk.settled();
        }
        const original = file === 'data' ? data : index;
        const place = Math.floor(original.length * at);
        let broken = Buffer.from(original);
        if (kind === 'cut') broken = broken.subarray(0, place);
        else if (kind === 'zero') broken.fill(0, place, Math.min(place + 65_536, broken.length));
        else broken[place] = (broken[place] ?? 0) ^ 0x55;
        const name = cacheFile('.data').split('/').at(-1)?.replace('.data', '') ?? '';
        if (kind !== 'remove' || file !== 'data') {
          writeFileSync(join(root, 'cache', `${name}.data`), file === 'data' ? broken : data);
        }
        if (kind !== 'remove' || file !== 'index') {
          writeFileSync(join(root, 'cache', `${name}.idx`), file === 'index' ? broken : index);
        }
        await using side = readingSide(root, store);
        expect((await readAll(side, content)).equals(bytes)).toBe(true);
      }),
      { numRuns: runs(60) },
    );
  });

  test('stays within the budget it shares with staging, and drops what was used longest ago', async () => {
    const store = new WatchedStore();
    const files = Array.from({ length: 5 }, (_, i) => `d/s/${i}-f`);
    for (const [i, object] of files.entries()) await store.putObject(object, noise(2 * MiB, i));
    await using side = readingSide(directory(), store, { diskBytes: 7 * MiB });
    const read = async (object: string) => {
      const map = new ExtentMap();
      map.set(0, 2 * MiB, { type: 'object', object, offset: 0 });
      await readAll(side, contentOf(map, 2 * MiB));
    };
    for (const object of files) {
      await read(object);
      expect(side.disk.statistics().bytes).toBeLessThanOrEqual(7 * MiB);
    }
    expect(side.disk.statistics().objects).toBe(3);
    side.memory.clear();
    store.gets = [];
    for (const object of files.slice(2)) await read(object);
    expect(store.gets).toEqual([]);
    await side.staging.write(1, 0, noise(4 * MiB, 1));
    await side.disk.settled();
    expect(side.disk.statistics().objects).toBe(1);
    const onDisk = readdirSync(join(directory(), 'cache')).map((name) =>
      statSync(join(directory(), 'cache', name)),
    );
    expect(onDisk.reduce((sum, { blocks }) => sum + blocks * 512, 0)).toBeLessThan(3 * MiB);
  });

  test('takes over a staged file by rename, without the store', async () => {
    const { store, bytes, content } = await oneObject(3 * MiB + 1);
    await using side = readingSide(directory(), store);
    await side.staging.write(7, 0, bytes);
    const whole = { key: `a/${artifactId}/d/s/1-file`, size: bytes.length, checks: checksOf(bytes) };
    expect(side.staging.handOver(7, (path) => side.disk.adopt(whole, path))).toBe(true);
    expect(side.staging.usedBytes()).toBe(0);
    expect((await readAll(side, content)).equals(bytes)).toBe(true);
    expect(store.gets).toEqual([]);
  });
});
