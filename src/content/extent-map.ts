import type { Extent } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';

/** Where a piece of a staged file's bytes is. A gap between extents is a hole (zeros). */
export type Source =
  /** In the store: key relative to the artifact's prefix. */
  | { readonly type: 'object'; readonly object: string; readonly offset: number }
  /** In staging file `file`, at `offset`. */
  | { readonly type: 'local'; readonly file: number; readonly offset: number };

export interface MapExtent {
  readonly start: number;
  readonly length: number;
  readonly source: Source;
}

/** One extent: `[start, length, staging file or object key, offset]`; without offset it equals `start`. */
export type ExtentRow = [number, number, number | string, number?];

const none: readonly number[] = [];

/**
 * Where each byte of one file is: extents sorted by start, not overlapping, gaps are holes. Extents are values that
 * are replaced, never changed, so `pieces` may hand them out. Knows nothing of the file's size.
 *
 * INVARIANT: every extent has length > 0; each starts at or after the end of the one before; two neighbours that
 * touch and whose sources continue each other are one extent.
 */
export class ExtentMap {
  #extents: MapExtent[] = [];
  #bytes = 0;
  #localBytes = 0;

  static of(extents: Iterable<MapExtent>): ExtentMap {
    const map = new ExtentMap();
    for (const { start, length, source } of extents) map.set(start, length, source);
    return map;
  }

  static fromEntryExtents(extents: readonly Extent[]): ExtentMap {
    const map = new ExtentMap();
    let start = 0;
    for (const { object, offset, length } of extents) {
      if (object !== null && length > 0) map.set(start, length, { type: 'object', object, offset });
      start += length;
    }
    return map;
  }

  /** Throws `Corrupt` for anything `toJSON` does not write. */
  static fromJSON(rows: unknown): ExtentMap {
    const map = new ExtentMap();
    if (!Array.isArray(rows)) throw corrupt();
    let end = 0;
    for (const row of rows as unknown[]) {
      if (!Array.isArray(row)) throw corrupt();
      const [start, length, from, at] = row as unknown[];
      const offset = at ?? start;
      if (!isCount(start) || !isCount(length) || !isCount(offset)) throw corrupt();
      if (start < end || length === 0) throw corrupt();
      if (typeof from === 'string') map.set(start, length, { type: 'object', object: from, offset });
      else if (isCount(from)) map.set(start, length, { type: 'local', file: from, offset });
      else throw corrupt();
      end = start + length;
    }
    return map;
  }

  /** Number of extents. */
  get count(): number {
    return this.#extents.length;
  }

  /** Bytes that are not holes. */
  bytes(): number {
    return this.#bytes;
  }

  localBytes(): number {
    return this.#localBytes;
  }

  hasLocal(): boolean {
    return this.#localBytes > 0;
  }

