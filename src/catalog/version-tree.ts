import { compareEntries, compareNames, type Entry, splitPath } from '../model/entry.js';
import { LoopTurn } from '../util/loop-turn.js';
import { isPromise, type MaybePromise } from '../util/maybe-promise.js';
import type { TreeRef } from '../workspace/records.js';
import type { Metarange, RangeRef, TreeChange } from '../workspace/trees.js';
import type { VersionTree } from './ports.js';
import type { DirectoryInterval } from './range-reader.js';
import type { RangeStore } from './range-store.js';

/** A version's tree over the ranges of the catalog. Holds no rows itself, so it may be kept or dropped freely. */
export class CatalogTree implements VersionTree {
  readonly ref: TreeRef;
  readonly root: Entry;
  readonly inoPrefixes: readonly number[];
  readonly #artifactId: string;
  readonly #ranges: readonly RangeRef[];
  readonly #store: RangeStore;
  /** Where the last look-up ended: the next is mostly in the same range. */
  #last = 0;

  constructor(artifactId: string, ref: TreeRef, metarange: Metarange, store: RangeStore) {
    this.ref = ref;
    this.root = metarange.root;
    this.inoPrefixes = metarange.inoPrefixes;
    this.#artifactId = artifactId;
    this.#ranges = metarange.ranges;
    this.#store = store;
  }

  lookup(dir: string, name: string): MaybePromise<Entry | undefined> {
    if (name === '') return dir === '' ? this.root : undefined;
    const key = { dir, name };
    const last = this.#ranges[this.#last];
    const index = last !== undefined && covers(last, key) ? this.#last : this.#firstEndingAt(key);
    const range = this.#ranges[index];
    if (range === undefined || !covers(range, key)) return undefined;
    this.#last = index;
    return this.#read(index, range, (id) => this.#store.reader.entry(id, dir, name));
  }

  list(dir: string, after: string | null, limit: number): MaybePromise<Entry[]> {
    const from = { dir, name: after ?? '' };
    return this.#listOn(this.#firstEndingAfter(from), from, limit, []);
  }

