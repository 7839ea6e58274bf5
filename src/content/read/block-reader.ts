import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import { shared } from '../../util/shared-signal.js';
import { unlessAborted } from '../../util/unless-aborted.js';
import type { LocalObjects } from '../cache/local-objects.js';
import type { MapExtent, Source } from '../extent-map.js';
import type { Borrower } from '../lent-memory.js';
import type { StagingFiles } from '../local/staging.js';
import type { ContentReader, FileContent, FileReader, LocalObject, LocalRange, WalkPlace } from '../ports.js';
import type { BlockFetcher } from './block-fetcher.js';
import type { MemoryCache, ObjectBlocks } from './object-blocks.js';
import { type ReadAheadBudget, Stream } from './read-ahead.js';
import type { Walks } from './walks.js';

export interface BlockReaderParts {
  readonly memory: MemoryCache;
  readonly fetcher: BlockFetcher;
  readonly staging: StagingFiles;
  readonly readAhead: ReadAheadBudget;
  readonly walks: Walks;
  readonly localObjects: LocalObjects;
  /** Full key of an object that an extent names. */
  readonly objectKey: (artifactId: string, object: string) => string;
}

type ObjectSource = Source & { type: 'object' };

export class BlockReader implements ContentReader {
  readonly #parts: BlockReaderParts;

  constructor(parts: BlockReaderParts) {
    this.#parts = parts;
  }

  open(artifactId: string, content: FileContent, place?: WalkPlace): FileReader {
    return new BlockFileReader(this.#parts, artifactId, content, place);
  }

  local(artifactId: string, object: string, size: number): LocalObject {
    return this.#parts.localObjects.of(this.#parts.objectKey(artifactId, object), size);
  }
}

/**
 * One open file. What is in memory is answered at once, and without a copy when one piece holds it; everything else
 * becomes a promise. Sequential reads fetch ahead; others fetch the blocks they touch and nothing more.
 */
class BlockFileReader implements FileReader {
  readonly #parts: BlockReaderParts;
  readonly #artifactId: string;
  readonly #content: FileContent;
  readonly #objects = new Map<string, ObjectBlocks>();
  /** The one used last comes last. */
  #streams: Stream[] = [];
  #closed = false;
  /** Until the first read. */
  #place: WalkPlace | undefined;

  constructor(
    parts: BlockReaderParts,
    artifactId: string,
    content: FileContent,
    place: WalkPlace | undefined,
  ) {
    this.#parts = parts;
    this.#artifactId = artifactId;
    this.#content = content;
    this.#place = place;
  }

