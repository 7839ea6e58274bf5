import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { Body } from '../../src/store/object-store.js';
import { writerKey } from '../../src/workspace/keys.js';
import { readWriter, WriterLease } from '../../src/workspace/writer-lease.js';

/** A clock that goes on to the next moment at which somebody wants to wake, when nobody has anything to do. */
class Time {
  nowMs = 0;
  readonly #sleepers = new Set<{ atMs: number; wake: () => void }>();

  sleep(ms: number, signal?: AbortSignal): Promise<void> {
    return new Promise((resolve, reject) => {
      const sleeper = {
        atMs: this.nowMs + ms,
        wake: () => {
          signal?.removeEventListener('abort', end);
          resolve();
        },
      };
      const end = () => {
        this.#sleepers.delete(sleeper);
        reject(new ArtifactError('Interrupted', 'told to'));
      };
      if (signal?.aborted === true) return end();
      signal?.addEventListener('abort', end, { once: true });
      this.#sleepers.add(sleeper);
    });
  }

  async pass(ms: number, each: () => void = () => undefined): Promise<void> {
    const endMs = this.nowMs + ms;
    for (;;) {
      for (let turn = 0; turn < 12; turn++) await new Promise(setImmediate);
      each();
      const next = [...this.#sleepers].sort((a, b) => a.atMs - b.atMs)[0];
      if (next === undefined || next.atMs > endMs) break;
      this.#sleepers.delete(next);
      this.nowMs = Math.max(this.nowMs, next.atMs);
      next.wake();
    }
    this.nowMs = endMs;
  }
}

interface Weather {
  readonly delayMs: () => number;
  /** A PUT that is not answered, and may be carried out so much later; null: it is answered. */
  readonly lostMs: () => number | null;
}

/** One machine's way to a store that others use, too. */
class Way extends MemoryStore {
  isCut = false;
  /** That PUTs take besides. */
  putMs = 0;
  readonly #shared: MemoryStore;
  readonly #time: Time;
  readonly #weather: Weather;

  constructor(shared: MemoryStore, time: Time, weather: Weather) {
    super();
    this.#shared = shared;
    this.#time = time;
    this.#weather = weather;
  }

  override async get(...args: Parameters<MemoryStore['get']>) {
    await this.#travel();
    const answer = await this.#shared.get(...args);
    await this.#travel();
    return answer;
  }

  override async head(...args: Parameters<MemoryStore['head']>) {
    await this.#travel();
    return this.#shared.head(...args);
  }

  override async put(key: string, body: Body) {
    await this.#travel();
    if (this.putMs > 0) await this.#time.sleep(this.putMs);
    const lostMs = this.#weather.lostMs();
    if (lostMs !== null) {
      void this.#time.sleep(lostMs).then(() => this.#shared.put(key, body));
      throw new ArtifactError('StoreUnavailable', 'no answer');
    }
    const answer = await this.#shared.put(key, body);
    await this.#travel();
    return answer;
  }

  async #travel(): Promise<void> {
    await this.#time.sleep(this.#weather.delayMs());
    if (this.isCut) throw new ArtifactError('StoreUnavailable', 'no answer');
  }
}

const fair: Weather = { delayMs: () => 10, lostMs: () => null };
const leases: WriterLease[] = [];
const time = new Time();
afterEach(endAll);

async function endAll(): Promise<void> {
  const ended = Promise.all(leases.splice(0).map((lease) => lease[Symbol.asyncDispose]()));
  await time.pass(60_000);
  await ended;
}

function machine(shared: MemoryStore, host: string, weather = fair) {
  const way = new Way(shared, time, weather);
  const lease = new WriterLease({
    store: way,
    ...{ host, user: 'ada', mount: `/mnt/${host}` },
    nowMs: () => time.nowMs,
    sleep: (ms, signal) => time.sleep(ms, signal),
  });
  leases.push(lease);
  return { way, lease };
}

/** What a call came to while the time passed: 'done', its error, or undefined when it still waits. */
async function outcome(ms: number, call: Promise<unknown>): Promise<unknown> {
  let found: unknown;
  call.then(
    () => (found = 'done'),
    (error: unknown) => (found = error),
  );
  await time.pass(ms);
  return found;
}

