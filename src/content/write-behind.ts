import { limits } from '../model/limits.js';
import { type Deferred, deferred } from '../util/deferred.js';
import { Semaphore } from '../util/semaphore.js';

/**
 * Writes that nobody waits for, bounded in bytes. When too much waits already, a write is refused, or, if its caller is
 * patient, waits for its turn. How long callers wait in total is rationed: some hiccups are bridged, so that what is
 * fetched ends up in the cache as a rule, but a disk that is always slower than the network costs a twentieth of
 * the time and no more.
 */
export class WriteBehind {
  readonly #bytesMax: number;
  readonly #writers = new Semaphore(2);
  readonly #waiting = new Set<Deferred<void>>();
  #bytes = 0;
  #closed = false;
  /** The ration, as of `#rationAt`: it is used up while anybody waits and grows slowly while nobody does. */
  #rationMs: number = limits.cacheWriteWaitMsMax;
  #rationAt = performance.now();

  constructor(bytesMax: number) {
    this.#bytesMax = bytesMax;
  }

  /** There is room for so many bytes now. */
  accepts(bytes: number): boolean {
    return !this.#closed && (this.#bytes === 0 || this.#bytes + bytes <= this.#bytesMax);
  }

  /** Resolves when there is room, or the ration is used up. Go on in the same turn: others wait for the same room. */
  async room(bytes: number): Promise<void> {
    while (!this.#closed && !this.accepts(bytes)) {
      const leftMs = this.#ration();
      if (leftMs <= 0) return;
      const turn = deferred();
      const timer = setTimeout(() => turn.resolve(), leftMs);
      this.#waiting.add(turn);
      await turn.promise;
      this.#ration();
      this.#waiting.delete(turn);
      clearTimeout(timer);
    }
  }

  /** Runs `write` when its turn comes. Resolves, or rejects with its error, when it is done. */
  async run(bytes: number, write: () => Promise<void>): Promise<void> {
    this.#bytes += bytes;
    try {
      await this.#writers.run(write);
    } finally {
      this.#bytes -= bytes;
      this.#wake();
    }
  }

  /** Nothing waits or is accepted any more. */
  close(): void {
    this.#closed = true;
    this.#wake();
  }

  #wake(): void {
    for (const turn of this.#waiting) turn.resolve();
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