  /** The staging files that hold bytes of this file, each once. */
  localFiles(): number[] {
    const files = new Set<number>();
    if (this.#localBytes > 0) {
      for (const { source } of this.#extents) if (source.type === 'local') files.add(source.file);
    }
    return [...files];
  }

  /** The staging files but `file` that hold bytes of [start, start + length), each once. */
  otherLocalFiles(start: number, length: number, file: number): readonly number[] {
    let found: number[] | undefined;
    for (let i = this.#firstEndingAfter(start); i < this.#extents.length; i++) {
      const extent = this.#extents[i];
      if (extent === undefined || extent.start >= start + length) break;
      const { source } = extent;
      if (source.type !== 'local' || source.file === file || found?.includes(source.file)) continue;
      found ??= [];
      found.push(source.file);
    }
    return found ?? none;
  }

  names(file: number): boolean {
    return this.#extents.some(({ source }) => source.type === 'local' && source.file === file);
  }

  /** End of the last extent; 0 when there is none. */
  end(): number {
    const last = this.#extents.at(-1);
    return last === undefined ? 0 : last.start + last.length;
  }

  /** From now on [start, start + length) is at `source`, whatever it was before. */
  set(start: number, length: number, source: Source): void {
    if (length <= 0) return;
    const extents = this.#extents;
    const last = extents.at(-1);
    if (last === undefined || last.start + last.length <= start) {
      this.#append(last, { start, length, source });
      return;
    }
    const first = this.#firstEndingAfter(start);
    const at = extents[first];
    if (at !== undefined && covers(at, start, length, source)) return;
    this.#replace(first, start, length, { start, length, source });
  }

  /** Makes [start, start + length) a hole. */
  punch(start: number, length: number): void {
    if (length > 0) this.#replace(this.#firstEndingAfter(start), start, length, null);
  }

  /** Forgets everything from `size` on. */
  truncate(size: number): void {
    const end = this.end();
    if (end > size) this.punch(size, end - size);
  }

  /** The extents inside [offset, offset + length), clipped to it, in order; gaps are holes. */
  pieces(offset: number, length: number): MapExtent[] {
    const end = offset + length;
    const found: MapExtent[] = [];
    for (let i = this.#firstEndingAfter(offset); i < this.#extents.length; i++) {
      const extent = this.#extents[i];
      if (extent === undefined || extent.start >= end) break;
      found.push(clip(extent, offset, end));
    }
    return found;
  }

  clone(): ExtentMap {
    const copy = new ExtentMap();
    copy.#extents = this.#extents.slice();
    copy.#bytes = this.#bytes;
    copy.#localBytes = this.#localBytes;
    return copy;
  }

  [Symbol.iterator](): IterableIterator<MapExtent> {
    return this.#extents.values();
  }

  toJSON(): ExtentRow[] {
    return this.#extents.map(({ start, length, source }) => {
      const from = source.type === 'object' ? source.object : source.file;
      return source.offset === start ? [start, length, from] : [start, length, from, source.offset];
    });
  }

  /**
   * The extents of a tree entry of `size` bytes. `resolveLocal` says where [offset, offset + length) of a staging
   * file is in the store now; its answer must add up to `length`.
   */
  toEntryExtents(
    size: number,
    resolveLocal: (file: number, offset: number, length: number) => readonly Extent[],
  ): Extent[] {
    const result: Extent[] = [];
    let at = 0;
    for (const { start, length, source } of this.pieces(0, size)) {
      if (start > at) pushExtent(result, { object: null, offset: 0, length: start - at });
      if (source.type === 'object') {
        pushExtent(result, { object: source.object, offset: source.offset, length });
      } else {
        for (const extent of resolveLocal(source.file, source.offset, length)) pushExtent(result, extent);
      }
      at = start + length;
    }
    if (size > at) pushExtent(result, { object: null, offset: 0, length: size - at });
    return result;
  }

  /** Throws `Internal` when an INVARIANT does not hold. */
  checkInvariants(): void {
    let end = 0;
    let bytes = 0;
    let local = 0;
    let before: MapExtent | undefined;
    for (const extent of this.#extents) {
      const ordered = extent.length > 0 && extent.start >= end;
      if (!ordered || (before && continues(before, extent))) {
        throw new ArtifactError('Internal', `extent map out of order at ${extent.start}`);
      }
      end = extent.start + extent.length;
      bytes += extent.length;
      if (extent.source.type === 'local') local += extent.length;
      before = extent;
    }
    if (bytes !== this.#bytes || local !== this.#localBytes) {
      throw new ArtifactError('Internal', `extent map counts ${this.#bytes} bytes and holds ${bytes}`);
    }
  }

  #append(last: MapExtent | undefined, extent: MapExtent): void {
    this.#count(extent, 1);
    if (last !== undefined && continues(last, extent)) {
      this.#extents[this.#extents.length - 1] = joined(last, extent);
    } else if (last === undefined) {
      // Most files have one: an array that grows has room for 17.
      this.#extents = [extent];
    } else {
      this.#extents.push(extent);
    }
  }

  /** Cuts [start, start + length) out of the extents from index `first` on and puts `next` there. */
  #replace(first: number, start: number, length: number, next: MapExtent | null): void {
    const extents = this.#extents;
    const end = start + length;
    const put: MapExtent[] = [];
    let past = first;
    for (; past < extents.length; past++) {
      const extent = extents[past];
      if (extent === undefined || extent.start >= end) break;
      this.#count(extent, -1);
      if (extent.start < start) put.push(clip(extent, extent.start, start));
      if (past === first && next !== null) put.push(next);
      if (extent.start + extent.length > end) put.push(clip(extent, end, extent.start + extent.length));
    }
    if (past === first && next !== null) put.push(next);
    for (const extent of put) this.#count(extent, 1);
    this.#splice(first, past, put);
  }

  /** Replaces [from, to) by `put`, joining neighbours that continue each other at all seams. */
  #splice(from: number, to: number, put: MapExtent[]): void {
    const extents = this.#extents;
    const before = extents[from - 1];
    const after = extents[to];
    const merged: MapExtent[] = [];
    let start = from;
    let end = to;
    if (before !== undefined) {
      merged.push(before);
      start--;
    }
    if (after !== undefined) {
      put.push(after);
      end++;
    }
    for (const extent of put) {
      const last = merged.at(-1);
      if (last !== undefined && continues(last, extent)) merged[merged.length - 1] = joined(last, extent);
      else merged.push(extent);
    }
    extents.splice(start, end - start, ...merged);
  }

  /** Index of the first extent that ends after `offset`; the count when there is none. */
  #firstEndingAfter(offset: number): number {
    let low = 0;
    let high = this.#extents.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const extent = this.#extents[middle];
      if (extent !== undefined && extent.start + extent.length <= offset) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #count(extent: MapExtent, sign: 1 | -1): void {
    this.#bytes += sign * extent.length;
    if (extent.source.type === 'local') this.#localBytes += sign * extent.length;
  }
}

