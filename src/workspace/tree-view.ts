import { compareEntries, type Entry, entryPath } from '../model/entry.js';
import { Slices } from './slices.js';
import type { Metarange, RangeRef } from './trees.js';

export interface EntryKey {
  readonly dir: string;
  readonly name: string;
}

/** Looks into a stored tree, reading only the ranges it must, one at a time. */
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
    for (const range of this.metarange.ranges) {
      while (isBefore(keys[next], range.first)) next++;
      const key = keys[next];
      if (key === undefined) break;
      if (compareEntries(key, range.last) > 0) continue;
      for (const entry of await this.#read(range)) {
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
    if (dirs.size === 0) return;
    const sorted = [...dirs].map((dir) => ({ dir, name: '' })).sort(compareEntries);
    let next = 0;
    for (const range of this.metarange.ranges) {
      // A directory that began before this range may go on in it.
      while (isBefore(sorted[next], { dir: range.first.dir, name: '' })) next++;
      const key = sorted[next];
      if (key === undefined) return;
      if (compareEntries(key, range.last) > 0) continue;
      for (const entry of await this.#read(range)) if (dirs.has(entry.dir)) yield entry;
    }
  }

  /** Every entry of the tree. */
  async *all(): AsyncGenerator<Entry> {
    for (const range of this.metarange.ranges) yield* await this.#read(range);
  }
}

const isBefore = (key: EntryKey | undefined, other: EntryKey): boolean =>
  key !== undefined && compareEntries(key, other) < 0;
