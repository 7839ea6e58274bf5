import { LRUCache } from 'lru-cache';
import { limits } from '../../model/limits.js';
import type { DiskObject } from '../cache/disk-object.js';
import type { LentMemory } from '../lent-memory.js';

const { blockBytes } = limits;

/**
 * Bytes of one object in one buffer, from a block boundary on. What one GET or one read of the disk cache brought
 * stays together, so that reads inside it are slices and nothing is copied.
 */
export interface Run {
  readonly blocks: ObjectBlocks;
  readonly start: number;
  /** Good as long as `memory` is held: by the memory cache while it has the run, else by who uses it. */
  readonly bytes: Buffer;
  readonly memory: LentMemory;
}

/** A run under way. `end` may grow the object's known part, so a block may be loaded again with more of its bytes. */
export interface Load {
  /** Its number: of two loads the one that began later has the higher one. */
  readonly n: number;
  readonly start: number;
  readonly end: number;
  readonly promise: Promise<Run>;
  /** Known before anybody who waits hears of it. */
  failed: boolean;
  /** Reads that wait for it; none for what is read ahead. */
  waiters: number;
  /** Called with the run as soon as it is there: who wants to look at it later has to hold its memory. */
  readonly takers: ((run: Run) => void)[];
  /** Somebody waits for it now: it goes before read-ahead. */
  hurry(): void;
  /** Ends it with this failure, for those who still wait. */
  abort(why: unknown): void;
}

export const runEnd = (run: Run): number => run.start + run.bytes.length;
export const blockOf = (offset: number): number => Math.floor(offset / blockBytes);

/**
 * What is known of one object: which of its bytes are in memory, which are on their way, how long it is. Objects
 * never change, so nothing here is ever invalid; a block may only be known shorter than it is.
 *
 * INVARIANT: a run or load registered under block `b` starts at or before `b * blockBytes` and ends after it.
 */
export class ObjectBlocks {
  readonly key: string;
  readonly isPack: boolean;
  /** Open readers that hold this record. */
  users = 0;
  /** Exact size, once somebody learned it. */
  size: number | null = null;
  /** Where the files of a pack begin that were wanted and not there, as far as they matter. */
  readonly entriesWanted = new Set<number>();
  takenWhole = false;
  disk: DiskObject | null = null;
  #knownEnd = 0;
  readonly #runs = new Map<number, Run>();
  readonly #loads = new Map<number, Load>();

  constructor(key: string) {
    this.key = key;
    this.isPack = key.endsWith('.pack');
  }

  /** The object has at least so many bytes: the end of an extent that somebody showed us. */
  noteEnd(end: number): void {
    if (end > this.#knownEnd) this.#knownEnd = end;
  }

  /** Bytes that may be asked for without asking past the end. */
  get end(): number {
    return this.size ?? this.#knownEnd;
  }

  /** The disk cache has the block at `start`, as far as the object is known to reach. */
  isOnDisk(start: number, knownEnd: number): boolean {
    const { disk } = this;
    if (disk === null || disk.dead) return false;
    return disk.has(blockOf(start), Math.min(blockBytes, knownEnd - start));
  }

  /** The run in memory that holds byte `offset`. */
  run(offset: number): Run | undefined {
    const run = this.#runs.get(blockOf(offset));
    return run !== undefined && runEnd(run) > offset ? run : undefined;
  }

  /** The load under way that will hold all of [offset, end). */
  load(offset: number, end: number): Load | undefined {
    const load = this.#loads.get(blockOf(offset));
    return load !== undefined && load.end >= end ? load : undefined;
  }

  addRun(run: Run): void {
    forEachBlock(run.start, runEnd(run), (block) => this.#runs.set(block, run));
  }

  dropRun(run: Run): void {
    forEachBlock(run.start, runEnd(run), (block) => {
      if (this.#runs.get(block) === run) this.#runs.delete(block);
    });
  }

  /** Each once. */
  runs(): ReadonlySet<Run> {
    return new Set(this.#runs.values());
  }

  addLoad(load: Load): void {
    forEachBlock(load.start, load.end, (block) => this.#loads.set(block, load));
  }

  dropLoad(load: Load): void {
    forEachBlock(load.start, load.end, (block) => {
      if (this.#loads.get(block) === load) this.#loads.delete(block);
    });
  }

  /** Loads that no read waits for. */
  unwanted(): readonly Load[] {
    return [...new Set(this.#loads.values())].filter((load) => load.waiters === 0);
  }

  get idle(): boolean {
    return this.users === 0 && this.#runs.size === 0 && this.#loads.size === 0;
  }
}

/** The objects in use, and the runs of all of them in memory: the least recently read go first, by bytes. */
export class MemoryCache {
  readonly #objects = new Map<string, ObjectBlocks>();
  readonly #runs: LRUCache<Run, Run>;

  constructor(bytesMax: number) {
    this.#runs = new LRUCache<Run, Run>({
      maxSize: bytesMax,
      sizeCalculation: (run) => run.bytes.length,
      dispose: (run) => {
        run.blocks.dropRun(run);
        run.memory.release();
        this.tidy(run.blocks);
      },
    });
  }

  get bytes(): number {
    return this.#runs.calculatedSize;
  }

  /** Objects that somebody reads, or holds for a reader. */
  get objectsInUse(): number {
    let count = 0;
    for (const { users } of this.#objects.values()) if (users > 0) count++;
    return count;
  }

  /** Counts the caller as a user until `release`. */
  acquire(key: string): ObjectBlocks {
    let blocks = this.#objects.get(key);
    if (blocks === undefined) {
      blocks = new ObjectBlocks(key);
      this.#objects.set(key, blocks);
    }
    blocks.users++;
    return blocks;
  }

  release(blocks: ObjectBlocks): void {
    blocks.users--;
    this.tidy(blocks);
  }

  add(run: Run): void {
    if (run.bytes.length > this.#runs.maxSize) return;
    run.memory.hold();
    run.blocks.addRun(run);
    this.#runs.set(run, run);
  }

  touch(run: Run): void {
    this.#runs.get(run);
  }

  /** Forgets the bytes of one object. */
  drop(key: string): void {
    for (const run of this.#objects.get(key)?.runs() ?? []) this.#runs.delete(run);
  }

  clear(): void {
    this.#runs.clear();
  }

  /** Forgets a record that nobody uses and that holds nothing. */
  tidy(blocks: ObjectBlocks): void {
    if (blocks.idle) this.#objects.delete(blocks.key);
  }
}

function forEachBlock(start: number, end: number, visit: (block: number) => void): void {
  for (let block = blockOf(start); block * blockBytes < end; block++) visit(block);
}
