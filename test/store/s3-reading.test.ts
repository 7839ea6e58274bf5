import { randomBytes } from 'node:crypto';
import { afterEach, describe, expect, it } from 'vitest';
import type { ObjectStore } from '../../src/store/object-store.js';
import { type OpenStoreOptions, openStore } from '../../src/store/open-store.js';
import { type S3Server, type S3ServerOptions, startS3Server } from '../support/s3-server/server.js';
import { expectCode } from './contract.js';

const MiB = 1 << 20;

let open: AsyncDisposable[] = [];
afterEach(async () => {
  for (const one of open.toReversed()) await one[Symbol.asyncDispose]();
  open = [];
});

/** A store over a server of its own, with one object, and a first GET done, after which nothing goes through the SDK. */
async function reading(
  options: OpenStoreOptions & { server?: S3ServerOptions; size?: number } = {},
): Promise<{ server: S3Server; store: ObjectStore; bytes: Buffer }> {
  const server = await startS3Server(options.server);
  open.push({ [Symbol.asyncDispose]: () => server.close() });
  const { endpoint, accessKeyId, secretAccessKey } = server;
  const s3 = { endpoint, accessKeyId, secretAccessKey, checksums: 'crc32' as const, ...options.s3 };
  const store = await openStore(`s3://${server.bucket}/p`, { retry: { delayMsMin: 0 }, ...options, s3 });
  open.push(store);
  const bytes = randomBytes(options.size ?? 2 * MiB);
  await store.put('a/ö (1)', bytes);
  await store.get('a/ö (1)', { offset: 0, length: 1 });
  await server.control.resetCounters();
  return { server, store, bytes };
}

const key = 'a/ö (1)';
const gets = async (server: S3Server) => {
  const { GetObject = { requests: 0, bytesOut: 0 } } = (await server.control.counters()).operations;
  return { requests: GetObject.requests, bytesOut: GetObject.bytesOut };
};

describe('a GET', () => {
  it('fills the memory it is given, whatever the size, on connections that are used again', async () => {
    const { server, store, bytes } = await reading();
    for (const [offset, length] of [
      [0, 1],
      [5, 4096],
      [MiB - 7, 20_000],
      [0, 2 * MiB],
      [2 * MiB - 1, 1],
    ] as const) {
      const into = Buffer.alloc(length);
      expect(await store.get(key, { offset, length }, { into })).toBe(into);
      expect(into.equals(bytes.subarray(offset, offset + length))).toBe(true);
    }
    expect((await store.get(key)).equals(bytes)).toBe(true);
    expect((await server.control.counters()).connections).toBe(0);
    expect((await gets(server)).requests).toBe(6);
  });

  it('tells how much has come, and what has come is right', async () => {
    const { store, bytes } = await reading();
    const into = Buffer.alloc(2 * MiB);
    const told: number[] = [];
    const onReceived = (count: number) => {
      told.push(count);
      expect(into.subarray(0, count).equals(bytes.subarray(0, count))).toBe(true);
    };
    await store.get(key, { offset: 0, length: 2 * MiB }, { into, onReceived });
    expect(told.at(-1)).toBe(2 * MiB);
    expect(told).toEqual([...told].sort((a, b) => a - b));
  });

  it('works over TLS', async () => {
    const before = process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
    process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = '0';
    try {
      const { store, bytes } = await reading({ server: { tls: true } });
      const ranges = Array.from({ length: 8 }, (_, i) => ({ offset: i * 1000, length: MiB }));
      const all = await Promise.all(ranges.map((range) => store.get(key, range)));
      for (const [i, got] of all.entries())
        expect(got.equals(bytes.subarray(i * 1000, i * 1000 + MiB))).toBe(true);
    } finally {
      if (before === undefined) delete process.env['NODE_TLS_REJECT_UNAUTHORIZED'];
      else process.env['NODE_TLS_REJECT_UNAUTHORIZED'] = before;
    }
  });

  it('says what is missing, and what ends before the range', async () => {
    const { store } = await reading();
    await expectCode('NotFound', store.get('nothing', { offset: 0, length: 1 }));
    await expectCode('Corrupt', store.get(key, { offset: MiB, length: 2 * MiB }));
    await expectCode('Corrupt', store.get(key, { offset: 3 * MiB, length: 1 }));
  });

  it('that nobody wants any more ends its connection, and others go on', async () => {
    const { server, store, bytes } = await reading();
    await server.control.addFault({ on: 'GetObject', times: 1, effect: { kind: 'stall', afterBytes: 1000 } });
    const controller = new AbortController();
    const range = { offset: 0, length: MiB };
    const onReceived = () => controller.abort();
    await expectCode('Interrupted', store.get(key, range, { signal: controller.signal, onReceived }));
    expect((await store.get(key, range)).equals(bytes.subarray(0, MiB))).toBe(true);
  });
});

