import { type Entry, type Extent, entryPath } from '../../model/entry.js';
import { limits } from '../../model/limits.js';
import type { FileOrder, WalkPlace } from '../ports.js';
import type { BlockFetcher } from './block-fetcher.js';
import type { MemoryCache } from './object-blocks.js';
import type { AheadHolder, ReadAheadBudget } from './read-ahead.js';

export interface WalkParts {
  readonly fetcher: BlockFetcher;
  readonly memory: MemoryCache;
  readonly readAhead: ReadAheadBudget;
  readonly objectKey: (artifactId: string, object: string) => string;
}

export interface WalkStatistics {
  /** Of files that were not read yet, asked for because those before them were. */
  readonly aheadBytes: number;
  /** Of these, of files that nobody read while it was remembered. */
  readonly wastedBytes: number;
  /** Walks that are remembered, */
  readonly walks: number;
  /** and files that may be read next in them. */
  readonly files: number;
}

/**
 * Who reads one file after the other in the order of the tree (tar, cp -r, grep -r) finds the next ones there. What is
 * fetched ahead stays in proportion to what was read, and to the read-ahead budget: two files read of many cost little.
 */
export class Walks {
  readonly #parts: WalkParts;
  readonly #walks = new WeakMap<FileOrder, Walk[]>();
  /** Of all orders: the one that went on longest ago comes first. */
  readonly #all = new Set<Walk>();
  readonly #counts: WalkCounts = { aheadBytes: 0, wastedBytes: 0, files: 0 };

  constructor(parts: WalkParts) {
    this.#parts = parts;
  }

  statistics(): WalkStatistics {
    return { ...this.#counts, walks: this.#all.size };
  }

  /** The first read of an open file of `size` bytes. `isCold`: its bytes were not in memory. */
  began(artifactId: string, { order, path }: WalkPlace, size: number, isCold: boolean): void {
    const walks = this.#walks.get(order);
    if (walks !== undefined) {
      for (let i = walks.length - 1; i >= 0; i--) {
        const walk = walks[i];
        if (walk === undefined || !walk.expects(path)) continue;
        if (i !== walks.length - 1) walks.push(...walks.splice(i, 1));
        this.#all.delete(walk);
        this.#all.add(walk);
        walk.step(path, size);
        this.#forgetOldest();
        return;
      }
    }
    if (!isCold) return;
    const walk = new Walk(artifactId, order, path, this.#parts, this.#counts);
    this.#all.add(walk);
    if (walks === undefined) this.#walks.set(order, [walk]);
    else {
      walks.push(walk);
      const [oldest] = walks;
      if (walks.length > limits.walksMax && oldest !== undefined) this.#forget(oldest);
    }
    this.#forgetOldest();
  }

  /** Versions are many, and each may have been read here and there. */
  #forgetOldest(): void {
    for (const walk of this.#all) {
      const isEnough = this.#all.size <= limits.walksAllMax && this.#counts.files <= limits.walkFilesAllMax;
      if (isEnough || this.#all.size === 1) return;
      this.#forget(walk);
    }
  }

  #forget(walk: Walk): void {
    this.#all.delete(walk);
    const walks = this.#walks.get(walk.order) ?? [];
    const at = walks.indexOf(walk);
    if (at >= 0) walks.splice(at, 1);
    this.#parts.readAhead.forget(walk);
    this.#counts.files -= walk.files;
  }
}

interface WalkCounts {
  aheadBytes: number;
  wastedBytes: number;
  files: number;
}

interface Upcoming {
  readonly entry: Entry;
  /** Its place in the walk. */
  readonly number: number;
  /** Asked for already; 0: not yet. */
  aheadBytes: number;
}

interface Span {
  readonly object: string;
  readonly start: number;
  end: number;
}

class Walk implements AheadHolder {
  usedAt = 0;
  readonly order: FileOrder;
  readonly #artifactId: string;
  readonly #parts: WalkParts;
  readonly #counts: WalkCounts;
  /** Files that may be read next, by path, in order. Those asked for come first. */
  readonly #upcoming = new Map<string, Upcoming>();
  /** The last path that was looked at. */
  #frontier: string;
  #last: Upcoming | null = null;
  #hasEnded = false;
  /** Of the upcoming files, how many were not asked for. */
  #unasked = 0;
  #steps = 0;
  #readBytes = 0;
  #aheadBytes = 0;

  constructor(artifactId: string, order: FileOrder, path: string, parts: WalkParts, counts: WalkCounts) {
    this.#artifactId = artifactId;
    this.order = order;
    this.#parts = parts;
    this.#counts = counts;
    this.#frontier = path;
    this.#look(limits.walkNearFiles);
  }

  /** How many may be read next. */
  get files(): number {
    return this.#upcoming.size;
  }