  read(offset: number, length: number, signal?: AbortSignal, borrower?: Borrower): MaybePromise<Buffer> {
    if (this.#closed) throw new ArtifactError('BadHandle', 'read of a file that was closed');
    const size = this.#content.size();
    const end = Math.min(offset + length, size);
    if (end <= offset) return Buffer.alloc(0);
    const pieces = this.#content.pieces(offset, end - offset);
    const [only] = pieces;
    const answer =
      only !== undefined && only.start === offset && only.length === end - offset
        ? this.#readPiece(only, signal, borrower)
        : this.#assemble(pieces, offset, end, signal ?? borrower?.signal);
    this.#follow(offset, end, size);
    if (this.#place !== undefined) this.#begin(this.#place, size, answer instanceof Promise);
    if (!(answer instanceof Promise)) return answer;
    const wanted = signal ?? borrower?.signal;
    return wanted === undefined ? answer : unlessAborted(wanted, answer);
  }

  local(offset: number, length: number): LocalRange | undefined {
    if (this.#closed) throw new ArtifactError('BadHandle', 'read of a file that was closed');
    const size = this.#content.size();
    const end = Math.min(offset + length, size);
    if (end <= offset) return undefined;
    const [only] = this.#content.pieces(offset, end - offset);
    if (only === undefined || only.start !== offset || only.length !== end - offset) return undefined;
    const { source } = only;
    const range =
      source.type === 'local'
        ? this.#parts.staging.local(source.file, source.offset, only.length)
        : this.#parts.fetcher.local(this.#blocks(source.object), source.offset, only.length);
    // What comes after it may have to be fetched.
    if (range === undefined) return undefined;
    this.#follow(offset, end, size);
    if (this.#place !== undefined) this.#begin(this.#place, size, false);
    return range;
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    for (const stream of this.#streams) this.#parts.readAhead.forget(stream);
    for (const blocks of this.#objects.values()) this.#parts.memory.release(blocks);
    this.#objects.clear();
  }

  #readPiece(piece: MapExtent, signal: AbortSignal | undefined, borrower?: Borrower): MaybePromise<Buffer> {
    const { source, length } = piece;
    if (source.type === 'local') return this.#parts.staging.read(source.file, source.offset, length);
    const blocks = this.#blocks(source.object);
    const cached = this.#parts.fetcher.cached(blocks, source.offset, length, borrower);
    if (cached !== undefined) return cached;
    this.#learn(blocks, piece, source);
    return this.#parts.fetcher.read(blocks, source.offset, length, signal ?? borrower?.signal, borrower);
  }

  /** After what is read itself was asked for: others come behind it. */
  #begin(place: WalkPlace, size: number, isCold: boolean): void {
    this.#place = undefined;
    this.#parts.walks.began(this.#artifactId, place, size, isCold);
  }

  /** Several pieces, or holes: all parts start before any is waited for. */
  #assemble(
    pieces: readonly MapExtent[],
    offset: number,
    end: number,
    signal: AbortSignal | undefined,
  ): MaybePromise<Buffer> {
    const target = Buffer.alloc(end - offset);
    const waits: Promise<unknown>[] = [];
    if (signal !== undefined) shared(signal);
    for (const piece of pieces) {
      const at = piece.start - offset;
      const { source } = piece;
      if (source.type === 'local') {
        const part = target.subarray(at, at + piece.length);
        const done = this.#parts.staging.readInto(source.file, source.offset, part);
        if (done instanceof Promise) waits.push(done);
        continue;
      }
      const bytes = this.#readPiece(piece, signal);
      if (bytes instanceof Promise) waits.push(bytes.then((late) => late.copy(target, at)));
      else bytes.copy(target, at);
    }
    return waits.length === 0 ? target : Promise.all(waits).then(() => target);
  }

  /** Finds the stream this read belongs to and starts its read-ahead. A first read fetches nothing ahead. */
  #follow(offset: number, end: number, size: number): void {
    const index = this.#streams.findLastIndex((candidate) => candidate.expects(offset));
    const stream = this.#streams[index];
    if (stream === undefined) {
      if (this.#streams.length >= limits.readStreamsMax) {
        const oldest = this.#streams.shift();
        if (oldest !== undefined) this.#parts.readAhead.forget(oldest);
      }
      this.#streams.push(new Stream(end));
      return;
    }
    if (index !== this.#streams.length - 1) {
      this.#streams.splice(index, 1);
      this.#streams.push(stream);
    }
    for (const [from, length] of stream.advance(offset, end, size, this.#parts.readAhead)) {
      this.#fetchAhead(from, length, stream.getBytes);
    }
  }

  #fetchAhead(offset: number, length: number, getBytes: number): void {
    for (const { source, length: count } of this.#content.pieces(offset, length)) {
      if (source.type !== 'object') continue;
      const blocks = this.#blocks(source.object);
      blocks.noteEnd(source.offset + count);
      void this.#parts.fetcher.ahead(blocks, source.offset, count, getBytes);
    }
  }

  /** What this file shows of the object: how far it reaches at least, and which file of a pack is wanted. */
  #learn(blocks: ObjectBlocks, piece: MapExtent, source: ObjectSource): void {
    const [wider] = this.#content.pieces(piece.start, piece.length + limits.blockBytes);
    blocks.noteEnd(source.offset + Math.max(piece.length, wider?.length ?? 0));
    if (blocks.isPack) blocks.entriesWanted.add(source.offset - piece.start);
  }

  #blocks(object: string): ObjectBlocks {
    let blocks = this.#objects.get(object);
    if (blocks === undefined) {
      blocks = this.#parts.memory.acquire(this.#parts.objectKey(this.#artifactId, object));
      this.#objects.set(object, blocks);
    }
    return blocks;
  }
}
