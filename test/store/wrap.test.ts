import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import { ArtifactError, type ErrorCode } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { CallOptions } from '../../src/store/object-store.js';
import { type Fault, FaultStore } from '../../src/store/wrap/fault.js';
import { LimitStore } from '../../src/store/wrap/limit.js';
import { LogStore } from '../../src/store/wrap/log.js';
import { type RetryOptions, RetryStore } from '../../src/store/wrap/retry.js';
import type { StoreCall } from '../../src/store/wrap/wrapped-store.js';
import { runs } from '../support/seed.js';
import { expectCode, listAll } from './contract.js';

const x = Buffer.from('x');

describe('RetryStore', () => {
  const over = (fault: Fault, options: RetryOptions = {}) => {
    const faults = new FaultStore(new MemoryStore(), { faults: [fault] });
    return { faults, store: new RetryStore(faults, { delayMsMin: 0, ...options }) };
  };

  it('repeats until it works', async () => {
    const { faults, store } = over({ on: 'put', times: 3, effect: { kind: 'applyThenFail' } });
    await store.put('a', x);
    expect(faults.calls).toHaveLength(4);
  });

  it('gives up after so many attempts, with the last error', async () => {
    const { faults, store } = over({ effect: { kind: 'fail' } }, { attemptsMax: 3 });
    await expectCode('StoreUnavailable', store.get('a'));
    expect(faults.calls).toHaveLength(3);
  });

  it('repeats what is busy or away, and nothing else', async () => {
    const codes: [ErrorCode, number][] = [
      ['StoreUnavailable', limits.storeAttemptsMax],
      ['Busy', limits.storeAttemptsMax],
      ['NotFound', 1],
      ['StoreDenied', 1],
      ['StoreMissing', 1],
      ['Corrupt', 1],
      ['Invalid', 1],
      ['NoSpace', 1],
      ['Interrupted', 1],
    ];
    for (const [code, attempts] of codes) {
      const { faults, store } = over({ effect: { kind: 'fail', code } });
      await expectCode(code, store.head('a'));
      expect([code, faults.calls.length]).toEqual([code, attempts]);
    }
  });

  it('never repeats a create', async () => {
    for (const kind of ['fail', 'applyThenFail'] as const) {
      const { faults, store } = over({ on: 'putIfAbsent', effect: { kind } });
      await expectCode('StoreUnavailable', store.putIfAbsent('a', x));
      expect(faults.calls).toHaveLength(1);
    }
  });

  it('waits a random share of a bound that doubles up to a limit', async () => {
    const waits: number[] = [];
    const { store } = over(
      { effect: { kind: 'fail' } },
      {
        attemptsMax: 6,
        delayMsMin: 40,
        delayMsMax: 300,
        random: () => 0.5,
        sleep: async (ms) => waits.push(ms),
      },
    );
    await expectCode('StoreUnavailable', store.get('a'));
    expect(waits).toEqual([20, 40, 80, 150, 150]);
  });

  // Found by the soak: of a hundred answers one was too short, and two in a row failed a read.
  it('regression: believes answers that are damaged only when several in a row are, and waits between', async () => {
    const waits: number[] = [];
    const sleep = async (ms: number) => void waits.push(ms);
    const damaged = (times: number) =>
      over({ on: 'get', times, effect: { kind: 'truncate' } }, { delayMsMin: 50, random: () => 0.5, sleep });
    const { store } = damaged(limits.storeDamagedGetsMax - 1);
    await store.put('a', Buffer.from('0123'));
    expect(String(await store.get('a'))).toBe('0123');
    expect(waits).toEqual([25, 50, 100]);
    const { faults, store: worse } = damaged(limits.storeDamagedGetsMax);
    await worse.put('a', Buffer.from('0123'));
    await expectCode('Corrupt', worse.get('a', { offset: 1, length: 2 }));
    expect(faults.calls.filter(({ operation }) => operation === 'get')).toHaveLength(
      limits.storeDamagedGetsMax,
    );
  });

  it('stops waiting at the signal', async () => {
    const { faults, store } = over(
      { effect: { kind: 'fail' } },
      { delayMsMin: 3_600_000, delayMsMax: 3_600_000, random: () => 0.9 },
    );
    const controller = new AbortController();
    const reading = store.get('a', undefined, { signal: controller.signal });
    await expect.poll(() => faults.calls.length).toBe(1);
    controller.abort();
    await expectCode('Interrupted', reading);
  });

  it('goes on with a list after the last key that came', async () => {
    const inner = new BreakingLists();
    const keys = Array.from({ length: 20 }, (_, i) => `k${String(i).padStart(2, '0')}`);
    for (const key of keys) await inner.put(key, x);
    const store = new RetryStore(inner, { delayMsMin: 0, attemptsMax: 2 });
    expect(await listAll(store, 'k')).toEqual(keys);
    expect(inner.starts).toEqual([undefined, 'k02', 'k05', 'k08', 'k11', 'k14', 'k17']);
    inner.keysPerList = 0;
    await expectCode('StoreUnavailable', listAll(store, 'k'));
  });

  it('repeats the parts of a stream, whose source it reads once', async () => {
    const { faults, store } = over(
      { on: 'uploadPart', probability: 0.5, effect: { kind: 'applyThenFail' } },
      { attemptsMax: 50 },
    );
    const body = randomBytes(3 * limits.storeStreamPartBytes + 5);
    await store.putStream('a', Readable.from([body]));
    expect((await store.get('a')).equals(body)).toBe(true);
    expect(faults.calls.filter(({ operation }) => operation === 'uploadPart').length).toBeGreaterThan(4);
  });

  it('ends a stream that is still coming when a part is lost for good', async () => {
    const { faults, store } = over({ on: 'uploadPart', effect: { kind: 'fail', code: 'StoreDenied' } });
    const source = new Readable({ read: () => undefined });
    source.push(Buffer.alloc(limits.storeStreamPartBytes + 1));
    await expectCode('StoreDenied', store.putStream('a', source));
    expect(source.destroyed).toBe(true);
    expect(faults.calls.at(-1)?.operation).toBe('abortMultipart');
  });
});

