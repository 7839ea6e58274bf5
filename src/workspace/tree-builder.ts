import { compareEntries, type Entry } from '../model/entry.js';
import { limits } from '../model/limits.js';
import { Boundaries } from './boundary.js';
import { ChangeQueue } from './change-pages.js';
import { isSameThing } from './entry-compare.js';
import { encodeMetarange } from './metarange-codec.js';
import { compressRange, RangeEncoder, type RangeText } from './range-codec.js';
import { ReadAhead } from './read-ahead.js';
import type { ChangeSummary, TreeRef } from './records.js';
import { Slices } from './slices.js';
import type { Piece } from './tree-store.js';
import type { Metarange, RangeRef, TreeChange, TreeChanges } from './trees.js';

export interface TreeInput {
  /** The tree that is changed; null for none. */
  readonly base: Metarange | null;
  readonly root: Entry;
  /** In tree order, without the root. */
  readonly changes: TreeChanges;
  /** Added to the base's. */
  readonly inoPrefixes: readonly number[];
}

/** Where a builder reads old ranges and puts new pieces. */
export interface TreeIo {
  read(range: RangeRef): Promise<Entry[]>;
  write(bytes: Buffer): Promise<Piece>;
  /** Resolves when everything written is stored. */
  finish(): Promise<void>;
}

/** How many entries a range has about, and at most. */
export interface RangeSizes {
  readonly target: number;
  readonly max: number;
}

export interface BuiltTree {
  readonly tree: TreeRef;
  readonly metarange: Metarange;
  readonly summary: ChangeSummary;
}

const defaultSizes: RangeSizes = { target: limits.rangeEntriesTarget, max: limits.rangeEntriesMax };

/**
 * Writes the tree that is `base` with `changes`. Ranges that no change falls into are taken over by reference; the
 * others are rewritten one by one, so memory holds a few ranges at a time, however large the tree.
 */
export async function buildTree(
  io: TreeIo,
  input: TreeInput,
  sizes: RangeSizes = defaultSizes,
): Promise<BuiltTree> {
  const merge = new RangeMerge(io, input.base?.ranges ?? [], input.changes, sizes);
  const ranges = await merge.run();
  const { totals } = merge;
  const metarange: Metarange = {
    kind: 'artifactfs.metarange',
    formatVersion: 1,
    root: input.root,
    ranges,
    entries: (input.base?.entries ?? 0) + totals.entries,
    bytes: (input.base?.bytes ?? 0) + totals.bytes,
    inoPrefixes: [...new Set([...(input.base?.inoPrefixes ?? []), ...input.inoPrefixes])],
  };
  const piece = await io.write(await encodeMetarange(metarange));
  await io.finish();
  const tree: TreeRef = { ...piece, entries: metarange.entries, bytes: metarange.bytes };
  return {
    tree,
    metarange,
    summary: { added: totals.added, changed: totals.changed, removed: totals.removed },
  };
}

class RangeMerge {
  /** Differences to the base; `changed` leaves out directories whose names or times alone changed. */
  readonly totals = { entries: 0, bytes: 0, added: 0, changed: 0, removed: 0 };
  readonly #base: readonly RangeRef[];
  readonly #changes: ChangeQueue;
  readonly #reads: ReadAhead;
  readonly #output: RangeOutput;
  readonly #slices = new Slices();

