import type { Extent } from '../../model/entry.js';
import { limits } from '../../model/limits.js';
import { ExtentMap, type MapExtent, pushExtent } from '../extent-map.js';
import type { UploadRequest } from '../ports.js';

/** A piece of a staging file. */
export interface LocalPiece {
  readonly file: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * What has to be sent for one file, and what its extents are then. There may be a million of them at a time, so what
 * can be worked out again from the request is not kept.
 *
 * Sent are the staged pieces, and of what is in the store already the small pieces beside them: without that a file to
 * which each version adds a line would have as many pieces as versions. A piece is sent again when it is below a block, or
 * not longer than what is sent beside it, so that each byte of a file that grows is sent again a few times at most.
 */
export class UploadPlan {
  readonly request: UploadRequest;
  /** nothing: everything is in the store. pack: a few bytes. object: an object of its own. */
  readonly kind: 'nothing' | 'pack' | 'object';
  /** Bytes to send. */
  readonly bytes: number;
  /** The file's bytes are the pieces of `local` and nothing else. */
  readonly wholeIsLocal: boolean;
  /** Some of what is sent is in the store already, and read from there. */
  readonly sendsStored: boolean;
  /** Too many pieces: everything but the largest holes is sent, what is in the store already as well. */
  readonly #rewritten: boolean;