  /** Until some were read in order it is only believed of the nearest: others read at random. */
  expects(path: string): boolean {
    if (!this.#upcoming.has(path)) return false;
    if (this.#steps >= limits.walkStepsMin) return true;
    let at = 0;
    for (const near of this.#upcoming.keys()) {
      if (near === path) return true;
      if (++at === limits.walkNearFiles) break;
    }
    return false;
  }

  /** One of those expected is read. The ones before it may still come: readers overtake each other. */
  step(path: string, size: number): void {
    const { readAhead } = this.#parts;
    readAhead.used(this);
    this.#steps++;
    this.#readBytes += size;
    this.#pass(path);
    if (this.#steps < limits.walkStepsMin) return;
    const wanted = Math.max(limits.getBytesMin, this.#readBytes * 4);
    const window = Math.min(limits.readWindowBytesMax, wanted);
    // Not at each step: what follows each other in a pack is asked for in one piece.
    if (this.#aheadBytes * 2 <= window && this.#mayAskMore()) this.#ahead(window);
  }

  /** Somebody else needs the budget, or nobody reads on. */
  settle(budget: ReadAheadBudget): void {
    budget.give(this.#aheadBytes);
    this.#counts.wastedBytes += this.#aheadBytes;
    this.#aheadBytes = 0;
    for (const upcoming of this.#upcoming.values()) upcoming.aheadBytes = 0;
    this.#unasked = this.#upcoming.size;
  }

  /** False when a way through all that is known would find nothing: at the end of a tree at each step. */
  #mayAskMore(): boolean {
    return this.#unasked > 0 || !(this.#hasEnded || this.#upcoming.size >= limits.walkFilesMax);
  }

  #pass(path: string): void {
    const number = this.#upcoming.get(path)?.number ?? 0;
    this.#take(path, true);
    // Not at each step: the way to the first leads past all that were removed since the map was rebuilt.
    if (this.#steps % limits.walkNearFiles === 0) {
      for (const [other, upcoming] of this.#upcoming) {
        if (number - upcoming.number <= limits.walkOvertakenMax) break;
        this.#take(other, false);
      }
    }
    if (this.#upcoming.size < limits.walkNearFiles) this.#look();
  }

  #take(path: string, isRead: boolean): void {
    const upcoming = this.#upcoming.get(path);
    if (upcoming === undefined) return;
    const { aheadBytes } = upcoming;
    this.#upcoming.delete(path);
    this.#counts.files--;
    if (aheadBytes === 0) this.#unasked--;
    this.#parts.readAhead.give(aheadBytes);
    this.#aheadBytes -= aheadBytes;
    if (!isRead) this.#counts.wastedBytes += aheadBytes;
  }

  #look(count: number = limits.walkFilesAtOnce): void {
    if (this.#hasEnded || this.#upcoming.size >= limits.walkFilesMax) return;
    const found = this.order.following(this.#frontier, count);
    for (const entry of found) {
      if (entry.kind !== 'file' || entry.size === 0) continue;
      this.#last = { entry, number: (this.#last?.number ?? 0) + 1, aheadBytes: 0 };
      this.#upcoming.set(entryPath(entry), this.#last);
      this.#counts.files++;
      this.#unasked++;
    }
    const last = found.at(-1);
    if (last === undefined) this.#hasEnded = true;
    else this.#frontier = entryPath(last);
  }

  /** Asks for files until `window` bytes are on their way, or there and not read. */
  #ahead(window: number): void {
    const fileBytesMax = Math.max(limits.readWindowBytesMin, window / 8);
    const spans: Span[] = [];
    const ends = new Map<string, number>();
    let isFull = false;
    // What is looked up meanwhile is visited, too.
    for (const upcoming of this.#upcoming.values()) {
      const { entry } = upcoming;
      noteEnds(ends, entry.extents ?? []);
      if (!isFull && upcoming.aheadBytes === 0) {
        const bytes = Math.min(entry.size, fileBytesMax);
        isFull = this.#aheadBytes + bytes > window || !this.#parts.readAhead.take(this, bytes);
        if (!isFull) {
          upcoming.aheadBytes = bytes;
          this.#unasked--;
          this.#aheadBytes += bytes;
          this.#counts.aheadBytes += bytes;
          addSpans(spans, entry.extents ?? [], bytes);
        }
      }
      if (!isFull && upcoming === this.#last) this.#look();
    }
    for (const span of spans) this.#fetch(span, ends.get(span.object) ?? span.end);
  }

  /** `knownEnd`: the object is at least so long, so that the last block comes in its full length. */
  #fetch({ object, start, end }: Span, knownEnd: number): void {
    const { memory, fetcher, objectKey } = this.#parts;
    const blocks = memory.acquire(objectKey(this.#artifactId, object));
    blocks.noteEnd(knownEnd);
    const getBytes = Math.max(limits.getBytesMin, Math.ceil((end - start) / limits.packGets));
    const asked = fetcher.ahead(blocks, start, end - start, Math.min(getBytes, limits.getBytesMax));
    if (asked === undefined) memory.release(blocks);
    else void asked.finally(() => memory.release(blocks));
  }
}

function noteEnds(ends: Map<string, number>, extents: readonly Extent[]): void {
  for (const { object, offset, length } of extents) {
    if (object !== null) ends.set(object, Math.max(ends.get(object) ?? 0, offset + length));
  }
}

/** The first `bytes` of a file, joined with what lies just before them in the same object. */
function addSpans(spans: Span[], extents: readonly Extent[], bytes: number): void {
  let left = bytes;
  for (const { object, offset, length } of extents) {
    if (left <= 0) return;
    const wanted = Math.min(left, length);
    left -= wanted;
    if (object === null) continue;
    const last = spans.at(-1);
    const follows = last?.object === object && offset >= last.start && offset - last.end <= limits.blockBytes;
    if (last !== undefined && follows) last.end = Math.max(last.end, offset + wanted);
    else spans.push({ object, start: offset, end: offset + wanted });
  }
}