describe('the lease of the one writer', () => {
  test('is had after a moment where nobody has it; who comes later is told who has it, at its next sign of life', async () => {
    const store = new MemoryStore();
    const [a, b] = [machine(store, 'a'), machine(store, 'b')];
    expect(await outcome(limits.writerSettleMs + 100, a.lease.take())).toBe('done');
    await a.lease.claim();
    const refused = await outcome(limits.writerRenewMs + 2_000, b.lease.take());
    expect(refused).toMatchObject({ code: 'Busy' });
    expect((refused as ArtifactError).message).toContain('ada@a (mounted at /mnt/a) is the one writer');
    await time.pass(300_000);
    expect(a.lease.leftMs()).toBeGreaterThan(limits.writerWriteMsMin);
    expect(a.lease.refusal()).toBeNull();
  });

  test('goes at once to the next when it was let go, and only when it is over when its holder died', async () => {
    const store = new MemoryStore();
    const [a, b, c] = [machine(store, 'a'), machine(store, 'b'), machine(store, 'c')];
    expect(await outcome(5_000, a.lease.take())).toBe('done');
    expect(await outcome(5_000, a.lease[Symbol.asyncDispose]())).toBe('done');
    expect(await readWriter(store)).toMatchObject({ host: 'a', released: true });
    expect(await outcome(5_000, b.lease.take())).toBe('done');
    b.way.isCut = true;
    const taking = c.lease.take();
    expect(await outcome(limits.writerLeaseMs, taking)).toBeUndefined();
    expect(await outcome(15_000, taking)).toBe('done');
    expect(b.lease.leftMs()).toBeLessThan(0);
  });

  test('is over here when it cannot be renewed; it is had again when nobody else took it, and never when somebody did', async () => {
    const store = new MemoryStore();
    const [a, b] = [machine(store, 'a'), machine(store, 'b')];
    expect(await outcome(5_000, a.lease.take())).toBe('done');
    a.way.isCut = true;
    await time.pass(limits.writerLeaseMs + 2_000);
    expect(a.lease.refusal()).toContain('could not be renewed');
    expect(await outcome(0, a.lease.claim())).toMatchObject({ code: 'ReadOnly' });
    a.way.isCut = false;
    await time.pass(60_000);
    expect(a.lease.refusal()).toBeNull();
    await a.lease.claim();
    a.way.isCut = true;
    expect(await outcome(60_000, b.lease.take())).toBe('done');
    a.way.isCut = false;
    await time.pass(60_000);
    expect(a.lease.refusal()).toContain('ada@b');
    expect(await outcome(0, a.lease.claim())).toMatchObject({ code: 'ReadOnly' });
    await b.lease.claim();
  });

  test('is not had by who wrote it so late that others may have believed to have it', async () => {
    const store = new MemoryStore();
    const [a, b] = [machine(store, 'a'), machine(store, 'b')];
    b.way.putMs = limits.writerSettleMs + 2_000;
    const late = b.lease.take();
    expect(await outcome(limits.writerSettleMs + 1_000, a.lease.take())).toBe('done');
    late.catch(() => undefined);
    await time.pass(60_000, () =>
      expect([a, b].filter(({ lease }) => lease.leftMs() > 0).length).toBeLessThan(2),
    );
  });

  test('is not kept by who renewed it too late', async () => {
    const store = new MemoryStore();
    const [a, b] = [machine(store, 'a'), machine(store, 'b')];
    expect(await outcome(5_000, a.lease.take())).toBe('done');
    a.way.isCut = true;
    const taking = b.lease.take();
    await time.pass(limits.writerLeaseMs - 8_000);
    // Sent in time, it arrives when the other has looked twice and has waited.
    a.way.putMs = 16_000;
    a.way.isCut = false;
    const both = () => [a, b].filter(({ lease }) => lease.leftMs() > 0).length;
    await time.pass(3_000, () => expect(both()).toBeLessThan(2));
    await time.pass(60_000, () => expect(both()).toBeLessThan(2));
    await expect(taking).resolves.toBeUndefined();
  });

  test('that cannot be read is not guessed', async () => {
    const store = new MemoryStore();
    await store.put(writerKey, Buffer.from('{"kind":"something else"}'));
    const { lease } = machine(store, 'a');
    expect(await outcome(5_000, lease.take())).toMatchObject({ code: 'Corrupt' });
  });

  test('is never had by two, whatever comes late, is lost, or dies', async () => {
    let had = 0;
    await fc.assert(
      fc.asyncProperty(fc.infiniteStream(fc.nat(999)), async (stream) => {
        const draw = (below: number): number => {
          const { value } = stream.next();
          return ((value as number) * below) / 1000;
        };
        const weather: Weather = {
          delayMs: () => (draw(1) < 0.9 ? draw(400) : draw(9_000)),
          lostMs: () => (draw(1) < 0.9 ? null : draw(90_000)),
        };
        const store = new MemoryStore();
        const machines = [1, 2, 3].map((n) => machine(store, `m${n}`, weather));
        const atMostOne = () => {
          const holders = machines.filter(({ lease }) => lease.leftMs() > 0).length;
          expect(holders).toBeLessThan(2);
          had += holders;
        };
        for (let step = 0; step < 25; step++) {
          for (const { way, lease } of machines) {
            way.isCut = draw(1) < 0.25;
            lease.take().catch(() => undefined);
          }
          await time.pass(draw(30_000), atMostOne);
        }
        for (const { way } of machines) way.isCut = true;
        await endAll();
      }),
      { seed: 7, numRuns: 40, endOnFailure: true },
    );
    // It proves something only where somebody has it.
    expect(had).toBeGreaterThan(1_000);
  }, 120_000);
});
