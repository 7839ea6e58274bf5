import type { MaybePromise } from '../util/maybe-promise.js';

/** A transfer waiting for its turn, or running. */
export interface Transfer<T> {
  readonly promise: Promise<T>;
  /** Somebody waits for it now. */
  hurry(): void;
}

interface Waiting {
  readonly bytes: number;
  readonly owner: string;
  readonly start: () => void;
}

interface Usage {
  count: number;
  bytes: number;
}

/**
 * Bounds what is on its way from the store: by count, and by bytes, because each transfer holds its buffer. Transfers
 * somebody waits for start before those made ahead. One transfer larger than a byte limit runs alone.
 */
export class TransferQueue {
  readonly #countMax: number;
  readonly #bytesMax: number;
  readonly #ownerShare: number;
  readonly #urgent = new Set<Waiting>();
  readonly #ahead = new Set<Waiting>();
  readonly #owners = new Map<string, Usage>();
  readonly #all: Usage = { count: 0, bytes: 0 };

  /**
   * One owner takes at most `ownerShare` of the whole, so that one whose transfers do not come leaves room for the
   * others.
   */
  constructor(countMax: number, bytesMax: number, ownerShare = 1) {
    this.#ownerShare = ownerShare;
    this.#countMax = countMax;
    this.#bytesMax = bytesMax;
  }

  /** Bytes of those that run. */
  get activeBytes(): number {
    return this.#all.bytes;
  }

  get active(): number {
    return this.#all.count;
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
    owner = '',
  ): Transfer<T> {
    let start = () => {};
    const started = new Promise<void>((resolve) => {
      start = resolve;
    });
    const waiting: Waiting = { bytes, owner, start };
    (urgent ? this.#urgent : this.#ahead).add(waiting);
    const promise = started.then(body);
    promise
      .then(after)
      .catch(() => {})
      .finally(() => {
        this.#end(waiting);
        this.#next();
      });
    this.#next();
    const hurry = () => {
      if (!this.#ahead.delete(waiting)) return;
      this.#urgent.add(waiting);
      this.#next();
    };
    return { promise, hurry };
  }

  #next(): void {
    for (;;) {
      const waiting = this.#first(this.#urgent) ?? this.#first(this.#ahead);
      if (waiting === undefined || waiting === 'full') return;
      (this.#urgent.has(waiting) ? this.#urgent : this.#ahead).delete(waiting);
      this.#begin(waiting);
      waiting.start();
    }
  }

  /** The one that came first of those whose owner has room; `full` when there is no room for it at all. */
  #first(queue: ReadonlySet<Waiting>): Waiting | 'full' | undefined {
    const full = new Set<string>();
    for (const waiting of queue) {
      // In an owner's own order: a small one does not overtake a large one that waits for room.
      if (full.has(waiting.owner)) continue;
      if (!this.#ownerHasRoom(waiting)) full.add(waiting.owner);
      else return hasRoom(this.#all, waiting.bytes, this.#countMax, this.#bytesMax) ? waiting : 'full';
    }
    return undefined;
  }

  #ownerHasRoom({ owner, bytes }: Waiting): boolean {
    const usage = this.#owners.get(owner);
    const share = this.#ownerShare;
    return usage === undefined || hasRoom(usage, bytes, this.#countMax * share, this.#bytesMax * share);
  }

  #begin({ owner, bytes }: Waiting): void {
    const usage = this.#owners.get(owner) ?? { count: 0, bytes: 0 };
    this.#owners.set(owner, usage);
    for (const each of [this.#all, usage]) {
      each.count++;
      each.bytes += bytes;
    }
  }

  #end({ owner, bytes }: Waiting): void {
    const usage = this.#owners.get(owner);
    for (const each of usage === undefined ? [this.#all] : [this.#all, usage]) {
      each.count--;
      each.bytes -= bytes;
    }
    if (usage?.count === 0) this.#owners.delete(owner);
  }
}

const hasRoom = (usage: Usage, bytes: number, countMax: number, bytesMax: number): boolean =>
  usage.count < Math.max(1, Math.floor(countMax)) && (usage.bytes === 0 || usage.bytes + bytes <= bytesMax);
