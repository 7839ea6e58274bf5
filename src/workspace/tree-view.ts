import { compareEntries, type Entry, entryPath } from '../model/entry.js';
import { ReadAhead } from './read-ahead.js';
import { Slices } from './slices.js';
import type { Metarange, RangeRef } from './trees.js';

export interface EntryKey {
  readonly dir: string;
  readonly name: string;
}

/** Looks into a stored tree, reading only the ranges it must. */
export class TreeView {
  readonly metarange: Metarange;
  readonly #read: (range: RangeRef) => Promise<Entry[]>;
  readonly #slices = new Slices();

  constructor(metarange: Metarange, read: (range: RangeRef) => Promise<Entry[]>) {
    this.metarange = metarange;
    this.#read = read;
  }

  /** The entries at those of `keys` (in tree order, without repeats) that exist, by path. The root is found by ''. */
  async find(keys: readonly EntryKey[]): Promise<Map<string, Entry>> {
    const found = new Map<string, Entry>();
    let next = 0;
    const first = keys[0];
    if (first !== undefined && first.dir === '' && first.name === '') {
      found.set('', this.metarange.root);
      next = 1;
    }
    for await (const entries of this.#ranges(keys.slice(next))) {
      for (const entry of entries) {
        while (isBefore(keys[next], entry)) next++;
        const wanted = keys[next];
        if (wanted === undefined) break;
        if (compareEntries(wanted, entry) === 0) found.set(entryPath(entry), entry);
        if (this.#slices.due()) await this.#slices.turn();
      }
    }
    return found;
  }

  /** Every entry whose directory is one of `dirs`, in tree order. */
  async *children(dirs: ReadonlySet<string>): AsyncGenerator<Entry> {
    const sorted = [...dirs].map((dir) => ({ dir, name: '' })).sort(compareEntries);
    // A directory that began before a range may go on in it.
    for await (const entries of this.#ranges(sorted, (range) => ({ dir: range.first.dir, name: '' })))
      for (const entry of entries) if (dirs.has(entry.dir)) yield entry;
  }

  /** Every entry of the tree. */
  async *all(): AsyncGenerator<Entry> {
    for await (const entries of this.#readAll(this.metarange.ranges)) yield* entries;
  }

  /** The ranges in which one of `keys` may lie. */
  #ranges(
    keys: readonly EntryKey[],
    firstOf: (range: RangeRef) => EntryKey = (range) => range.first,
  ): AsyncGenerator<Entry[]> {
    let next = 0;
    const wanted = this.metarange.ranges.filter((range) => {
      while (isBefore(keys[next], firstOf(range))) next++;
      const key = keys[next];
      return key !== undefined && compareEntries(key, range.last) <= 0;
    });
    return this.#readAll(wanted);
  }

  async *#readAll(ranges: readonly RangeRef[]): AsyncGenerator<Entry[]> {
    const reads = new ReadAhead(this.#read, ranges);
    for (const index of ranges.keys()) yield reads.get(index);
  }
}

const isBefore = (key: EntryKey | undefined, other: EntryKey): boolean =>
  key !== undefined && compareEntries(key, other) < 0;
