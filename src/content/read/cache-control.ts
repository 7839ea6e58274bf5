import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { forEachOf } from '../../util/for-each-of.js';
import { LoopTurn } from '../../util/loop-turn.js';
import type { CachePins, PinTarget } from '../cache/cache-pins.js';
import type { DiskCache } from '../cache/disk-cache.js';
import type { DiskObject } from '../cache/disk-object.js';
import type { ByteSpan, ObjectRanges } from '../cache/object-ranges.js';
import { cacheName } from '../local/disk-index.js';
import type { BlockFetcher } from './block-fetcher.js';
import type { MemoryCache, ObjectBlocks } from './object-blocks.js';

const { blockBytes } = limits;

export interface Coverage {
  /** Bytes of objects that the files consist of; what files share counts once. */
  readonly bytes: number;
  /** Of these, on this machine's disk. */
  readonly cachedBytes: number;
}

export interface WarmResult extends Coverage {
  /** From the store, now. More than was missing: whole blocks are fetched. */
  readonly fetchedBytes: number;
}

export interface WarmOptions {
  readonly signal: AbortSignal;
  /** Bytes of the files that are there, and all of them. */
  readonly onProgress: (bytesDone: number, bytesTotal: number) => void;
}

export interface CacheFigures {
  readonly objects: number;
  readonly bytes: number;
  /** What it may hold now: the option cache-size, or what staged files and the disk leave. */
  readonly bytesMax: number;
  readonly pinnedBytes: number;
  readonly memoryHitBytes: number;
  readonly diskHitBytes: number;
  readonly fetchedBytes: number;
  readonly gets: number;
}

export interface CacheControlParts {
  readonly fetcher: BlockFetcher;
  readonly memory: MemoryCache;
  readonly disk: DiskCache;
  readonly pins: CachePins;
  readonly objectKey: (artifactId: string, object: string) => string;
}

interface Wanted {
  readonly object: DiskObject;
  readonly missing: readonly ByteSpan[];
  readonly bytes: number;
  readonly cachedBytes: number;
}

/** What users do with the disk cache: fill it ahead, keep some of it, empty it, look at it. */
export class CacheControl {
  readonly #parts: CacheControlParts;

  constructor(parts: CacheControlParts) {
    this.#parts = parts;
  }

  figures(): CacheFigures {
    const { disk, fetcher } = this.#parts;
    const { objects, bytes, hitBytes } = disk.statistics();
    const { memoryHitBytes, gets, getBytes } = fetcher.statistics();
    return {
      objects,
      bytes,
      bytesMax: disk.bytesMax,
      pinnedBytes: disk.heldBytes,
      memoryHitBytes,
      diskHitBytes: hitBytes,
      fetchedBytes: getBytes,
      gets,
    };
  }

  async coverage(artifactId: string, ranges: ObjectRanges): Promise<Coverage> {
    let bytes = 0;
    let cachedBytes = 0;
    for await (const wanted of this.#wanted(artifactId, ranges, (key) => this.#parts.disk.open(key))) {
      bytes += wanted.bytes;
      cachedBytes += wanted.cachedBytes;
    }
    return { bytes, cachedBytes };
  }