  constructor(request: UploadRequest) {
    this.request = request;
    const pieces = this.#map().pieces(0, request.size);
    const localBytes = localPieces(pieces).reduce((sum, { length }) => sum + length, 0);
    this.#rewritten = hasTooManyExtents(pieces, request.size);
    this.wholeIsLocal = localBytes === request.size;
    this.bytes = runBytes(this.#runsOf(pieces));
    this.sendsStored = this.bytes > localBytes;
    if (this.#rewritten) this.kind = 'object';
    else this.kind = localBytes === 0 ? 'nothing' : this.bytes < limits.packFileBytesMax ? 'pack' : 'object';
  }

  /** All bytes of the file are sent, one after another. */
  get wholeIsSent(): boolean {
    return this.bytes === this.request.size;
  }

  /** The staged pieces of the file, in order. */
  local(): LocalPiece[] {
    return localPieces(this.#map().pieces(0, this.request.size));
  }

  /** The staging file that has the same bytes at the same offsets as the file; null when there is none. */
  identity(): number | null {
    const local = this.local();
    const [first] = local;
    return this.wholeIsLocal && local.length === 1 && first?.offset === 0 ? first.file : null;
  }

  /** Two plans with the same text send the same bytes, if no staging file among them was written to meanwhile. */
  layout(): string {
    return `${this.request.size} ${JSON.stringify(this.#map())}`;
  }

  /** Where the bytes to send come from, by their place in what is sent. Gaps are zeros. */
  sent(): ExtentMap {
    const map = this.#map();
    const sent = new ExtentMap();
    let end = 0;
    for (const { start, length } of this.#runs()) {
      for (const piece of map.pieces(start, length)) {
        sent.set(end + piece.start - start, piece.length, piece.source);
      }
      end += length;
    }
    return sent;
  }

  /** The file's extents when the bytes were sent to `object` from `at` on. */
  extentsAt(object: string, at: number): Extent[] {
    // Most small files: not worth two maps.
    if (this.wholeIsSent && this.kind !== 'nothing')
      return [{ object, offset: at, length: this.request.size }];
    const map = this.#map();
    const extents: Extent[] = [];
    let next = at;
    let done = 0;
    for (const { start, length } of [...this.#runs(), { start: this.request.size, length: 0 }]) {
      pushStored(extents, map, done, start);
      pushExtent(extents, { object, offset: next, length });
      next += length;
      done = start + length;
    }
    return extents;
  }

  #map(): ExtentMap {
    return ExtentMap.of(this.request.extents);
  }

  #runs(): Run[] {
    return this.#runsOf(this.#map().pieces(0, this.request.size));
  }

  #runsOf(pieces: readonly MapExtent[]): Run[] {
    return this.#rewritten ? dataRuns(pieces, this.request.size) : stagedRuns(pieces);
  }
}

/** A range of the file. */
interface Run {
  readonly start: number;
  readonly length: number;
}

const runBytes = (runs: readonly Run[]) => runs.reduce((sum, { length }) => sum + length, 0);

/** What lies between two runs: holes, and pieces in the store. */
function pushStored(extents: Extent[], map: ExtentMap, from: number, to: number): void {
  let at = from;
  for (const { start, length, source } of map.pieces(from, to - from)) {
    pushExtent(extents, { object: null, offset: 0, length: start - at });
    if (source.type === 'object')
      pushExtent(extents, { object: source.object, offset: source.offset, length });
    at = start + length;
  }
  pushExtent(extents, { object: null, offset: 0, length: to - at });
}

/** The staged pieces, joined where they touch, with the small pieces beside them that are sent again. */
function stagedRuns(pieces: readonly MapExtent[]): Run[] {
  const runs: Run[] = [];
  for (let i = 0; i < pieces.length; i++) {
    const piece = pieces[i];
    if (piece?.source.type !== 'local') continue;
    let { start } = piece;
    let end = start + piece.length;
    const before = runs.at(-1);
    const from = before === undefined ? 0 : before.start + before.length;
    for (let j = i - 1; j >= 0; j--) {
      const left = pieces[j];
      if (
        left === undefined ||
        left.start < from ||
        !joins(left, left.start + left.length === start, end - start)
      )
        break;
      start = left.start;
    }
    for (; i + 1 < pieces.length; i++) {
      const right = pieces[i + 1];
      if (right === undefined || !joins(right, right.start === end, end - start)) break;
      end += right.length;
    }
    if (before !== undefined && start === from)
      runs[runs.length - 1] = { start: before.start, length: end - before.start };
    else runs.push({ start, length: end - start });
  }
  return runs;
}

/** Whether a piece is sent with `bytes` beside it. */
function joins({ length, source }: MapExtent, touches: boolean, bytes: number): boolean {
  if (!touches) return false;
  if (source.type === 'local' || length <= limits.blockBytes) return true;
  return length <= bytes && length + bytes <= limits.joinedBytesMax;
}

/**
 * The file between its largest holes: at most half as many runs as a file may have extents. Large holes stay, so that a
 * huge sparse file does not become a huge full one; the others are sent as zeros.
 */
function dataRuns(pieces: readonly MapExtent[], size: number): Run[] {
  const holes = holesOf(pieces, size);
  const kept = holes
    .toSorted((a, b) => b.length - a.length)
    .slice(0, limits.extentsPerFileMax / 2 - 1)
    .sort((a, b) => a.start - b.start);
  const runs: Run[] = [];
  let at = 0;
  for (const { start, length } of [...kept, { start: size, length: 0 }]) {
    if (start > at) runs.push({ start: at, length: start - at });
    at = start + length;
  }
  return runs;
}

function holesOf(pieces: readonly MapExtent[], size: number): Run[] {
  const holes: Run[] = [];
  let at = 0;
  for (const { start, length } of pieces) {
    if (start > at) holes.push({ start: at, length: start - at });
    at = start + length;
  }
  if (size > at) holes.push({ start: at, length: size - at });
  return holes;
}

/** More than an entry of a tree may have: the file has to be sent anew, also when all of it is in the store. */
export const hasTooManyExtents = (pieces: readonly MapExtent[], size: number): boolean =>
  pieces.length + holesOf(pieces, size).length > limits.extentsPerFileMax;

function localPieces(pieces: readonly MapExtent[]): LocalPiece[] {
  const local: LocalPiece[] = [];
  for (const { length, source } of pieces) {
    if (source.type === 'local') local.push({ file: source.file, offset: source.offset, length });
  }
  return local;
}