/** Lists that break after a few keys. */
class BreakingLists extends MemoryStore {
  readonly starts: (string | undefined)[] = [];
  keysPerList = 3;

  override async *list(prefix: string, options?: CallOptions & { startAfter?: string }) {
    this.starts.push(options?.startAfter);
    let keys = 0;
    for await (const info of super.list(prefix, options)) {
      if (keys++ === this.keysPerList) throw new ArtifactError('StoreUnavailable', 'the page was lost');
      yield info;
    }
  }
}

describe('LimitStore', () => {
  /** Calls are held inside the store until the test lets them go on, in the order of their arrival. */
  class HeldStore extends MemoryStore {
    readonly arrived: string[] = [];
    readonly #waiting: (() => void)[] = [];
    running = 0;

    override async get(key: string): Promise<Buffer> {
      return this.#held(key);
    }

    override async putIfAbsent(key: string) {
      await this.#held(key);
      return { etag: '' };
    }

    release(): void {
      this.#waiting.shift()?.();
    }

    async #held(key: string): Promise<Buffer> {
      this.arrived.push(key);
      this.running++;
      await new Promise<void>((resolve) => this.#waiting.push(resolve));
      this.running--;
      if (key.startsWith('fail')) throw new ArtifactError('StoreUnavailable', key);
      return x;
    }
  }
  const turn = () => new Promise<void>((resolve) => setImmediate(resolve));
  const bulk = { offset: 0, length: 1 << 20 };

  it('keeps to the limit and serves a class in the order of its calls', async () => {
    const inner = new HeldStore();
    const store = new LimitStore(inner, 4);
    const calls = Array.from({ length: 20 }, (_, i) => store.get(`${i}`));
    for (let i = 0; i < 20; i++) {
      await turn();
      expect(inner.running).toBe(Math.min(4, 20 - i));
      inner.release();
    }
    await Promise.all(calls);
    expect(inner.arrived).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`));
  });

  it('lets creates and small reads pass a crowd of transfers, and the crowd go on', async () => {
    const inner = new HeldStore();
    const store = new LimitStore(inner, 8);
    const calls: Promise<unknown>[] = Array.from({ length: 30 }, (_, i) => store.get(`bulk${i}`, bulk));
    await turn();
    expect(inner.running).toBe(7); // one slot stays free for what is urgent
    calls.push(store.putIfAbsent('create', x));
    await turn();
    expect(inner.arrived.at(-1)).toBe('create');
    for (let i = 0; i < 40; i++) calls.push(store.get(`small${i}`));
    for (let i = 0; i < 12; i++) {
      inner.release();
      await turn();
    }
    const later = inner.arrived.slice(8).map((key) => key.replace(/\d+/, ''));
    // Three urgent ones, then one of the crowd.
    expect(later.filter((key) => key === 'bulk').length).toBe(3);
    expect(later.filter((key) => key === 'small').length).toBe(9);
    while (inner.arrived.length < 71 || inner.running > 0) {
      inner.release();
      await turn();
    }
    await Promise.all(calls);
  });

  it('frees the slot of a call that fails, and forgets one that is interrupted while it waits', async () => {
    const inner = new HeldStore();
    const store = new LimitStore(inner, 1);
    const failing = store.get('fail');
    const controller = new AbortController();
    const waiting = store.get('interrupted', undefined, { signal: controller.signal });
    const last = store.get('last');
    controller.abort();
    await expectCode('Interrupted', waiting);
    inner.release();
    await expectCode('StoreUnavailable', failing);
    await turn();
    inner.release();
    expect(await last).toEqual(x);
    expect(inner.arrived).toEqual(['fail', 'last']);
  });

  it('never runs too many and never forgets one, whatever comes', async () => {
    const call = fc.record({
      bulk: fc.boolean(),
      fails: fc.boolean(),
      abortAfter: fc.option(fc.nat({ max: 30 })),
    });
    await fc.assert(
      fc.asyncProperty(
        fc.integer({ min: 1, max: 9 }),
        fc.array(call, { maxLength: 40 }),
        async (limit, calls) => {
          const inner = new HeldStore();
          const store = new LimitStore(inner, limit);
          const controllers = calls.map(() => new AbortController());
          const settled = Promise.allSettled(
            calls.map((each, i) =>
              store.get(`${each.fails ? 'fail' : 'ok'}${i}`, each.bulk ? bulk : undefined, {
                signal: controllers[i]?.signal ?? AbortSignal.abort(),
              }),
            ),
          );
          for (let step = 0; step < 80; step++) {
            await turn();
            expect(inner.running).toBeLessThanOrEqual(limit);
            for (const [i, each] of calls.entries()) if (each.abortAfter === step) controllers[i]?.abort();
            inner.release();
          }
          const results = await settled;
          for (const [i, result] of results.entries()) {
            const served = inner.arrived.includes(`${calls[i]?.fails ? 'fail' : 'ok'}${i}`);
            const code = result.status === 'rejected' ? result.reason.code : 'ok';
            expect(code).toBe(!served ? 'Interrupted' : calls[i]?.fails ? 'StoreUnavailable' : 'ok');
          }
        },
      ),
      { numRuns: runs(60) },
    );
  });
});

describe('LogStore', () => {
  it('writes one line per call, with what it was, how much and how long', async () => {
    const lines: [Record<string, unknown>, string][] = [];
    const store = new LogStore(new MemoryStore('memory:test'), { debug: (...line) => lines.push(line) });
    await store.put('a', [x, x]);
    await store.get('a');
    await store.get('a', { offset: 0, length: 1 });
    await listAll(store, '');
    await expectCode('NotFound', store.get('b'));
    const { url } = store;
    expect(lines.map(([fields, message]) => ({ ...fields, message, ms: typeof fields['ms'] }))).toEqual([
      { store: url, operation: 'put', key: 'a', bytes: 2, ms: 'number', message: 'store' },
      { store: url, operation: 'get', key: 'a', bytes: 2, ms: 'number', message: 'store' },
      { store: url, operation: 'get', key: 'a', bytes: 1, ms: 'number', message: 'store' },
      { store: url, operation: 'list', keys: 1, ms: 'number', message: 'store' },
      { store: url, operation: 'get', key: 'b', error: 'NotFound', ms: 'number', message: 'store' },
    ]);
  });
});

describe('FaultStore', () => {
  const over = (...faults: Fault[]) => new FaultStore(new MemoryStore(), { faults });

  it('hits the calls it is told, in order and so many times', async () => {
    const store = over({
      on: ['get', 'head'],
      key: /^b/,
      skip: 1,
      times: 2,
      effect: { kind: 'fail', code: 'Busy' },
    });
    for (const key of ['a', 'b']) await store.put(key, x);
    await store.get('a');
    await store.get('b');
    await expectCode('Busy', store.head('b'));
    await expectCode('Busy', store.get('b'));
    await store.get('b');
    store.add({ effect: { kind: 'fail' } });
    await expectCode('StoreUnavailable', store.put('c', x));
    store.clear();
    await store.put('c', x);
    expect(store.calls).toHaveLength(9);
  });

  it('fails before, after or long before the store does its part', async () => {
    const store = over(
      { key: /^before/, effect: { kind: 'fail' } },
      { key: /^after/, effect: { kind: 'applyThenFail' } },
      { key: /^late/, times: 1, effect: { kind: 'failThenApply', delayMs: 5 } },
    );
    for (const key of ['before', 'after', 'late']) await expectCode('StoreUnavailable', store.put(key, x));
    store.clear();
    expect(await listAll(store, '')).toEqual(['after']);
    await store.settled();
    expect(await listAll(store, '')).toEqual(['after', 'late']);
  });

  it('truncates, corrupts, delays, and calls back', async () => {
    const seen: StoreCall[] = [];
    const store = over(
      { key: /^short/, effect: { kind: 'truncate' } },
      { key: /^wrong/, on: 'get', effect: { kind: 'corrupt' } },
      { key: /^slow/, effect: { kind: 'delay', ms: 1 } },
      { key: /^seen/, effect: { kind: 'call', run: (call) => void seen.push(call) } },
      { on: 'list', key: /^never/, effect: { kind: 'fail' } },
    );
    for (const key of ['short', 'wrong', 'slow', 'seen']) await store.put(key, Buffer.from('0123'));
    await expectCode('Corrupt', store.get('short'));
    expect(String(await store.get('wrong'))).not.toBe('0123');
    expect(String(await store.get('slow'))).toBe('0123');
    await expectCode('StoreUnavailable', listAll(store, 'never'));
    expect(seen.map(({ operation }) => operation)).toEqual(['put']);
  });

  it('does the same again with the same seed', async () => {
    const run = async (seed: number) => {
      const faults: Fault[] = [{ probability: 0.3, effect: { kind: 'fail' } }];
      const store = new FaultStore(new MemoryStore(), { seed, faults });
      const results = [];
      for (let i = 0; i < 50; i++)
        results.push(
          await store.put('a', x).then(
            () => 1,
            () => 0,
          ),
        );
      return results.join('');
    };
    expect(await run(7)).toBe(await run(7));
    expect(await run(7)).not.toBe(await run(8));
  });
});
