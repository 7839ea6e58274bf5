import { randomBytes, randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { compareNames } from '../../src/model/entry.js';
import type { ErrorCode } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import type { ObjectStore } from '../../src/store/object-store.js';

/**
 * The comment of `ObjectStore` as a suite. A new store or wrapper joins by one call:
 *
 *     storeContract('name', async () => ({ store, dispose }), { presign: false })
 */
export interface StoreUnderTest {
  readonly store: ObjectStore;
  readonly dispose?: () => Promise<void>;
}

export interface StoreTraits {
  readonly presign: boolean;
  /** Parts that were sent may be left out of the object. Default: yes. */
  readonly leavesOutParts?: boolean;
}

const partBytes = limits.storePartBytesMin;

export function storeContract(name: string, open: () => Promise<StoreUnderTest>, traits: StoreTraits): void {
  describe(name, () => {
    let opened: StoreUnderTest;
    let store: ObjectStore;
    beforeAll(async () => {
      opened = await open();
      store = opened.store;
    });
    afterAll(async () => {
      await store[Symbol.asyncDispose]();
      await opened.dispose?.();
    });
    const lazily = new Proxy({} as ObjectStore, {
      get: (_, property: keyof ObjectStore) => {
        const value = store[property];
        return typeof value === 'function' ? value.bind(store) : value;
      },
    });
    readingAndWriting(lazily);
    creating(lazily);
    keys(lazily);
    listing(lazily);
    deleting(lazily);
    multipart(lazily, traits);
    copying(lazily);
    streaming(lazily);
    interrupting(lazily);
    presigning(lazily, traits);
    probing(lazily, traits);
  });
}

function readingAndWriting(store: ObjectStore): void {
  describe('get, head and put', () => {
    it('gives back what was put, whole and in ranges', async () => {
      const key = fresh();
      const body = randomBytes(300_000);
      await store.put(key, body);
      expectSame(await store.get(key), body);
      for (const [offset, length] of [
        [0, 1],
        [0, body.length],
        [body.length - 1, 1],
        [1234, 100_000],
      ] as const)
        expectSame(await store.get(key, { offset, length }), body.subarray(offset, offset + length));
    });

    it('sends a body of several chunks in order', async () => {
      const key = fresh();
      const chunks = [randomBytes(100_000), Buffer.alloc(0), randomBytes(3), randomBytes(70_000)];
      await store.put(key, chunks);
      expectSame(await store.get(key), Buffer.concat(chunks));
    });

    it('keeps empty objects', async () => {
      const key = fresh();
      await store.put(key, Buffer.alloc(0));
      await store.put(`${key}2`, []);
      expect(await store.get(key)).toHaveLength(0);
      expect(await store.head(key)).toMatchObject({ key, size: 0 });
      expect(await store.head(`${key}2`)).toMatchObject({ size: 0 });
    });

    it('overwrites, with another ETag', async () => {
      const key = fresh();
      const first = await store.put(key, Buffer.from('first'));
      const second = await store.put(key, Buffer.from('the second'));
      expect(second.etag).not.toBe(first.etag);
      expect(await text(store, key)).toBe('the second');
      expect(await store.head(key)).toMatchObject({ size: 10, etag: second.etag });
    });

    it('tells key, size, ETag without quotes and time', async () => {
      const key = fresh();
      const { etag } = await store.put(key, Buffer.from('x'));
      const info = await store.head(key);
      expect(info).toEqual({ key, size: 1, etag, modifiedMs: info.modifiedMs });
      expect(etag).toMatch(/^[^"]+$/);
      expect(Math.abs(info.modifiedMs - Date.now())).toBeLessThan(600_000);
    });

    it('says NotFound for a missing key', async () => {
      const key = fresh();
      await expectCode('NotFound', store.get(key));
      await expectCode('NotFound', store.get(key, { offset: 0, length: 1 }));
      await expectCode('NotFound', store.head(key));
    });

    it('says Corrupt when the object is shorter than the range', async () => {
      const key = fresh();
      await store.put(key, Buffer.from('0123456789'));
      await expectCode('Corrupt', store.get(key, { offset: 5, length: 6 }));
      await expectCode('Corrupt', store.get(key, { offset: 10, length: 1 }));
      await expectCode('Corrupt', store.get(key, { offset: 99, length: 1 }));
      expect(await text(store, key, { offset: 5, length: 5 })).toBe('56789');
    });

    it('refuses ranges that are none', async () => {
      const key = fresh();
      await store.put(key, Buffer.from('0123456789'));
      for (const range of [
        { offset: -1, length: 1 },
        { offset: 0, length: 0 },
        { offset: 0.5, length: 1 },
      ])
        await expectCode('Invalid', store.get(key, range));
    });

    it('shares no memory with the caller', async () => {
      const key = fresh();
      const body = Buffer.from('unchanged');
      await store.put(key, body);
      body.fill(0);
      (await store.get(key)).fill(0);
      (await store.get(key, { offset: 0, length: 4 })).fill(0);
      expect(await text(store, key)).toBe('unchanged');
    });

    it('serves many calls at a time', async () => {
      const folder = fresh();
      const bodies = Array.from({ length: 60 }, (_, i) => Buffer.from(`body ${i}`.repeat(i + 1)));
      await Promise.all(bodies.map((body, i) => store.put(`${folder}/${i}`, body)));
      const found = await Promise.all(bodies.map((_, i) => store.get(`${folder}/${i}`)));
      expect(found.map(String)).toEqual(bodies.map(String));
    });
  });
}

function creating(store: ObjectStore): void {
  describe('putIfAbsent', () => {
    it('creates once and then refuses', async () => {
      const key = fresh();
      const { etag } = await store.putIfAbsent(key, Buffer.from('mine'));
      await expectCode('Exists', store.putIfAbsent(key, Buffer.from('theirs')));
      await expectCode('Exists', store.putIfAbsent(key, Buffer.from('mine')));
      expect(await text(store, key)).toBe('mine');
      expect(await store.head(key)).toMatchObject({ etag });
    });

    it('refuses a key that put made, and takes one that was deleted', async () => {
      const key = fresh();
      await store.put(key, Buffer.from('put'));
      await expectCode('Exists', store.putIfAbsent(key, Buffer.from('created')));
      await store.deleteMany([key]);
      await store.putIfAbsent(key, Buffer.from('created'));
      expect(await text(store, key)).toBe('created');
    });

    it('has one winner among many racers, whose bytes stay', async () => {
      for (let round = 0; round < 5; round++) {
        const key = fresh();
        const results = await Promise.allSettled(
          Array.from({ length: 16 }, (_, i) => store.putIfAbsent(key, Buffer.from(`racer ${i}`))),
        );
        const winners = results.flatMap(({ status }, i) => (status === 'fulfilled' ? [i] : []));
        expect(winners).toHaveLength(1);
        expect(await text(store, key)).toBe(`racer ${winners[0]}`);
        for (const result of results)
          if (result.status === 'rejected') expect(['Exists', 'Busy']).toContain(result.reason.code);
      }
    });
  });
}

const oddKeys = [
  'a b+c%20d',
  'ünï/日本',
  `q'&<>"`,
  'percent%',
  '%41',
  'plus%+',
  '.hidden/.file',
  '...',
  'star*?[x]',
  'back\\slash',
  'control\x01\x1f\x7f\ttab\nline\rreturn',
  'tilde~!$()=@:,;',
  '😀/\uffff',
  'caf\u00e9',
  'cafe\u0301',
  `long/${'n'.repeat(300)}/${'é'.repeat(200)}`,
  `dots/${'x'.repeat(200)}.${'y'.repeat(100)}`,
  'k'.repeat(850),
];

function keys(store: ObjectStore): void {
  describe('keys', () => {
    it('may be any text', async () => {
      const folder = fresh();
      const odd = oddKeys.map((key) => `${folder}/${key}`);
      for (const key of odd) await store.put(key, Buffer.from(key));
      for (const key of odd) {
        expect(await text(store, key)).toBe(key);
        expect(await store.head(key)).toMatchObject({ key });
      }
      expect((await listAll(store, `${folder}/`)).sort(compareNames)).toEqual(odd.sort(compareNames));
      await store.deleteMany(odd);
      expect(await listAll(store, `${folder}/`)).toEqual([]);
    });

    it('are refused when they are empty, too long, not Unicode, or begin with a slash', async () => {
      for (const key of ['', '/a', 'x'.repeat(901), 'é'.repeat(451), 'a\0b', 'a\ud800b']) {
        await expectCode('Invalid', store.get(key));
        await expectCode('Invalid', store.head(key));
        await expectCode('Invalid', store.put(key, Buffer.from('x')));
        await expectCode('Invalid', store.putIfAbsent(key, Buffer.from('x')));
        await expectCode('Invalid', store.createMultipart(key));
        await expectCode('Invalid', store.deleteMany([key]));
      }
    });
  });
}

function listing(store: ObjectStore): void {
  describe('list', () => {
    it('goes in byte order, across folders', async () => {
      const folder = fresh();
      const names = [
        'a!',
        'a',
        'a-b',
        'a.b',
        'a/x',
        'a0',
        'B',
        'b/1/z',
        'b/1.z',
        'b/10',
        'z',
        'é',
        '日',
        '😀',
        '\uffee',
      ];
      const distinct = names.filter((name) => name !== 'a');
      for (const name of distinct) await store.put(`${folder}/${name}`, Buffer.from('x'));
      const byBytes = distinct
        .map((name) => `${folder}/${name}`)
        .sort((a, b) => Buffer.compare(Buffer.from(a), Buffer.from(b)));
      expect(await listAll(store, `${folder}/`)).toEqual(byBytes);
      for (const after of [...byBytes, `${folder}/`, `${folder}/a/`, `${folder}/b/1/`, `${folder}/zz`]) {
        const rest = byBytes.filter((key) => Buffer.compare(Buffer.from(key), Buffer.from(after)) > 0);
        expect(await listAll(store, `${folder}/`, after)).toEqual(rest);
      }
    });

    it('takes any beginning as prefix', async () => {
      const folder = fresh();
      for (const name of ['abc/1', 'abd/2', 'ab', 'x'])
        await store.put(`${folder}/${name}`, Buffer.from('x'));
      expect(await listAll(store, `${folder}/ab`)).toEqual(
        ['ab', 'abc/1', 'abd/2'].map((n) => `${folder}/${n}`),
      );
      expect(await listAll(store, `${folder}/abc`)).toEqual([`${folder}/abc/1`]);
      expect(await listAll(store, `${folder}/abc/1`)).toEqual([`${folder}/abc/1`]);
      expect(await listAll(store, `${folder}/none`)).toEqual([]);
    });

    it('tells the same as head', async () => {
      const key = fresh();
      await store.put(key, Buffer.from('x'));
      const [info] = await all(store.list(key));
      const head = await store.head(key);
      // Some stores keep seconds in one place and milliseconds in the other.
      expect(info).toMatchObject({ key, size: 1, etag: head.etag });
      expect(Math.abs((info?.modifiedMs ?? 0) - head.modifiedMs)).toBeLessThan(1000);
    });
  });
}

function deleting(store: ObjectStore): void {
  describe('deleteMany', () => {
    it('deletes what is there and does not mind what is not', async () => {
      const folder = fresh();
      const keys = ['a', 'b/1', 'b/2'].map((name) => `${folder}/${name}`);
      for (const key of keys) await store.put(key, Buffer.from('x'));
      await store.deleteMany([...keys.slice(0, 2), `${folder}/missing`, `${folder}/b/3/missing`]);
      expect(await listAll(store, `${folder}/`)).toEqual([`${folder}/b/2`]);
      await store.deleteMany(keys);
      await store.deleteMany(keys);
      await store.deleteMany([]);
      expect(await listAll(store, `${folder}/`)).toEqual([]);
      await expectCode('NotFound', store.get(`${folder}/a`));
    });

    it('takes more keys than one page or request holds', async () => {
      const folder = fresh();
      const keys = Array.from({ length: 1100 }, (_, i) => `${folder}/${String(i).padStart(4, '0')}`);
      for (let i = 0; i < keys.length; i += 50)
        await Promise.all(keys.slice(i, i + 50).map((key) => store.put(key, Buffer.from('x'))));
      expect(await listAll(store, `${folder}/`)).toEqual(keys);
      expect(await listAll(store, `${folder}/`, keys[1042])).toEqual(keys.slice(1043));
      await store.deleteMany(keys);
      expect(await listAll(store, `${folder}/`)).toEqual([]);
    }, 60_000);
  });
}

function multipart(store: ObjectStore, traits: StoreTraits): void {
  describe('multipart', () => {
    it('lists the uploads under a prefix that were begun and have not ended', async () => {
      const under = `${fresh()}/`;
      const [one, two] = [`${under}one`, `${under}two %+ö`];
      for (const key of [one, one, two, fresh()]) await store.createMultipart(key);
      const begun = await store.unfinishedUploads(under);
      // Of an upload whose beginning was not answered there are two.
      expect(new Set(begun.map(({ key }) => key))).toEqual(new Set([one, two]));
      expect(new Set(begun.map(({ uploadId }) => uploadId)).size).toBe(begun.length);
      expect(begun.length).toBeGreaterThanOrEqual(3);
      for (const { key, uploadId } of begun) await store.abortMultipart(key, uploadId);
      expect(await store.unfinishedUploads(under)).toEqual([]);
    });

    it('makes one object of parts that come in any order, and not before it is completed', async () => {
      const key = fresh();
      const bodies = [randomBytes(partBytes), randomBytes(partBytes), randomBytes(1000)];
      const uploadId = await store.createMultipart(key);
      const parts = [];
      for (const i of [2, 0, 1]) parts.push(await store.uploadPart(key, uploadId, i + 1, bodies[i] ?? []));
      parts.sort((a, b) => a.part - b.part);
      await expectCode('NotFound', store.get(key));
      expect(await listAll(store, key)).toEqual([]);
      const listed = await store.listParts(key, uploadId);
      expect(listed.map(({ part, etag, size }) => ({ part, etag, size }))).toEqual(
        parts.map(({ part, etag, size }) => ({ part, etag, size })),
      );
      const { etag } = await store.completeMultipart(key, uploadId, parts);
      expectSame(await store.get(key), Buffer.concat(bodies));
      expect(await store.head(key)).toMatchObject({ etag, size: 2 * partBytes + 1000 });
      const border = { offset: partBytes - 5, length: 10 };
      expectSame(await store.get(key, border), Buffer.concat(bodies).subarray(partBytes - 5, partBytes + 5));
    });

    it('completes from what listParts tells, as after a crash', async () => {
      const key = fresh();
      const uploadId = await store.createMultipart(key);
      const bodies = [randomBytes(partBytes), Buffer.from('tail')];
      for (const [i, body] of bodies.entries()) await store.uploadPart(key, uploadId, i + 1, body);
      await store.completeMultipart(key, uploadId, await store.listParts(key, uploadId));
      expectSame(await store.get(key), Buffer.concat(bodies));
    });

    it('takes a part again in place of the first', async () => {
      const key = fresh();
      const uploadId = await store.createMultipart(key);
      const old = await store.uploadPart(key, uploadId, 1, randomBytes(partBytes));
      const body = [randomBytes(partBytes - 7), randomBytes(7)];
      const part = await store.uploadPart(key, uploadId, 1, body);
      expect(part.etag).not.toBe(old.etag);
      expect(await store.listParts(key, uploadId)).toHaveLength(1);
      await expectCode('Invalid', store.completeMultipart(key, uploadId, [old]));
      await store.completeMultipart(key, uploadId, [part]);
      expectSame(await store.get(key), Buffer.concat(body));
    });

    it('takes parts of different sizes, with gaps between their numbers', async () => {
      const key = fresh();
      const uploadId = await store.createMultipart(key);
      const bodies = new Map([
        [2, randomBytes(partBytes + 99)],
        [5, randomBytes(partBytes + 5000)],
        [9, randomBytes(17)],
      ]);
      const parts = [];
      for (const [part, body] of bodies) parts.push(await store.uploadPart(key, uploadId, part, body));
      await store.completeMultipart(key, uploadId, parts);
      expectSame(await store.get(key), Buffer.concat([...bodies.values()]));
    });

    it('leaves out parts that are not listed, or says that it cannot', async () => {
      const key = fresh();
      const uploadId = await store.createMultipart(key);
      const parts = [];
      for (const part of [1, 2, 3])
        parts.push(await store.uploadPart(key, uploadId, part, Buffer.alloc(partBytes, `part ${part}`)));
      const complete = store.completeMultipart(
        key,
        uploadId,
        parts.filter(({ part }) => part !== 2),
      );
      if (traits.leavesOutParts === false) return expectCode('Unsupported', complete);
      await complete;
      const wanted = [1, 3].map((part) => Buffer.alloc(partBytes, `part ${part}`));
      expectSame(await store.get(key), Buffer.concat(wanted));
    });

    it('completes again when the first answer was lost', async () => {
      const key = fresh();
      const uploadId = await store.createMultipart(key);
      const part = await store.uploadPart(key, uploadId, 1, Buffer.from('only'));
      const first = await store.completeMultipart(key, uploadId, [part]);
      expect(await store.completeMultipart(key, uploadId, [part])).toEqual(first);
      expect(await text(store, key)).toBe('only');
    });

    it('refuses small parts before the last, parts out of order and parts that are none', async () => {
      const key = fresh();
      const uploadId = await store.createMultipart(key);
      const one = await store.uploadPart(key, uploadId, 1, Buffer.from('small'));
      const two = await store.uploadPart(key, uploadId, 2, randomBytes(partBytes));
      await expectCode('Invalid', store.completeMultipart(key, uploadId, [one, two]));
      await expectCode('Invalid', store.completeMultipart(key, uploadId, [two, one]));
      await expectCode('Invalid', store.completeMultipart(key, uploadId, []));
      await expectCode('Invalid', store.completeMultipart(key, uploadId, [{ ...two, etag: one.etag }]));
      await expectCode('Invalid', store.completeMultipart(key, uploadId, [{ ...two, part: 7 }]));
      for (const part of [0, 10_001, 1.5])
        await expectCode('Invalid', store.uploadPart(key, uploadId, part, Buffer.from('x')));
      const larger = await store.uploadPart(key, uploadId, 1, randomBytes(partBytes));
      await store.completeMultipart(key, uploadId, [larger, two]);
    });

    it('says NotFound for uploads that are unknown, aborted or completed', async () => {
      const key = fresh();
      const aborted = await store.createMultipart(key);
      const part = await store.uploadPart(key, aborted, 1, Buffer.from('x'));
      await store.abortMultipart(key, aborted);
      await store.abortMultipart(key, aborted);
      const completed = await store.createMultipart(`${key}2`);
      const done = await store.uploadPart(`${key}2`, completed, 1, Buffer.from('x'));
      await store.completeMultipart(`${key}2`, completed, [done]);
      for (const [name, id] of [
        [key, aborted],
        [`${key}2`, completed],
      ] as const) {
        await expectCode('NotFound', store.listParts(name, id));
        await expectCode('NotFound', store.uploadPart(name, id, 1, Buffer.from('x')));
      }
      await expectCode('NotFound', store.completeMultipart(key, aborted, [part]));
      await expectCode('NotFound', store.get(key));
    });

    it('keeps uploads of one key apart', async () => {
      const key = fresh();
      const [a, b] = await Promise.all([store.createMultipart(key), store.createMultipart(key)]);
      const [partA, partB] = await Promise.all([
        store.uploadPart(key, a, 1, Buffer.from('from a')),
        store.uploadPart(key, b, 1, Buffer.from('from b')),
      ]);
      await store.completeMultipart(key, a, [partA]);
      expect(await text(store, key)).toBe('from a');
      await store.completeMultipart(key, b, [partB]);
      expect(await text(store, key)).toBe('from b');
    });
  });
}

function copying(store: ObjectStore): void {
  describe('copyPart', () => {
    it('takes ranges of other objects, mixed with new parts', async () => {
      const source = fresh();
      const target = fresh();
      const body = randomBytes(partBytes + 5000);
      await store.put(source, body);
      const uploadId = await store.createMultipart(target);
      const copied = await store.copyPart(target, uploadId, 1, {
        key: source,
        offset: 77,
        length: partBytes,
      });
      const sent = await store.uploadPart(target, uploadId, 2, randomBytes(0).fill(0));
      await store.abortMultipart(target, uploadId);
      expect(copied).toMatchObject({ part: 1, size: partBytes });
      expect(sent).toMatchObject({ part: 2, size: 0 });

      const again = await store.createMultipart(target);
      const parts = [
        await store.copyPart(target, again, 1, { key: source, offset: 77, length: partBytes }),
        await store.uploadPart(target, again, 2, Buffer.alloc(partBytes, 'm')),
        await store.copyPart(target, again, 3, { key: source, offset: 0, length: 10 }),
      ];
      await store.completeMultipart(target, again, parts);
      const wanted = [body.subarray(77, 77 + partBytes), Buffer.alloc(partBytes, 'm'), body.subarray(0, 10)];
      expectSame(await store.get(target), Buffer.concat(wanted));
      expectSame(await store.get(source), body);
    });

    it('copies keys that need escapes', async () => {
      const source = `${fresh()}/a b+c&d/ünï日本`;
      const target = fresh();
      await store.put(source, Buffer.from('0123456789'));
      const uploadId = await store.createMultipart(target);
      const part = await store.copyPart(target, uploadId, 1, { key: source, offset: 2, length: 3 });
      await store.completeMultipart(target, uploadId, [part]);
      expect(await text(store, target)).toBe('234');
    });

    it('copies the right object when the key looks escaped, or says that it cannot', async () => {
      const source = `${fresh()}/a%20b`;
      const target = fresh();
      await store.put(source, Buffer.from('right'));
      await store.put(source.replace('%20', ' '), Buffer.from('wrong'));
      const uploadId = await store.createMultipart(target);
      try {
        const part = await store.copyPart(target, uploadId, 1, { key: source, offset: 0, length: 5 });
        await store.completeMultipart(target, uploadId, [part]);
        expect(await text(store, target)).toBe('right');
      } catch (error) {
        expect(error).toMatchObject({ code: 'Unsupported' });
        await store.abortMultipart(target, uploadId);
      }
    });

    it('says NotFound for a missing source and Corrupt for a range that is not there', async () => {
      const source = fresh();
      const target = fresh();
      await store.put(source, Buffer.from('0123456789'));
      const uploadId = await store.createMultipart(target);
      const copy = (key: string, offset: number, length: number) =>
        store.copyPart(target, uploadId, 1, { key, offset, length });
      await expectCode('NotFound', copy(fresh(), 0, 1));
      await expectCode('Corrupt', copy(source, 5, 6));
      await expectCode('Corrupt', copy(source, 50, 6));
      await expectCode('Invalid', copy(source, 0, 0));
      await store.abortMultipart(target, uploadId);
      await expectCode('NotFound', copy(source, 0, 10));
    });
  });
}

function streaming(store: ObjectStore): void {
  describe('putStream', () => {
    it('stores streams of any length and tells how far it is', async () => {
      for (const size of [0, 10, 300_000, limits.storeStreamPartBytes + 1_234_567]) {
        const key = fresh();
        const body = randomBytes(size);
        const progress: number[] = [];
        const result = await store.putStream(key, Readable.from(pieces(body, 65_536)), {
          onProgress: (bytes) => progress.push(bytes),
        });
        expect(result.size).toBe(size);
        expectSame(await store.get(key), body);
        expect(await store.head(key)).toMatchObject({ size, etag: result.etag });
        expect(progress).toEqual([...progress].sort((a, b) => a - b));
        if (size > 0) expect(progress.at(-1)).toBe(size);
      }
    }, 60_000);

    it('fails with the error of its source, and leaves nothing', async () => {
      const key = fresh();
      const broken = async function* () {
        yield Buffer.from('some bytes');
        throw new Error('the disk under the source broke');
      };
      await expect(store.putStream(key, Readable.from(broken()))).rejects.toThrow(
        'the disk under the source',
      );
      await expectCode('NotFound', store.get(key));
    });

    it('stops when it is interrupted, and leaves nothing', async () => {
      const key = fresh();
      const controller = new AbortController();
      const endless = async function* () {
        for (let i = 0; ; i++) {
          if (i === 400) controller.abort();
          yield Buffer.alloc(65_536);
          await new Promise((resolve) => setImmediate(resolve));
        }
      };
      const source = Readable.from(endless());
      await expectCode('Interrupted', store.putStream(key, source, { signal: controller.signal }));
      expect(source.destroyed).toBe(true);
      await expectCode('NotFound', store.get(key));
    });
  });
}

function interrupting(store: ObjectStore): void {
  it('is interrupted by a signal that is aborted already, and then does nothing', async () => {
    const key = fresh();
    const options = { signal: AbortSignal.abort() };
    const uploadId = await store.createMultipart(key);
    const part = await store.uploadPart(key, uploadId, 1, Buffer.from('x'));
    await expectCode('Interrupted', store.get(key, undefined, options));
    await expectCode('Interrupted', store.head(key, options));
    await expectCode('Interrupted', store.put(key, Buffer.from('x'), options));
    await expectCode('Interrupted', store.putIfAbsent(key, Buffer.from('x'), options));
    await expectCode('Interrupted', store.createMultipart(key, options));
    await expectCode('Interrupted', store.uploadPart(key, uploadId, 2, Buffer.from('x'), options));
    await expectCode('Interrupted', store.listParts(key, uploadId, options));
    await expectCode('Interrupted', store.completeMultipart(key, uploadId, [part], options));
    await expectCode('Interrupted', store.abortMultipart(key, uploadId, options));
    await expectCode('Interrupted', store.deleteMany([key], options));
    await expectCode('Interrupted', all(store.list(key, options)));
    await expectCode('Interrupted', store.probe(options));
    await expectCode('NotFound', store.get(key));
    expect(await store.listParts(key, uploadId)).toHaveLength(1);
  });
}

function presigning(store: ObjectStore, traits: StoreTraits): void {
  if (!traits.presign) {
    it('has no URLs', () => expectCode('Unsupported', store.presignGet(fresh(), 60)));
    return;
  }
  it('gives URLs that anybody may GET', async () => {
    const key = `url/${fresh()}/with space+ünï`;
    await store.put(key, Buffer.from('0123456789'));
    const url = await store.presignGet(key, 60);
    expect(await (await fetch(url)).text()).toBe('0123456789');
    const range = await fetch(url, { headers: { range: 'bytes=2-4' } });
    expect(range.status).toBe(206);
    expect(await range.text()).toBe('234');
    const tampered = await fetch(url.replace(/X-Amz-Expires=\d+/, 'X-Amz-Expires=6000'));
    await tampered.arrayBuffer();
    expect(tampered.status).toBe(403);
    for (const seconds of [0, limits.presignSecondsMax + 1, Number.NaN])
      await expectCode('Invalid', store.presignGet(key, seconds));
  });
}

function probing(store: ObjectStore, traits: StoreTraits): void {
  it('proves itself by probe, which leaves nothing behind', async () => {
    expect(await store.probe()).toEqual({
      writable: true,
      createIfAbsent: true,
      copyPart: true,
      presign: traits.presign,
      ...(traits.presign ? { ifMatch: true } : {}),
    });
    expect(await listAll(store, '.probe/')).toEqual([]);
    // What the probe learned must not change what is stored.
    const key = fresh();
    await store.put(key, [Buffer.from('after '), Buffer.from('probe')]);
    expect(await text(store, key)).toBe('after probe');
  });
}

/** A key that no test used before: stores are shared between tests. */
export const fresh = (): string => `t/${randomUUID()}`;

export async function expectCode(code: ErrorCode, promise: Promise<unknown>): Promise<void> {
  await expect(promise).rejects.toMatchObject({ name: 'ArtifactError', code });
}

export async function all<T>(items: AsyncIterable<T>): Promise<T[]> {
  const found: T[] = [];
  for await (const item of items) found.push(item);
  return found;
}

export async function listAll(store: ObjectStore, prefix: string, startAfter?: string): Promise<string[]> {
  const infos = await all(store.list(prefix, startAfter === undefined ? {} : { startAfter }));
  return infos.map(({ key }) => key);
}

async function text(
  store: ObjectStore,
  key: string,
  range?: { offset: number; length: number },
): Promise<string> {
  return (await store.get(key, range)).toString();
}

/** Like toEqual, without a report of a million lines. */
function expectSame(found: Buffer, wanted: Buffer): void {
  expect(found.length).toBe(wanted.length);
  expect(found.equals(wanted)).toBe(true);
}

function* pieces(body: Buffer, bytes: number): Iterable<Buffer> {
  for (let at = 0; at < body.length; at += bytes) yield body.subarray(at, at + bytes);
}