  constructor(io: TreeIo, base: readonly RangeRef[], changes: TreeChanges, sizes: RangeSizes) {
    this.#base = base;
    this.#changes = new ChangeQueue(changes);
    this.#reads = new ReadAhead(
      (range) => io.read(range),
      base,
      (index) => this.#wantedAfter(index),
    );
    this.#output = new RangeOutput(io, sizes);
  }

  async run(): Promise<RangeRef[]> {
    for (const [i, range] of this.#base.entries()) {
      await this.#changes.fill();
      if (!this.#isIn(i, this.#changes.first) && this.#output.mayCut()) await this.#output.reuse(range);
      else await this.#merge(i, await this.#reads.get(i));
    }
    await this.#merge(this.#base.length, []);
    return this.#output.finish();
  }

  /**
   * Whether a change, which is after all earlier ranges, belongs to this one: it is up to its last key. The last range also
   * takes what comes after it, unless it ends where any writer would end it. What no range takes comes after all.
   */
  #isIn(index: number, change: TreeChange | undefined): change is TreeChange {
    const range = this.#base[index];
    if (change === undefined || range === undefined) return change !== undefined;
    return (
      compareEntries(change, range.last) <= 0 ||
      (index === this.#base.length - 1 && !this.#output.isFull(range))
    );
  }

  /** Ranges that will be read, as far as changes are known. */
  *#wantedAfter(index: number): Iterable<number> {
    let end = this.#base[index]?.last;
    let known = 0;
    for (let i = index + 1; i < this.#base.length; i++) {
      if (end !== undefined) known = this.#changes.knownUpTo(end, known);
      end = undefined;
      const change = this.#changes.known(known);
      if (change === undefined) return;
      if (!this.#isIn(i, change)) continue;
      yield i;
      end = this.#base[i]?.last;
    }
  }

  /** The entries of a range of the base, with the changes that belong to it. */
  async #merge(index: number, entries: readonly Entry[]): Promise<void> {
    for (let i = 0; ; ) {
      if (this.#changes.isLow) {
        await this.#changes.fill();
        this.#reads.ahead(index);
      }
      const entry = entries[i] ?? null;
      const { first } = this.#changes;
      const change = this.#isIn(index, first) ? first : null;
      if (entry === null && change === null) return;
      const order = entry === null ? -1 : change === null ? 1 : compareEntries(change, entry);
      const after = order > 0 ? entry : (change?.after ?? null);
      if (order >= 0) i++;
      if (order <= 0) this.#changes.take();
      const isFull = this.#emit(order >= 0 ? entry : null, after);
      if (isFull) await this.#output.cut();
      if (this.#slices.due()) await this.#slices.turn();
    }
  }

  /** True when the range must be cut now. */
  #emit(before: Entry | null, after: Entry | null): boolean {
    if (before !== after) this.#count(before, after);
    return after !== null && this.#output.add(after);
  }

  #count(before: Entry | null, after: Entry | null): void {
    const { totals } = this;
    totals.entries += (after === null ? 0 : 1) - (before === null ? 0 : 1);
    totals.bytes += fileBytes(after) - fileBytes(before);
    if (before === null) totals.added += after === null ? 0 : 1;
    else if (after === null) totals.removed++;
    else if (before.kind !== 'dir' || !isSameThing(before, after)) totals.changed++;
  }
}

/** Cuts entries into ranges, compresses a few of them at a time, and keeps the references in order. */
class RangeOutput {
  readonly #io: TreeIo;
  readonly #sizes: RangeSizes;
  readonly #boundaries: Boundaries;
  readonly #encoder = new RangeEncoder();
  readonly #ranges: Promise<RangeRef>[] = [];

  constructor(io: TreeIo, sizes: RangeSizes) {
    this.#io = io;
    this.#sizes = sizes;
    this.#boundaries = new Boundaries(sizes.target);
  }

  /** True when the range must be cut now. */
  add(entry: Entry): boolean {
    this.#encoder.add(entry);
    return (
      this.#encoder.count >= this.#sizes.max ||
      this.#encoder.units >= limits.rangeBytesTarget ||
      this.#boundaries.endsRange(entry.dir, entry.name)
    );
  }

  /** True when an old boundary may be a new one: what is collected is nothing, or enough to be a range. */
  mayCut(): boolean {
    return this.#encoder.count === 0 || this.#encoder.count >= this.#sizes.target / 4;
  }

  /** Whether an existing range ends where this output would end it too. */
  isFull(range: RangeRef): boolean {
    return range.entries >= this.#sizes.max || this.#boundaries.endsRange(range.last.dir, range.last.name);
  }

  async reuse(range: RangeRef): Promise<void> {
    await this.cut();
    this.#ranges.push(Promise.resolve(range));
  }

  async cut(): Promise<void> {
    const range = this.#encoder.take();
    if (range === undefined) return;
    const stored = this.#store(range);
    // `finish` reports it; until then a failure must not count as unhandled.
    stored.catch(() => undefined);
    this.#ranges.push(stored);
    await this.#ranges.at(-compressedAtOnce);
  }

  finish(): Promise<RangeRef[]> {
    return this.cut().then(() => Promise.all(this.#ranges));
  }

  async #store(range: RangeText): Promise<RangeRef> {
    const piece = await this.#io.write(await compressRange(range));
    return { ...piece, entries: range.entries, first: range.first, last: range.last };
  }
}

const compressedAtOnce = 3;

const fileBytes = (entry: Entry | null): number => (entry?.kind === 'file' ? entry.size : 0);
