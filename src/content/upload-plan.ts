import type { Extent } from '../model/entry.js';
import { limits } from '../model/limits.js';
import { ExtentMap, type MapExtent, pushExtent } from './extent-map.js';
import type { UploadRequest } from './ports.js';

/** A piece of a staging file. */
export interface LocalPiece {
  readonly file: number;
  readonly offset: number;
  readonly length: number;
}

/**
 * What has to be sent for one file, and what its extents are then. There may be a million of them at a time, so what
 * can be worked out again from the request is not kept.
 */
export class UploadPlan {
  readonly request: UploadRequest;
  /** nothing: everything is in the store. pack: a few bytes. object: an object of its own. */
  readonly kind: 'nothing' | 'pack' | 'object';
  /** Bytes to send. */
  readonly bytes: number;
  /** The file's bytes are the pieces of `local` and nothing else. */
  readonly wholeIsLocal: boolean;
  /** Too many pieces: everything but the largest holes is sent, what is in the store already as well. */
  readonly #rewritten: boolean;

  constructor(request: UploadRequest) {
    this.request = request;
    const pieces = this.#map().pieces(0, request.size);
    const localBytes = localPieces(pieces).reduce((sum, { length }) => sum + length, 0);
    this.#rewritten = hasTooManyExtents(pieces, request.size);
    this.wholeIsLocal = localBytes === request.size;
    this.bytes = this.#rewritten ? runBytes(dataRuns(pieces, request.size)) : localBytes;
    if (this.#rewritten) this.kind = 'object';
    else this.kind = localBytes === 0 ? 'nothing' : localBytes < limits.packFileBytesMax ? 'pack' : 'object';
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

  /** Where the bytes to send come from, by their place in what is sent. */
  sent(): ExtentMap {
    const map = this.#map();
    const sent = new ExtentMap();
    let end = 0;
    if (this.#rewritten) {
      for (const { start, length } of this.#runs()) {
        for (const piece of map.pieces(start, length)) {
          sent.set(end + piece.start - start, piece.length, piece.source);
        }
        end += length;
      }
      return sent;
    }
    for (const { file, offset, length } of this.local()) {
      sent.set(end, length, { type: 'local', file, offset });
      end += length;
    }
    return sent;
  }

  /** The file's extents when the bytes were sent to `object` from `at` on. */
  extentsAt(object: string, at: number): Extent[] {
    const { size } = this.request;
    let next = at;
    const taken = (length: number): Extent => {
      const extent = { object, offset: next, length };
      next += length;
      return extent;
    };
    if (!this.#rewritten) {
      return this.#map().toEntryExtents(size, (_file, _offset, length) => [taken(length)]);
    }
    const extents: Extent[] = [];
    let done = 0;
    for (const { start, length } of this.#runs()) {
      pushExtent(extents, { object: null, offset: 0, length: start - done });
      pushExtent(extents, taken(length));
      done = start + length;
    }
    pushExtent(extents, { object: null, offset: 0, length: size - done });
    return extents;
  }

  #map(): ExtentMap {
    return ExtentMap.of(this.request.extents);
  }

  #runs(): Run[] {
    return dataRuns(this.#map().pieces(0, this.request.size), this.request.size);
  }
}

interface Run {
  readonly start: number;
  readonly length: number;
}

const runBytes = (runs: readonly Run[]) => runs.reduce((sum, { length }) => sum + length, 0);

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
