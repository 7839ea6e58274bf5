import { limits } from '../../model/limits.js';
import { type Deferred, deferred } from '../../util/deferred.js';
import type { MaybePromise } from '../../util/maybe-promise.js';

interface Waiter {
  readonly bytes: number;
  settle(hasRoom: boolean): void;
}

interface Queued<Item> {
  readonly item: Item;
  readonly bytes: number;
  readonly done: Deferred<void>;
}

/**
 * Writes that nobody waits for, bounded in bytes. A few run at a time; what waits for the same place meanwhile is written
 * together, because the way to a thread and back takes as long as writing a piece.
 *
 * Their room: When too much waits already, a write is refused, or, if its caller is
 * patient, waits for its turn. How long callers wait in total is rationed: some hiccups are bridged, so that what is
 * fetched ends up in the cache as a rule, but a disk that is always slower than the network costs a twentieth of
 * the time and no more.
 */
export class WriteBehind<Place, Item> {
  readonly #bytesMax: number;
  readonly #write: (place: Place, items: readonly Item[]) => Promise<void>;
  /** What has its room and waits for a writer. The place that waits longest comes first. */
  readonly #queues = new Map<Place, Queued<Item>[]>();
  #writers = 0;
  /** In the order they came. */
  readonly #waiting = new Set<Waiter>();
  #bytes = 0;
  #closed = false;
  /** The ration, as of `#rationAt`: it is used up while anybody waits and grows slowly while nobody does. */
  #rationMs: number = limits.cacheWriteWaitMsMax;
  #rationAt = performance.now();

  constructor(bytesMax: number, write: (place: Place, items: readonly Item[]) => Promise<void>) {
    this.#bytesMax = bytesMax;
    this.#write = write;
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

  /** Writes what has its room, of so many bytes. Resolves, or rejects with the error of the write it is part of, when it is done. */
  run(place: Place, item: Item, bytes: number): Promise<void> {
    const done = deferred();
    const queue = this.#queues.get(place) ?? [];
    this.#queues.set(place, queue);
    queue.push({ item, bytes, done });
    this.#begin();
    return done.promise;
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

  #begin(): void {
    while (this.#writers < limits.cacheWritersMax) {
      const [first] = this.#queues;
      if (first === undefined) return;
      const [place, queue] = first;
      const next = takeRun(queue);
      this.#queues.delete(place);
      if (queue.length > 0) this.#queues.set(place, queue);
      this.#writers++;
      void this.#run(place, next);
    }
  }

  async #run(place: Place, queued: readonly Queued<Item>[]): Promise<void> {
    try {
      await this.#write(
        place,
        queued.map(({ item }) => item),
      );
      for (const { done } of queued) done.resolve();
    } catch (error) {
      for (const { done } of queued) done.reject(error);
    }
    this.#writers--;
    this.#begin();
    this.release(queued.reduce((sum, { bytes }) => sum + bytes, 0));
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

/** Takes out of the queue what is written next: one at least. */
function takeRun<Item>(queue: Queued<Item>[]): Queued<Item>[] {
  let count = 0;
  for (let bytes = 0; count < queue.length; count++) {
    bytes += queue[count]?.bytes ?? 0;
    if (count > 0 && bytes > limits.cacheWriteRunBytesMax) break;
  }
  return queue.splice(0, count);
}
