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

/** What has to be sent for one file, and what its extents are then. */
export interface UploadPlan {
  readonly request: UploadRequest;
  /** nothing: everything is in the store. pack: a few bytes. object: an object of its own. */
  readonly kind: 'nothing' | 'pack' | 'object';
  /** Bytes to send. */
  readonly bytes: number;
  /** Where they come from, by their place in what is sent. */
  readonly sent: ExtentMap;
  /** The staged pieces among them, in order. */
  readonly local: readonly LocalPiece[];
  /** The file's bytes are the pieces of `local` and nothing else. */
  readonly wholeIsLocal: boolean;
  /** The staging file that has the same bytes at the same offsets as what is sent. */
  readonly identity: number | null;
  /** Two plans with the same text send the same bytes, if no staging file among them was written to meanwhile. */
  readonly layout: string;
  /** The file's extents when the bytes were sent to `object` from `at` on. */
  extentsAt(object: string, at: number): Extent[];
}

export function planUpload(request: UploadRequest): UploadPlan {
  const map = ExtentMap.of(request.extents);
  const pieces = map.pieces(0, request.size);
  const local = localPieces(pieces);
  const localBytes = local.reduce((sum, { length }) => sum + length, 0);
  if (extentsAfter(pieces, request.size) > limits.extentsPerFileMax) return planRewrite(request, map, pieces);
  const sent = new ExtentMap();
  let end = 0;
  for (const { file, offset, length } of local) {
    sent.set(end, length, { type: 'local', file, offset });
    end += length;
  }
  const [first] = local;
  const wholeIsLocal = localBytes === request.size;
  const single = wholeIsLocal && local.length === 1 && first?.offset === 0;
  return {
    request,
    kind: localBytes === 0 ? 'nothing' : localBytes < limits.packFileBytesMax ? 'pack' : 'object',
    bytes: localBytes,
    layout: layoutOf(map, request.size),
    sent,
    local,
    wholeIsLocal,
    identity: single ? first.file : null,
    extentsAt: (object, at) => {
      let next = at;
      return map.toEntryExtents(request.size, (_file, _offset, length) => {
        const extent = { object, offset: next, length };
        next += length;
        return [extent];
      });
    },
  };
}

/**
 * A file in too many pieces becomes one object. Its largest holes stay holes, so that a huge sparse file does not
 * become a huge full one; the others are sent as zeros.
 */
function planRewrite(request: UploadRequest, map: ExtentMap, pieces: readonly MapExtent[]): UploadPlan {
  const runs = dataRuns(pieces, request.size);
  const sent = new ExtentMap();
  let end = 0;
  for (const { start, length } of runs) {
    for (const piece of map.pieces(start, length)) {
      sent.set(end + piece.start - start, piece.length, piece.source);
    }
    end += length;
  }
  return {
    request,
    kind: 'object',
    bytes: end,
    layout: layoutOf(map, request.size),
    sent,
    local: localPieces(pieces),
    wholeIsLocal: false,
    identity: null,
    extentsAt: (object, at) => {
      const extents: Extent[] = [];
      let done = 0;
      let offset = at;
      for (const { start, length } of runs) {
        if (start > done) pushExtent(extents, { object: null, offset: 0, length: start - done });
        pushExtent(extents, { object, offset, length });
        offset += length;
        done = start + length;
      }
      if (request.size > done) pushExtent(extents, { object: null, offset: 0, length: request.size - done });
      return extents;
    },
  };
}

/** The file between its largest holes: at most half as many runs as a file may have extents. */
function dataRuns(pieces: readonly MapExtent[], size: number): { start: number; length: number }[] {
  const holes = holesOf(pieces, size);
  const kept = holes
    .toSorted((a, b) => b.length - a.length)
    .slice(0, limits.extentsPerFileMax / 2 - 1)
    .sort((a, b) => a.start - b.start);
  const runs: { start: number; length: number }[] = [];
  let at = 0;
  for (const { start, length } of [...kept, { start: size, length: 0 }]) {
    if (start > at) runs.push({ start: at, length: start - at });
    at = start + length;
  }
  return runs;
}

function holesOf(pieces: readonly MapExtent[], size: number): { start: number; length: number }[] {
  const holes: { start: number; length: number }[] = [];
  let at = 0;
  for (const { start, length } of pieces) {
    if (start > at) holes.push({ start: at, length: start - at });
    at = start + length;
  }
  if (size > at) holes.push({ start: at, length: size - at });
  return holes;
}

const layoutOf = (map: ExtentMap, size: number) => `${size} ${JSON.stringify(map)}`;

const extentsAfter = (pieces: readonly MapExtent[], size: number) =>
  pieces.length + holesOf(pieces, size).length;

function localPieces(pieces: readonly MapExtent[]): LocalPiece[] {
  const local: LocalPiece[] = [];
  for (const { length, source } of pieces) {
    if (source.type === 'local') local.push({ file: source.file, offset: source.offset, length });
  }
  return local;
}