describe('a GET that fails', () => {
  it('in the middle is resumed: only what is missing is asked for again', async () => {
    const { server, store, bytes } = await reading({ size: 8 * MiB });
    await server.control.addFault({ on: 'GetObject', times: 2, effect: { kind: 'truncate' } });
    const got = await store.get(key, { offset: 0, length: 8 * MiB });
    expect(got.equals(bytes)).toBe(true);
    const { requests, bytesOut } = await gets(server);
    expect(requests).toBe(3);
    // Asked for in full each time it would be 16 MiB.
    expect(bytesOut).toBeLessThan(10 * MiB);
  });

  it('by stopping in the middle is resumed, too', async () => {
    const { server, store, bytes } = await reading({ size: 4 * MiB, hedge: { stallMsMax: 100 } });
    await server.control.addFault({
      on: 'GetObject',
      times: 1,
      effect: { kind: 'stall', afterBytes: 3 * MiB },
    });
    expect((await store.get(key, { offset: 0, length: 4 * MiB })).equals(bytes)).toBe(true);
    const { requests, bytesOut } = await gets(server);
    expect(requests).toBe(2);
    expect(bytesOut).toBeLessThan(5 * MiB);
  });

  it('by not being answered is sent a second time, and the first is ended', async () => {
    const { server, store, bytes } = await reading({ hedge: { hedgeMsStart: 30 } });
    await server.control.addFault({ on: 'GetObject', times: 1, effect: { kind: 'stall' } });
    const range = { offset: 77, length: MiB };
    expect((await store.get(key, range)).equals(bytes.subarray(77, 77 + MiB))).toBe(true);
    const { requests, bytesOut } = await gets(server);
    expect([requests, bytesOut]).toEqual([2, MiB]);
  });

  it('in a storm of 503 comes through', async () => {
    const { server, store, bytes } = await reading();
    await server.control.set({ errorRate: 0.3, seed: 7 });
    const ranges = Array.from({ length: 64 }, (_, i) => ({ offset: i * 1024, length: 64 * 1024 }));
    const all = await Promise.all(ranges.map((range) => store.get(key, range)));
    for (const [i, { offset, length }] of ranges.entries())
      expect(all[i]?.equals(bytes.subarray(offset, offset + length))).toBe(true);
    expect((await gets(server)).requests).toBeGreaterThan(64);
  });

  it('to bring what was stored is done again once', async () => {
    const { server, store, bytes } = await reading();
    await server.control.addFault({ on: 'GetObject', times: 1, effect: { kind: 'corrupt' } });
    expect((await store.get(key)).equals(bytes)).toBe(true);
    expect((await gets(server)).requests).toBe(2);
    await server.control.addFault({ on: 'GetObject', effect: { kind: 'corrupt' } });
    await expectCode('Corrupt', store.get(key));
  });

  it('to be answered at all ends, and says so', async () => {
    const { server, store } = await reading({
      hedge: { hedgeMsStart: 10, firstByteMsMax: 100 },
      retry: { attemptsMax: 2, delayMsMin: 0 },
    });
    await server.control.addFault({ on: 'GetObject', effect: { kind: 'stall' } });
    const failure = store.get(key, { offset: 0, length: MiB });
    await expect(failure).rejects.toThrow(/did not begin to come/);
    await expectCode('StoreUnavailable', failure);
  });
});

describe('second tries', () => {
  it('are few when the store is slow for everybody', async () => {
    const { server, store } = await reading({ hedge: { hedgeMsStart: 1, hedgeMsMin: 1 } });
    await server.control.set({ latencyMs: 60 });
    for (let i = 0; i < 5; i++)
      await Promise.all(Array.from({ length: 20 }, () => store.get(key, { offset: 0, length: 1000 })));
    const { requests } = await gets(server);
    expect(requests).toBeGreaterThan(100);
    expect(requests).toBeLessThanOrEqual(100 + 6 + 3);
  });
});

describe('reads that are stuck', () => {
  it('leave room for other requests', async () => {
    const { server, store } = await reading();
    await server.control.addFault({ on: 'GetObject', key: 'ö', effect: { kind: 'stall' } });
    const controller = new AbortController();
    const { signal } = controller;
    const range = { offset: 0, length: MiB };
    const stuck = Array.from({ length: 40 }, () =>
      expectCode('Interrupted', store.get(key, range, { signal })),
    );
    await store.put('log/1', Buffer.from('x'));
    for (let i = 0; i < 100; i++) {
      await store.head('log/1');
      expect((await store.get('log/1')).toString()).toBe('x');
    }
    controller.abort();
    await Promise.all(stuck);
  });
});
