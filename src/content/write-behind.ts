import { limits } from '../model/limits.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { Semaphore } from '../util/semaphore.js';

interface Waiter {
  readonly bytes: number;
  settle(hasRoom: boolean): void;
}

/**
 * Writes that nobody waits for, bounded in bytes. When too much waits already, a write is refused, or, if its caller is
 * patient, waits for its turn. How long callers wait in total is rationed: some hiccups are bridged, so that what is
 * fetched ends up in the cache as a rule, but a disk that is always slower than the network costs a twentieth of
 * the time and no more.
 */
export class WriteBehind {
  readonly #bytesMax: number;
  readonly #writers = new Semaphore(2);
  /** In the order they came. */
  readonly #waiting = new Set<Waiter>();
  #bytes = 0;
  #closed = false;
  /** The ration, as of `#rationAt`: it is used up while anybody waits and grows slowly while nobody does. */
  #rationMs: number = limits.cacheWriteWaitMsMax;
  #rationAt = performance.now();

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** Of writes that wait or run. */
  get bytes(): number {
    return this.#bytes;
  }

  /** Takes room for so many bytes, if there is: for `run` or `release`. */
  reserve(bytes: number): boolean {
    if (this.#closed || (this.#bytes > 0 && this.#bytes + bytes > this.#bytesMax)) return false;
    this.#bytes += bytes;
    return true;
  }

  /** The same, when it is the caller's turn. False: the ration is used up. */
  reserveLater(bytes: number): MaybePromise<boolean> {
    if (this.reserve(bytes)) return true;
    const leftMs = this.#closed ? 0 : this.#ration();
    if (leftMs <= 0) return false;
    return new Promise((resolve) => {
      const settle = (hasRoom: boolean): void => {
        clearTimeout(timer);
        this.#ration();
        this.#waiting.delete(waiter);
        resolve(hasRoom);
      };
      const waiter: Waiter = { bytes, settle };
      const timer = setTimeout(() => settle(false), leftMs);
      this.#waiting.add(waiter);
    });
  }

  /** Does a write that has its room. Resolves, or rejects with its error, when it is done. */
  async run(bytes: number, write: () => Promise<void>): Promise<void> {
    try {
      await this.#writers.run(write);
    } finally {
      this.release(bytes);
    }
  }

  release(bytes: number): void {
    this.#bytes -= bytes;
    this.#wake();
  }

  /** Nothing waits or is accepted any more. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  #wake(): void {
    for (const { bytes, settle } of this.#waiting) {
      const hasRoom = this.reserve(bytes);
      if (!hasRoom && !this.#closed) return;
      settle(hasRoom);
    }
  }

  #ration(): number {
    const now = performance.now();
    const passed = now - this.#rationAt;
    this.#rationAt = now;
    const change = this.#waiting.size > 0 ? -passed : passed * limits.cacheWriteWaitShare;
    this.#rationMs = Math.min(limits.cacheWriteWaitMsMax, this.#rationMs + change);
    return this.#rationMs;
  }
}
