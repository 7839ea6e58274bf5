import { setTimeout } from 'node:timers/promises';
import { ArtifactError, type ErrorCode } from '../../model/errors.js';
import { interrupted, wrongLength } from '../keys.js';
import type {
  Body,
  CallOptions,
  ObjectInfo,
  ObjectStore,
  PartInfo,
  PutOptions,
  PutResult,
} from '../object-store.js';
import { type StoreCall, type StoreOperation, WrappedStore } from './wrapped-store.js';

export interface Fault {
  /** Absent: any operation. */
  readonly on?: StoreOperation | readonly StoreOperation[];
  /** Matched against the key (the prefix of a list). Absent: any key. */
  readonly key?: RegExp;
  /** Matching calls that are let through first. Default 0. */
  readonly skip?: number;
  /** Calls it hits before it is used up. Default: no end. */
  readonly times?: number;
  /** Share of matching calls it hits, drawn from the seed. Default 1. */
  readonly probability?: number;
  readonly effect: FaultEffect;
}

export type FaultEffect =
  /** The store does not see the call. Default code `StoreUnavailable`. */
  | { readonly kind: 'fail'; readonly code?: ErrorCode }
  /** The store carries it out; the answer is lost. */
  | { readonly kind: 'applyThenFail'; readonly code?: ErrorCode }
  /** The answer is lost at once, and the store carries the call out later. */
  | { readonly kind: 'failThenApply'; readonly delayMs: number }
  | { readonly kind: 'delay'; readonly ms: number }
  /** A get gives half of the bytes, which every store must notice. */
  | { readonly kind: 'truncate' }
  /** A get gives bytes of which one is wrong. */
  | { readonly kind: 'corrupt' }
  /** Runs code at the right moment, before the store sees the call: to race with it, or to kill the process. */
  | { readonly kind: 'call'; readonly run: (call: StoreCall) => void | Promise<void> };

interface ActiveFault {
  readonly fault: Fault;
  seen: number;
  hits: number;
}

/** A store with scripted faults, for tests. The same seed and the same calls give the same faults. */
export class FaultStore extends WrappedStore {
  /** Every call that came, in order. */
  readonly calls: StoreCall[] = [];
  #faults: ActiveFault[] = [];
  readonly #random: () => number;
  readonly #late = new Set<Promise<unknown>>();

  constructor(
    inner: ObjectStore,
    options: { readonly seed?: number; readonly faults?: readonly Fault[] } = {},
  ) {
    super(inner);
    this.#random = randomFrom(options.seed ?? 1);
    for (const fault of options.faults ?? []) this.add(fault);
  }

  /** The first fault that matches a call is the one it gets. */
  add(fault: Fault): void {
    this.#faults.push({ fault, seen: 0, hits: 0 });
  }

  clear(): void {
    this.#faults = [];
  }

  /** Resolves when everything that was to be applied late is applied. */
  async settled(): Promise<void> {
    while (this.#late.size > 0) await Promise.allSettled(this.#late);
  }

  protected override async around<T>(call: StoreCall, run: () => Promise<T>): Promise<T> {
    this.calls.push(call);
    const effect = this.#hit(call);
    switch (effect?.kind) {
      case undefined:
        return run();
      case 'fail':
        throw lost(call, effect.code);
      case 'applyThenFail':
        await run();
        throw lost(call, effect.code);
      case 'failThenApply':
        this.#applyLate(run, effect.delayMs);
        throw lost(call);
      case 'delay':
        await wait(effect.ms, call.signal);
        return run();
      case 'truncate':
        return truncated(call, await run());
      case 'corrupt':
        return corrupted(await run());
      case 'call':
        await effect.run(call);
        return run();
    }
  }

  /** What is applied late is what was sent then: chunks of a list are the caller's again when it failed. */
  override put(key: string, body: Body, options?: PutOptions): Promise<PutResult> {
    return super.put(key, ownBody(body), options);
  }

  override uploadPart(
    key: string,
    uploadId: string,
    part: number,
    body: Body,
    options?: PutOptions,
  ): Promise<PartInfo> {
    return super.uploadPart(key, uploadId, part, ownBody(body), options);
  }

  override async *list(
    prefix: string,
    options?: CallOptions & { startAfter?: string },
  ): AsyncIterable<ObjectInfo> {
    const call: StoreCall = { operation: 'list', key: prefix, signal: options?.signal };
    yield* await this.around(call, async () => this.inner.list(prefix, options));
  }

  #hit(call: StoreCall): FaultEffect | undefined {
    for (const active of this.#faults) {
      const { fault } = active;
      if (!matches(fault, call)) continue;
      if (active.seen++ < (fault.skip ?? 0)) continue;
      if (active.hits >= (fault.times ?? Number.POSITIVE_INFINITY)) continue;
      if (fault.probability !== undefined && this.#random() >= fault.probability) continue;
      active.hits++;
      return fault.effect;
    }
    return undefined;
  }

  #applyLate(run: () => Promise<unknown>, delayMs: number): void {
    const late = setTimeout(delayMs)
      .then(run)
      .catch(() => undefined) // nobody waits for it any more
      .finally(() => this.#late.delete(late));
    this.#late.add(late);
  }
}

function matches({ on, key }: Fault, call: StoreCall): boolean {
  const operations = on === undefined ? null : typeof on === 'string' ? [on] : on;
  return (operations === null || operations.includes(call.operation)) && (key?.test(call.key) ?? true);
}

const ownBody = (body: Body): Buffer => (Buffer.isBuffer(body) ? body : Buffer.concat(body));

const lost = ({ operation, key }: StoreCall, code: ErrorCode = 'StoreUnavailable'): ArtifactError =>
  new ArtifactError(code, `scripted fault in ${operation} ${key}`, { key });

async function wait(ms: number, signal: AbortSignal | undefined): Promise<void> {
  try {
    await setTimeout(ms, undefined, signal === undefined ? {} : { signal });
  } catch (cause) {
    if (signal?.aborted === true) throw interrupted(signal, cause);
    throw cause;
  }
}

/** A store may not hand out half of the bytes; it fails as a store does that notices. */
function truncated<T>({ key }: StoreCall, answer: T): T {
  if (!Buffer.isBuffer(answer)) return answer;
  throw wrongLength(key, answer.length, answer.length >> 1);
}

function corrupted<T>(answer: T): T {
  if (!Buffer.isBuffer(answer) || answer.length === 0) return answer;
  const middle = answer.length >> 1;
  answer.writeUInt8(answer.readUInt8(middle) ^ 0xff, middle);
  return answer;
}

/** mulberry32: small, fast, and the same everywhere. */
function randomFrom(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ (state >>> 15), state | 1);
    mixed ^= mixed + Math.imul(mixed ^ (mixed >>> 7), mixed | 61);
    return ((mixed ^ (mixed >>> 14)) >>> 0) / 2 ** 32;
  };
}
