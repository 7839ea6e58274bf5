import { isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { ByteRange, ObjectStore } from '../../store/object-store.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import type { DiskCache } from '../cache/disk-cache.js';
import type { DiskObject } from '../cache/disk-object.js';
import { type Borrower, type LentMemory, LentMemoryPool } from '../lent-memory.js';
import type { LocalRange } from '../ports.js';
import type { StoreDistance } from '../store-distance.js';
import { BlockLoads, type LoadStatistics } from './block-loads.js';
import {
  blockOf,
  type Load,
  type MemoryCache,
  type ObjectBlocks,
  type Run,
  runEnd,
} from './object-blocks.js';
import { ObjectFacts } from './object-facts.js';

const { blockBytes } = limits;

export interface FetchStatistics extends LoadStatistics {
  /** Bytes that were in memory when they were asked for. */
  readonly memoryHitBytes: number;
}

/**
 * Brings blocks of objects into memory: from the disk cache, else by ranged GETs. A block on its way is never asked
 * for twice; neighbours share a GET. A failure reaches those who waited from its beginning: a read that joined a load of
 * others, and the next read, try again.
 */
export class BlockFetcher {
  readonly #memory: MemoryCache;
  readonly #disk: DiskCache;
  readonly #pool: LentMemoryPool;
  readonly #facts: ObjectFacts;
  readonly #loads: BlockLoads;
  #memoryHitBytes = 0;

  /** `distance` is told of each GET. `makeMemory` makes the memory that bytes are fetched into. */
  constructor(
    store: ObjectStore,
    memory: MemoryCache,
    disk: DiskCache,
    inFlightBytesMax: number,
    distance: StoreDistance,
    makeMemory?: (bytes: number) => Buffer,
  ) {
    this.#memory = memory;
    this.#disk = disk;
    this.#pool = new LentMemoryPool(inFlightBytesMax / 2, makeMemory);
    this.#facts = new ObjectFacts(store, disk);
    this.#loads = new BlockLoads(store, memory, disk, this.#pool, inFlightBytesMax, distance);
  }

  /** Memory for what is on its way from the store. */
  get activeBytes(): number {
    return this.#loads.activeBytes;
  }

  statistics(): FetchStatistics {
    return { memoryHitBytes: this.#memoryHitBytes, ...this.#loads.statistics() };
  }

  /** The bytes when all of them are in memory; a slice when they lie in one run. */
  cached(blocks: ObjectBlocks, offset: number, length: number, borrower?: Borrower): Buffer | undefined {
    const first = blocks.run(offset);
    if (first === undefined) return undefined;
    const end = offset + length;
    if (runEnd(first) >= end) {
      this.#touch(first);
      this.#memoryHitBytes += length;
      return this.#gather([first], offset, length, borrower);
    }
    const runs: Run[] = [];
    for (let at = offset; at < end; ) {
      const run = blocks.run(at);
      if (run === undefined) return undefined;
      runs.push(run);
      at = runEnd(run);
    }
    for (const run of runs) this.#touch(run);
    this.#memoryHitBytes += length;
    return this.#gather(runs, offset, length, borrower);
  }

  /**
   * Of a large file, what was read stays no longer than what was fetched ahead and not read yet: the kernel has it. So most of
   * the cache can be ahead of its readers.
   */
  #touch(run: Run): void {
    if (run.blocks.isPack) this.#memory.touch(run);
  }

  /** The bytes as a local file has them, unless they are in memory. */
  local(blocks: ObjectBlocks, offset: number, length: number): LocalRange | undefined {
    if (blocks.run(offset) !== undefined) return undefined;
    const disk = this.#facts.openDisk(blocks);
    return disk === undefined ? undefined : this.#disk.local(disk, offset, length);
  }

  /**
   * [offset, offset + length) of an object whose known end is not before that. Who gives up by `signal` lets what is on
   * its way go on: it is wanted again soon. But a request that timed out ends what no other read waits for, so that
   * the next one asks the store anew.
   */
  async read(
    blocks: ObjectBlocks,
    offset: number,
    length: number,
    signal?: AbortSignal,
    borrower?: Borrower,
  ): Promise<Buffer> {
    const begun = this.#loads.begun;
    const disk = await this.#facts.disk(blocks);
    const cached = this.cached(blocks, offset, length, borrower);
    if (cached !== undefined) return cached;
    const stored = await this.#disk.read(disk, offset, length);
    if (stored !== null) return stored;
    if (blocks.isPack) await this.#widenPack(blocks, offset);
    for (;;) {
      const loads: Load[] = [];
      try {
        return await this.#loaded(blocks, offset, length, loads, signal, borrower);
      } catch (error) {
        // A load of somebody else's speaks of the store as it was before this read: it asks the store itself, once.
        if (signal?.aborted === true || loads.some(({ n, failed }) => failed && n > begun)) throw error;
      }
    }
  }

  /** The bytes when all loads that bring them, which go into `loads`, have ended; fails with the first that does. */
  async #loaded(
    blocks: ObjectBlocks,
    offset: number,
    length: number,
    loads: Load[],
    signal: AbortSignal | undefined,
    borrower: Borrower | undefined,
  ): Promise<Buffer> {
    const found = this.#want(blocks, offset, offset + length, limits.getBytesMax, true);
    const held: LentMemory[] = [];
    let isOver = false;
    const take = ({ memory }: Run): void => {
      if (isOver) return;
      memory.hold();
      held.push(memory);
    };
    for (const item of found) {
      if ('promise' in item) {
        item.takers.push(take);
        item.waiters++;
        loads.push(item);
      } else take(item);
    }
    let waits = true;
    const leave = (): void => {
      if (waits) for (const load of loads) load.waiters--;
      waits = false;
    };
    const giveUp = (): void => {
      leave();
      if (!isCode(signal?.reason, 'TimedOut')) return;
      for (const load of blocks.unwanted()) load.abort(signal?.reason);
    };
    signal?.addEventListener('abort', giveUp, { once: true });
    try {
      const runs = await Promise.all(found.map((item) => ('promise' in item ? item.promise : item)));
      return this.#gather(runs, offset, length, borrower);
    } finally {
      leave();
      isOver = true;
      for (const memory of held) memory.release();
      signal?.removeEventListener('abort', giveUp);
    }
  }

  /**
   * Starts to fetch what of the range is not on this machine. Failures are left to the read that needs the bytes. `blocks`
   * must be in use until it has returned or resolved.
   */
  ahead(blocks: ObjectBlocks, offset: number, length: number, getBytes: number): MaybePromise<void> {
    const start = () => {
      const end = Math.min(offset + length, blocks.end);
      if (end > offset) void this.#want(blocks, offset, end, getBytes, false);
    };
    if (blocks.disk !== null && !blocks.disk.dead) return start();
    return this.#facts.disk(blocks).then(start, () => {});
  }

  /** What the disk cache has of the object: the same for all while somebody uses `blocks`. */
  onDisk(blocks: ObjectBlocks): Promise<DiskObject> {
    return this.#facts.disk(blocks);
  }

  /** One GET past the memory cache, when no read waits for its turn. Its turn ends when `take` has the bytes where they belong. */
  bring(
    key: string,
    range: ByteRange,
    signal: AbortSignal,
    take: (bytes: Buffer) => Promise<void>,
  ): Promise<void> {
    return this.#loads.bring(key, range, signal, take);
  }

  /**
   * Who wants a third file of a pack will want them all (tar, cp -r): then all of it is fetched, in a few large pieces
   * that run beside the one waited for.
   */
  async #widenPack(blocks: ObjectBlocks, offset: number): Promise<void> {
    if (blocks.takenWhole) return;
    if (blocks.entriesWanted.size < limits.packEntriesUntilWhole) {
      // Asked for with the first file, so that it is known when the third comes.
      if (blocks.size === null) this.#facts.size(blocks).catch(() => {});
      return;
    }
    blocks.takenWhole = true;
    try {
      await this.#facts.size(blocks);
    } catch {
      // The read itself can do without the size; if the store is away, that is where it is said.
      blocks.takenWhole = false;
      return;
    }
    const size = blocks.end;
    if (size > limits.packObjectBytesMax) return;
    const share = Math.ceil(size / limits.packGets / blockBytes) * blockBytes;
    const getBytes = Math.min(limits.getBytesMax, Math.max(limits.getBytesMin, share));
    // The piece that is waited for goes first, then what follows it.
    const from = Math.floor(offset / getBytes) * getBytes;
    void this.#want(blocks, from, Math.min(size, from + getBytes), getBytes, true);
    void this.#want(blocks, from, size, getBytes, false);
    if (from > 0) void this.#want(blocks, 0, from, getBytes, false);
  }

  /**
   * The loads and runs that together hold [offset, end), starting those that nobody has started. A caller that does not
   * wait may drop the answer: failed loads have been caught.
   */
  #want(
    blocks: ObjectBlocks,
    offset: number,
    end: number,
    getBytes: number,
    urgent: boolean,
  ): (Run | Load)[] {
    const found: (Run | Load)[] = [];
    const knownEnd = Math.max(blocks.end, end);
    for (let at = blockOf(offset) * blockBytes; at < end; ) {
      const needed = Math.min(at + blockBytes, end);
      const run = blocks.run(needed - 1);
      const load = run === undefined ? blocks.load(at, needed) : undefined;
      if (run !== undefined) {
        found.push(run);
        at = nextBlock(runEnd(run), at);
      } else if (load !== undefined) {
        if (urgent) load.hurry();
        found.push(load);
        at = nextBlock(load.end, at);
      } else if (!urgent && blocks.isOnDisk(at, knownEnd)) {
        // It is as near as it has to be: the page cache is no worse than our memory.
        at += blockBytes;
      } else {
        const stop = this.#missingEnd(blocks, at, end, knownEnd, getBytes);
        found.push(this.#loads.begin(blocks, at, stop, urgent));
        at = nextBlock(stop, at);
      }
    }
    return found;
  }

  /** End of the missing blocks from `start` on that one load brings: all from the disk or all from the store. */
  #missingEnd(blocks: ObjectBlocks, start: number, end: number, knownEnd: number, getBytes: number): number {
    const onDisk = blocks.isOnDisk(start, knownEnd);
    const limit = Math.min(end, start + Math.max(blockBytes, getBytes));
    let at = start + blockBytes;
    while (at < limit) {
      const needed = Math.min(at + blockBytes, end);
      if (blocks.run(needed - 1) !== undefined || blocks.load(at, needed) !== undefined) break;
      if (blocks.isOnDisk(at, knownEnd) !== onDisk) break;
      at += blockBytes;
    }
    return Math.min(at, knownEnd);
  }

  /** The bytes of runs whose memory is held meanwhile: a slice of one, else put together. */
  #gather(runs: readonly Run[], offset: number, length: number, borrower: Borrower | undefined): Buffer {
    const end = offset + length;
    const [only] = runs;
    if (only !== undefined && only.start <= offset && runEnd(only) >= end) {
      only.memory.lend(borrower);
      return only.bytes.subarray(offset - only.start, end - only.start);
    }
    const target = this.#pool.take(length);
    for (const run of runs) {
      const from = Math.max(offset, run.start);
      run.bytes.copy(target.bytes, from - offset, from - run.start, Math.min(end, runEnd(run)) - run.start);
    }
    borrower?.onAnswered?.(() => target.release());
    return target.bytes;
  }
}

/** The next block to look at: where the found piece ends, which is inside a block when that is not known in full. */
function nextBlock(end: number, at: number): number {
  return Math.max(at + blockBytes, blockOf(end) * blockBytes);
}
