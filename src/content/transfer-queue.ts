import type { MaybePromise } from '../util/maybe-promise.js';

/** A transfer waiting for its turn, or running. */
export interface Transfer<T> {
  readonly promise: Promise<T>;
  /** Somebody waits for it now. */
  hurry(): void;
}

interface Waiting {
  readonly bytes: number;
  readonly start: () => void;
}

/**
 * Bounds what is on its way from the store: by count, and by bytes, because each transfer holds its buffer. Transfers
 * somebody waits for start before those made ahead. One transfer larger than the byte limit runs alone.
 */
export class TransferQueue {
  readonly #countMax: number;
  readonly #bytesMax: number;
  readonly #urgent = new Set<Waiting>();
  readonly #ahead = new Set<Waiting>();
  #count = 0;
  #bytes = 0;

  constructor(countMax: number, bytesMax: number) {
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
  }

  get active(): number {
    return this.#count;
  }

  /**
   * Runs `body` when its turn comes. What `after` answers delays the next transfer, but not the result: so a slow taker
   * of the bytes slows down the queue and nobody who waits.
   */
  run<T>(
    bytes: number,
    urgent: boolean,
    body: () => Promise<T>,
    after: (value: T) => MaybePromise<void> = () => {},
  ): Transfer<T> {
    let start = () => {};
    const started = new Promise<void>((resolve) => {
      start = resolve;
    });
    const waiting: Waiting = { bytes, start };
    (urgent ? this.#urgent : this.#ahead).add(waiting);
    const promise = started.then(body);
    promise
      .then(after)
      .catch(() => {})
      .finally(() => {
        this.#count--;
        this.#bytes -= bytes;
        this.#next();
      });
    this.#next();
    const hurry = () => {
      if (this.#ahead.delete(waiting)) this.#urgent.add(waiting);
    };
    return { promise, hurry };
  }

  #next(): void {
    for (;;) {
      const queue = this.#urgent.size > 0 ? this.#urgent : this.#ahead;
      const [waiting] = queue;
      if (waiting === undefined || this.#count >= this.#countMax) return;
      if (this.#bytes > 0 && this.#bytes + waiting.bytes > this.#bytesMax) return;
      queue.delete(waiting);
      this.#count++;
      this.#bytes += waiting.bytes;
      waiting.start();
    }
  }
}
