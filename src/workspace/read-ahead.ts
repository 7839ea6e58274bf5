import type { Entry } from '../model/entry.js';
import type { RangeRef } from './trees.js';

const rangesAhead = 2;

/** Reads ranges a little before they are asked for, so that a distant store costs its latency once. */
export class ReadAhead {
  readonly #read: (range: RangeRef) => Promise<Entry[]>;
  readonly #ranges: readonly RangeRef[];
  readonly #started = new Map<number, Promise<Entry[]>>();
  readonly #wantedAfter: (index: number) => Iterable<number>;

  /**
   * Any of `ranges` may be asked for, by index, in ascending order. `wantedAfter` tells which will surely be after `index`,
   * as far as it is known.
   */
  constructor(
    read: (range: RangeRef) => Promise<Entry[]>,
    ranges: readonly RangeRef[],
    wantedAfter: (index: number) => Iterable<number> = (index) => indexesFrom(index + 1, ranges.length),
  ) {
    this.#read = read;
    this.#ranges = ranges;
    this.#wantedAfter = wantedAfter;
  }

  get(index: number): Promise<Entry[]> {
    const entries = this.#start(index);
    this.#started.delete(index);
    this.ahead(index);
    return entries;
  }

  /** Asks for the first ones that will be wanted after `index`. */
  ahead(index: number): void {
    let left = rangesAhead;
    for (const wanted of this.#wantedAfter(index)) {
      void this.#start(wanted);
      if (--left === 0) return;
    }
  }

  #start(index: number): Promise<Entry[]> {
    const started = this.#started.get(index);
    if (started !== undefined) return started;
    const range = this.#ranges[index];
    const entries = range === undefined ? Promise.resolve([]) : this.#read(range);
    // Whoever gets it is told of a failure; until then it must not count as unhandled.
    entries.catch(() => undefined);
    this.#started.set(index, entries);
    return entries;
  }
}

function* indexesFrom(first: number, end: number): Iterable<number> {
  for (let index = first; index < end; index++) yield index;
}