  /** Goes on from range `index`; turns into a promise at the first range that must be fetched. */
  #listOn(index: number, from: Key, limit: number, found: Entry[]): MaybePromise<Entry[]> {
    for (let at = index; found.length < limit; at++) {
      const range = this.#ranges[at];
      if (range === undefined || compareNames(range.first.dir, from.dir) > 0) break;
      const part = this.#read(at, range, (id) =>
        this.#store.reader.list(id, from.dir, from.name, limit - found.length),
      );
      if (isPromise(part)) return part.then((rows) => this.#listOn(at + 1, from, limit, append(found, rows)));
      if (found.length === 0) found = part;
      else append(found, part);
    }
    return found;
  }

  following(path: string, limit: number): readonly Entry[] {
    const after = splitPath(path);
    const found: Entry[] = [];
    for (let at = this.#firstEndingAfter(after); found.length < limit; at++) {
      const range = this.#ranges[at];
      if (range === undefined) break;
      if (!this.#store.has(range)) {
        this.#store.prefetch(this.#artifactId, range);
        break;
      }
      const from = compareEntries(range.first, after) > 0 ? null : after;
      const rows = this.#read(at, range, (id) =>
        this.#store.reader.scan(id, { from: '', to: null }, from, limit - found.length),
      );
      if (isPromise(rows)) break;
      append(found, rows);
    }
    return found;
  }

  async *walk(dir: string): AsyncGenerator<Entry, void> {
    for await (const page of this.walkPages(dir)) yield* page;
  }

  async *walkPages(dir: string): AsyncGenerator<readonly Entry[], void> {
    if (dir === '') {
      yield* this.#walkInterval(everything);
      return;
    }
    // Between a directory and its sub-directories lie its siblings with a character below '/': a, a-b, a.c, a/b.
    yield* this.#walkInterval({ from: dir, to: `${dir}\0` });
    yield* this.#walkInterval({ from: `${dir}/`, to: `${dir}${afterSlash}` });
  }

  async *walkUnlike(other: VersionTree): AsyncGenerator<Entry, void> {
    const shared = new Set(other instanceof CatalogTree ? other.#ranges.map(({ sha256 }) => sha256) : []);
    for (const [at, range] of this.#ranges.entries())
      if (!shared.has(range.sha256))
        for await (const page of this.#walkRange(at, range, everything)) yield* page;
  }

  async inherit(base: VersionTree, changes: readonly TreeChange[]): Promise<void> {
    if (!(base instanceof CatalogTree)) return;
    for (const [at, range] of this.#ranges.entries()) {
      const old = this.#store.has(range) ? undefined : base.#sameSpan(range, this.#ranges[at - 1]);
      if (old === undefined) continue;
      const before = this.#ranges[at - 1]?.last;
      const isIn = (key: Key) =>
        compareEntries(key, range.last) <= 0 && (before === undefined || compareEntries(key, before) > 0);
      await this.#store.derive(range, old, changes.filter(isIn));
    }
  }

  /** The range that begins after `before`, as `range` does, and ends where it ends. */
  #sameSpan(range: RangeRef, before: RangeRef | undefined): RangeRef | undefined {
    const at = this.#firstEndingAt(range.last);
    const [found, previous] = [this.#ranges[at], this.#ranges[at - 1]];
    if (found === undefined || compareEntries(found.last, range.last) !== 0) return undefined;
    if (previous === undefined || before === undefined) return previous === before ? found : undefined;
    return compareEntries(previous.last, before.last) === 0 ? found : undefined;
  }

  async *#walkInterval(interval: DirectoryInterval): AsyncGenerator<readonly Entry[], void> {
    let at = this.#firstEndingAt({ dir: interval.from, name: '' });
    for (; ; at++) {
      const range = this.#ranges[at];
      if (range === undefined) return;
      if (interval.to !== null && compareNames(range.first.dir, interval.to) >= 0) return;
      yield* this.#walkRange(at, range, interval);
    }
  }

  async *#walkRange(
    at: number,
    range: RangeRef,
    interval: DirectoryInterval,
  ): AsyncGenerator<readonly Entry[], void> {
    let after: Entry | null = null;
    const turn = new LoopTurn();
    for (;;) {
      const rows: Entry[] = await this.#read(at, range, (id) =>
        this.#store.reader.scan(id, interval, after, walkPageEntries),
      );
      yield rows;
      // Rows of loaded ranges come without waiting, so a long walk would let nobody else have the event loop.
      if (turn.isOver) await turn.next();
      if (rows.length < walkPageEntries) break;
      after = rows.at(-1) ?? null;
    }
  }

  /** Reads range `index`; fetches it when needed, and the one after it when they are being read in order. */
  #read<T>(index: number, range: RangeRef, read: (rangeId: number) => T): MaybePromise<T> {
    if (!this.#store.has(range)) {
      const before = this.#ranges[index - 1];
      const next = this.#ranges[index + 1];
      const value = this.#store.with(this.#artifactId, range, (loaded) => read(loaded.id));
      if (before !== undefined && next !== undefined && this.#store.has(before)) {
        this.#store.prefetch(this.#artifactId, next);
      }
      return value;
    }
    return this.#store.with(this.#artifactId, range, (loaded) => read(loaded.id));
  }

  /** Index of the first range whose last key is `key` or after it. */
  #firstEndingAt(key: Key): number {
    return this.#search((range) => compareEntries(range.last, key) >= 0);
  }

  #firstEndingAfter(key: Key): number {
    return this.#search((range) => compareEntries(range.last, key) > 0);
  }

  /** Index of the first range for which `reached` holds; it holds for all ranges from there on. */
  #search(reached: (range: RangeRef) => boolean): number {
    let low = 0;
    let high = this.#ranges.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const range = this.#ranges[middle];
      if (range !== undefined && reached(range)) high = middle;
      else low = middle + 1;
    }
    return low;
  }
}

const everything: DirectoryInterval = { from: '', to: null };

interface Key {
  readonly dir: string;
  readonly name: string;
}

/** The character after '/': every path below 'a' is at least 'a/' and less than 'a0'. */
const afterSlash = String.fromCharCode('/'.charCodeAt(0) + 1);

/** Rows decoded between two chances for other work; about a millisecond. */
const walkPageEntries = 500;

const covers = (range: RangeRef, key: Key): boolean =>
  compareEntries(range.first, key) <= 0 && compareEntries(range.last, key) >= 0;

function append(found: Entry[], more: readonly Entry[]): Entry[] {
  for (const entry of more) found.push(entry);
  return found;
}