/** Appends to a list of entry extents, joining what continues the last one. */
export function pushExtent(list: Extent[], extent: Extent): void {
  if (extent.length === 0) return;
  const last = list.at(-1);
  const joins =
    last !== undefined &&
    last.object === extent.object &&
    (extent.object === null || last.offset + last.length === extent.offset);
  if (joins) list[list.length - 1] = { ...last, length: last.length + extent.length };
  else list.push(extent);
}

function sameOrigin(a: Source, b: Source): boolean {
  if (a.type === 'object') return b.type === 'object' && a.object === b.object;
  return b.type === 'local' && a.file === b.file;
}

function continues(a: MapExtent, b: MapExtent): boolean {
  return (
    a.start + a.length === b.start &&
    a.source.offset + a.length === b.source.offset &&
    sameOrigin(a.source, b.source)
  );
}

function covers(extent: MapExtent, start: number, length: number, source: Source): boolean {
  return (
    extent.start <= start &&
    extent.start + extent.length >= start + length &&
    extent.source.offset - extent.start === source.offset - start &&
    sameOrigin(extent.source, source)
  );
}

function joined(a: MapExtent, b: MapExtent): MapExtent {
  return { start: a.start, length: a.length + b.length, source: a.source };
}

function clip(extent: MapExtent, from: number, to: number): MapExtent {
  const start = Math.max(extent.start, from);
  const end = Math.min(extent.start + extent.length, to);
  if (start === extent.start && end === extent.start + extent.length) return extent;
  const source = { ...extent.source, offset: extent.source.offset + start - extent.start };
  return { start, length: end - start, source };
}

function isCount(value: unknown): value is number {
  return typeof value === 'number' && Number.isSafeInteger(value) && value >= 0;
}

function corrupt(): ArtifactError {
  return new ArtifactError('Corrupt', 'a stored extent map is not of the form this program writes');
}
