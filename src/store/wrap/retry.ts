import type { Readable } from 'node:stream';
import { isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { type Backoff, backoffMs, pause, repeatableCodes } from '../backoff.js';
import { checkRange } from '../keys.js';
import type {
  ByteRange,
  CallOptions,
  GetOptions,
  ObjectInfo,
  ObjectStore,
  ProgressOptions,
  PutResult,
} from '../object-store.js';
import { putStreamByParts } from '../put-stream.js';
import { type StoreCall, WrappedStore } from './wrapped-store.js';

export interface RetryOptions extends Backoff {
  /** The store repeats the parts of a stream by itself: `putStream` is left to it. Default no. */
  readonly storeRepeatsParts?: boolean;
  /** Rejects at the signal; for tests. */
  readonly sleep?: (ms: number, signal: AbortSignal | undefined) => Promise<unknown>;
}

/**
 * Repeats calls that failed with `StoreUnavailable` (throttling among them) or `Busy`, after a random time below a
 * bound that doubles. Never `putIfAbsent`: whether it took effect is the caller's question. `putStream` cannot be
 * repeated, as its source is gone, so it goes by parts, which can, unless the store sees to that.
 */
export class RetryStore extends WrappedStore {
  readonly #attemptsMax: number;
  readonly #getAttemptsMax: number;
  readonly #backoff: Backoff;
  readonly #storeRepeatsParts: boolean;
  readonly #sleep: (ms: number, signal: AbortSignal | undefined) => Promise<unknown>;

  constructor(inner: ObjectStore, options: RetryOptions = {}) {
    super(inner);
    this.#attemptsMax = options.attemptsMax ?? limits.storeAttemptsMax;
    this.#getAttemptsMax = options.attemptsMax ?? limits.storeGetAttemptsMax;
    this.#backoff = options;
    this.#storeRepeatsParts = options.storeRepeatsParts ?? false;
    this.#sleep = options.sleep ?? pause;
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

  /**
   * What came of a range before a failure is kept: only the rest is asked for again. An answer that is not what it must be
   * (`Corrupt`) is not believed before several in a row are: each may have been cut or damaged on its way.
   */
  override async get(key: string, range?: ByteRange, options?: GetOptions): Promise<Buffer> {
    if (range !== undefined) checkRange(key, range);
    const into = range === undefined ? null : (options?.into ?? Buffer.allocUnsafeSlow(range.length));
    let done = 0;
    let damaged = 0;
    for (let attempt = 1; ; attempt++) {
      const from = done;
      const onReceived = (bytes: number): void => {
        done = from + bytes;
        options?.onReceived?.(done);
      };
      try {
        if (range === undefined || into === null) return await this.inner.get(key, undefined, options);
        const rest = { offset: range.offset + from, length: range.length - from };
        await this.inner.get(key, rest, { ...options, into: into.subarray(from), onReceived });
        return into;
      } catch (error) {
        if (into !== null && done === into.length) return into;
        if (done - from >= limits.storeGetProgressBytes) attempt = 1;
        if (!isCode(error, 'Corrupt')) {
          damaged = 0;
          await this.#waitOrThrow(error, attempt, options?.signal, this.#getAttemptsMax);
        } else if (++damaged < limits.storeDamagedGetsMax) await this.#wait(damaged, options?.signal);
        else throw error;
      }
    }
  }

  override putStream(
    key: string,
    source: Readable,
    options?: CallOptions & ProgressOptions,
  ): Promise<PutResult & { size: number }> {
    return this.#storeRepeatsParts
      ? this.inner.putStream(key, source, options)
      : putStreamByParts(this, key, source, options);
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

  async #waitOrThrow(
    error: unknown,
    attempt: number,
    signal: AbortSignal | undefined,
    attemptsMax = this.#attemptsMax,
  ): Promise<void> {
    if (!isCode(error, ...repeatableCodes) || attempt >= attemptsMax) throw error;
    await this.#wait(attempt, signal);
  }

  async #wait(attempt: number, signal: AbortSignal | undefined): Promise<void> {
    await this.#sleep(backoffMs(attempt, this.#backoff), signal);
  }
}
