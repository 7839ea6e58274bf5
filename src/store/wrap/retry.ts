import type { Readable } from 'node:stream';
import { setTimeout } from 'node:timers/promises';
import { isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { interrupted, throwIfAborted } from '../keys.js';
import type { CallOptions, ObjectInfo, ObjectStore, ProgressOptions, PutResult } from '../object-store.js';
import { putStreamByParts } from '../put-stream.js';
import { type StoreCall, WrappedStore } from './wrapped-store.js';

export interface RetryOptions {
  /** The first attempt included. */
  readonly attemptsMax?: number;
  readonly delayMsMin?: number;
  readonly delayMsMax?: number;
  /** In [0, 1); for tests. */
  readonly random?: () => number;
  /** Rejects at the signal; for tests. */
  readonly sleep?: (ms: number, signal: AbortSignal | undefined) => Promise<unknown>;
}

/**
 * Repeats calls that failed with `StoreUnavailable` (throttling among them) or `Busy`, after a random time below a
 * bound that doubles. Never `putIfAbsent`: whether it took effect is the caller's question. `putStream` cannot be
 * repeated, as its source is gone, so it goes by parts, which can.
 */
export class RetryStore extends WrappedStore {
  readonly #attemptsMax: number;
  readonly #delayMsMin: number;
  readonly #delayMsMax: number;
  readonly #random: () => number;
  readonly #sleep: (ms: number, signal: AbortSignal | undefined) => Promise<unknown>;

  constructor(inner: ObjectStore, options: RetryOptions = {}) {
    super(inner);
    this.#attemptsMax = options.attemptsMax ?? limits.storeAttemptsMax;
    this.#delayMsMin = options.delayMsMin ?? limits.storeRetryDelayMsMin;
    this.#delayMsMax = options.delayMsMax ?? limits.storeRetryDelayMsMax;
    this.#random = options.random ?? Math.random;
    this.#sleep = options.sleep ?? sleep;
  }

  protected override async around<T>(call: StoreCall, run: () => Promise<T>): Promise<T> {
    if (call.operation === 'putIfAbsent') return run();
    for (let attempt = 1; ; attempt++) {
      try {
        return await run();
      } catch (error) {
        await this.#waitOrThrow(error, attempt, call.signal);
      }
    }
  }

  override putStream(
    key: string,
    source: Readable,
    options?: CallOptions & ProgressOptions,
  ): Promise<PutResult & { size: number }> {
    return putStreamByParts(this, key, source, options);
  }

  /** Goes on after the last key that arrived; each key that arrives earns new attempts. */
  override async *list(
    prefix: string,
    options?: CallOptions & { startAfter?: string },
  ): AsyncIterable<ObjectInfo> {
    let startAfter = options?.startAfter;
    let attempt = 1;
    for (;;) {
      try {
        const rest = startAfter === undefined ? options : { ...options, startAfter };
        for await (const info of this.inner.list(prefix, rest)) {
          startAfter = info.key;
          attempt = 1;
          yield info;
        }
        return;
      } catch (error) {
        await this.#waitOrThrow(error, attempt++, options?.signal);
      }
    }
  }

  async #waitOrThrow(error: unknown, attempt: number, signal: AbortSignal | undefined): Promise<void> {
    if (!isCode(error, 'StoreUnavailable', 'Busy') || attempt >= this.#attemptsMax) throw error;
    throwIfAborted(signal);
    const bound = Math.min(this.#delayMsMax, this.#delayMsMin * 2 ** (attempt - 1));
    try {
      await this.#sleep(bound * this.#random(), signal);
    } catch (cause) {
      if (signal?.aborted === true) throw interrupted(signal, cause);
      throw cause;
    }
  }
}

const sleep = (ms: number, signal: AbortSignal | undefined): Promise<unknown> =>
  setTimeout(ms, undefined, signal === undefined ? {} : { signal });
