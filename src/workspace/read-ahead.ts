import type { Entry } from '../model/entry.js';
import type { RangeRef } from './trees.js';

const rangesAhead = 2;

/** Reads ranges a little before they are asked for, so that a distant store costs its latency once. */
export class ReadAhead {
  readonly #read: (range: RangeRef) => Promise<Entry[]>;
  readonly #ranges: readonly RangeRef[];
  readonly #started = new Map<number, Promise<Entry[]>>();
  readonly #wanted: number[];
  #next = 0;

  /** `isWanted` tells which of `ranges` will surely be asked for, by index; any may be, in ascending order. */
  constructor(
    read: (range: RangeRef) => Promise<Entry[]>,
    ranges: readonly RangeRef[],
    isWanted: (index: number) => boolean = () => true,
  ) {
    this.#read = read;
    this.#ranges = ranges;
    this.#wanted = [...ranges.keys()].filter(isWanted);
  }

  get(index: number): Promise<Entry[]> {
    const entries = this.#start(index);
    this.#started.delete(index);
    while ((this.#wanted[this.#next] ?? Number.POSITIVE_INFINITY) <= index) this.#next++;
    for (const ahead of this.#wanted.slice(this.#next, this.#next + rangesAhead)) void this.#start(ahead);
    return entries;
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