  /**
   * Brings into the disk cache what is missing there, and keeps others from pushing it out meanwhile. `NoSpace`, before
   * anything is fetched, when it cannot hold all of it. What was fetched before a failure stays.
   */
  async warm(
    artifactId: string,
    ranges: ObjectRanges,
    { signal, onProgress }: WarmOptions,
  ): Promise<WarmResult> {
    const { disk, memory, fetcher } = this.#parts;
    const release = disk.hold(this.#names(artifactId, ranges));
    // Readers and we must mean the same record of what is on disk.
    const used: ObjectBlocks[] = [];
    const open = (key: string) => {
      const blocks = memory.acquire(key);
      used.push(blocks);
      return fetcher.onDisk(blocks);
    };
    try {
      const missing: { object: DiskObject; span: ByteSpan }[] = [];
      let bytes = 0;
      let cachedBytes = 0;
      let missingBytes = 0;
      for await (const wanted of this.#wanted(artifactId, ranges, open)) {
        signal.throwIfAborted();
        bytes += wanted.bytes;
        cachedBytes += wanted.cachedBytes;
        for (const span of wanted.missing) {
          missingBytes += span.end - span.start;
          missing.push({ object: wanted.object, span });
        }
      }
      this.#checkRoom(missingBytes);
      const toGo = bytes - cachedBytes;
      let fetchedBytes = 0;
      onProgress(cachedBytes, bytes);
      await forEachOf(pieces(missing), limits.warmGetsMax, async ({ object, span }) => {
        await this.#bring(object, span, signal);
        fetchedBytes += span.end - span.start;
        // Blocks reach over the ends of files: in proportion, so that it ends at the end.
        onProgress(cachedBytes + Math.floor((toGo * fetchedBytes) / missingBytes), bytes);
      });
      return { bytes, cachedBytes, fetchedBytes };
    } finally {
      for (const blocks of used) memory.release(blocks);
      release();
    }
  }

  pins(): CachePins['all'] {
    return this.#parts.pins.all;
  }

  /**
   * Keeps the files' objects, as far as they are or come to be cached, until `unpin`; `artifact` is its path. Only staged files push them out, when
   * the disk has no other room. `NoSpace` when pins would leave no room for anything else.
   */
  async pin(target: PinTarget, artifact: string, ranges: ObjectRanges): Promise<Coverage> {
    const { disk, pins } = this.#parts;
    const coverage = await this.coverage(target.artifactId, ranges);
    const names = this.#names(target.artifactId, ranges);
    const held = pins.has(target) ? 0 : disk.heldBytes;
    const max = Math.floor(disk.bytesMax * limits.pinnedShareMax);
    if (held + coverage.bytes > max) {
      throw new ArtifactError(
        'NoSpace',
        `${coverage.bytes} bytes more would be pinned, with ${held} that are; the cache may hold ${max} of them`,
        { hint: 'unpin something (artifactfs cache lists it), or give the mount a larger --cache-size' },
      );
    }
    await pins.pin(target, artifact, names);
    return coverage;
  }

  unpin(target: PinTarget): Promise<boolean> {
    return this.#parts.pins.unpin(target);
  }

  /** Answers how many bytes left the disk. What is pinned, or being warmed, stays. */
  async evict(artifactId: string, ranges: ObjectRanges): Promise<number> {
    const { disk, memory, objectKey } = this.#parts;
    for (const object of ranges.objects) memory.drop(objectKey(artifactId, object));
    return disk.evict(this.#names(artifactId, ranges));
  }

  /** The same of everything. */
  async evictAll(): Promise<number> {
    this.#parts.memory.clear();
    return this.#parts.disk.evict(null);
  }

  #names(artifactId: string, ranges: ObjectRanges): string[] {
    return Array.from(ranges.objects, (object) => cacheName(this.#parts.objectKey(artifactId, object)));
  }

  async *#wanted(
    artifactId: string,
    ranges: ObjectRanges,
    open: (key: string) => Promise<DiskObject>,
  ): AsyncGenerator<Wanted> {
    const turn = new LoopTurn();
    for (const { object, spans } of ranges.all()) {
      if (turn.isOver) await turn.next();
      const found = await open(this.#parts.objectKey(artifactId, object));
      yield { object: found, ...gaps(found, spans) };
    }
  }

  #checkRoom(missingBytes: number): void {
    const { disk } = this.#parts;
    const room = Math.max(0, disk.bytesMax - disk.heldBytes);
    if (missingBytes <= room) return;
    throw new ArtifactError(
      'NoSpace',
      `${missingBytes} bytes are to be fetched; the cache has room for ${room} beside what is warm or pinned`,
      {
        hint: 'warm a part of it, unpin something (artifactfs cache lists it), or give the mount a larger --cache-size',
      },
    );
  }

  async #bring(object: DiskObject, { start, end }: ByteSpan, signal: AbortSignal): Promise<void> {
    const { disk, fetcher } = this.#parts;
    await fetcher.bring(object.key, { offset: start, length: end - start }, signal, async (bytes) => {
      let cause: unknown;
      const kept = await disk.keepNow(object, start, bytes).catch((error: unknown) => {
        cause = error;
        return false;
      });
      if (kept) return;
      const hint = 'free space under the state directory, or give the mount a larger --cache-size';
      throw new ArtifactError('NoSpace', `the cache could not take ${object.key}`, { hint }, cause);
    });
  }
}

/** Which blocks of the spans are missing, joined where they follow each other, and how many bytes of the spans are there. */
function gaps({ table }: DiskObject, spans: readonly ByteSpan[]): Omit<Wanted, 'object'> {
  const missing: { start: number; end: number }[] = [];
  const knownEnd = table.size ?? spans.at(-1)?.end ?? 0;
  let bytes = 0;
  let cachedBytes = 0;
  for (const span of spans) {
    bytes += span.end - span.start;
    for (let at = Math.floor(span.start / blockBytes) * blockBytes; at < span.end; at += blockBytes) {
      const stored = at + table.length(at / blockBytes);
      cachedBytes += Math.max(0, Math.min(stored, span.end) - Math.max(at, span.start));
      const end = Math.min(at + blockBytes, knownEnd);
      // A block may be known shorter than it is.
      if (stored >= Math.min(end, span.end)) continue;
      const last = missing.at(-1);
      if (last !== undefined && last.end >= at) last.end = Math.max(last.end, end);
      else missing.push({ start: at, end });
    }
  }
  return { missing, bytes, cachedBytes };
}

function* pieces(missing: readonly { object: DiskObject; span: ByteSpan }[]) {
  for (const { object, span } of missing) {
    for (let start = span.start; start < span.end; start += limits.getBytesMax) {
      yield { object, span: { start, end: Math.min(span.end, start + limits.getBytesMax) } };
    }
  }
}
