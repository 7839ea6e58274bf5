import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { ByteRange, ObjectStore } from '../../store/object-store.js';
import type { DiskCache } from '../cache/disk-cache.js';
import { LentMemory, type LentMemoryPool } from '../lent-memory.js';
import type { StoreDistance } from '../store-distance.js';
import { TransferQueue } from '../transfer-queue.js';
import { FetchedToDisk } from './fetched-to-disk.js';
import type { Load, MemoryCache, ObjectBlocks, Run } from './object-blocks.js';

export interface LoadStatistics {
  readonly gets: number;
  readonly getBytes: number;
  readonly active: number;
}

/** Loads of blocks into memory, each from the disk cache or by one GET, and the turns that GETs wait for. */
export class BlockLoads {
  readonly #store: ObjectStore;
  readonly #memory: MemoryCache;
  readonly #disk: DiskCache;
  readonly #pool: LentMemoryPool;
  readonly #queue: TransferQueue;
  readonly #toDisk: FetchedToDisk;
  readonly #distance: StoreDistance;
  #begun = 0;
  #gets = 0;
  #getBytes = 0;

  /** `pool` has the memory that bytes are fetched into. `distance` is told of each GET. */
  constructor(
    store: ObjectStore,
    memory: MemoryCache,
    disk: DiskCache,
    pool: LentMemoryPool,
    inFlightBytesMax: number,
    distance: StoreDistance,
  ) {
    this.#store = store;
    this.#memory = memory;
    this.#disk = disk;
    this.#pool = pool;
    this.#queue = new TransferQueue(limits.fetchesMax, inFlightBytesMax, artifactShare);
    this.#toDisk = new FetchedToDisk(disk);
    this.#distance = distance;
  }

  /** The number of the load that began last. */
  get begun(): number {
    return this.#begun;
  }

  /** Memory for what is on its way from the store. */
  get activeBytes(): number {
    return this.#queue.activeBytes;
  }

  statistics(): LoadStatistics {
    return { gets: this.#gets, getBytes: this.#getBytes, active: this.#queue.active };
  }

  /** Begins to load [start, end): all from the disk or all from the store. A failure is caught, for those who do not wait. */
  begin(blocks: ObjectBlocks, start: number, end: number, urgent: boolean): Load {
    const controller = new AbortController();
    const { signal } = controller;
    const isOnDisk = blocks.isOnDisk(start, end);
    const transfer = isOnDisk
      ? this.#fromDisk(blocks, start, end, signal)
      : this.#fromStore(blocks, start, end, urgent, signal);
    const promise = transfer.promise
      .then((memory) => {
        const run: Run = { blocks, start, bytes: memory.bytes, memory };
        if (!isOnDisk) this.#memory.add(run);
        for (const take of load.takers) take(run);
        memory.release();
        return run;
      })
      .finally(() => {
        blocks.dropLoad(load);
        this.#memory.tidy(blocks);
      });
    const abort = (why: unknown): void => controller.abort(why);
    const n = ++this.#begun;
    const { hurry } = transfer;
    const load: Load = { n, start, end, promise, failed: false, waiters: 0, takers: [], hurry, abort };
    blocks.addLoad(load);
    // Those who wait hear of a failure; read-ahead has nobody to tell.
    promise.catch(() => {
      load.failed = true;
    });
    return load;
  }

  /** One GET past the memory cache, when no read waits for its turn. Its turn ends when `take` has the bytes where they belong. */
  bring(
    key: string,
    range: ByteRange,
    signal: AbortSignal,
    take: (bytes: Buffer) => Promise<void>,
  ): Promise<void> {
    const get = async () => {
      signal.throwIfAborted();
      this.#gets++;
      const bytes = await this.#store.get(key, range, { signal });
      this.#getBytes += bytes.length;
      await take(bytes);
    };
    return this.#queue.run(range.length, false, get, undefined, artifactOf(key)).promise;
  }

  #fromDisk(blocks: ObjectBlocks, start: number, end: number, signal: AbortSignal) {
    const read = async () => {
      const bytes = blocks.disk === null ? null : await this.#disk.read(blocks.disk, start, end - start);
      if (bytes !== null) return new LentMemory(bytes);
      return this.#fromStore(blocks, start, end, true, signal).promise;
    };
    return { promise: read(), hurry: () => {} };
  }

  #fromStore(blocks: ObjectBlocks, start: number, end: number, urgent: boolean, signal: AbortSignal) {
    const length = end - start;
    const get = async () => {
      this.#gets++;
      // Of a failed GET it is not used again: some of it may still be on its way.
      const memory = this.#pool.take(length);
      const askedAt = performance.now();
      let isSilent = true;
      const onReceived = (): void => {
        if (isSilent) this.#distance.add(performance.now() - askedAt);
        isSilent = false;
      };
      const bytes = await this.#store.get(
        blocks.key,
        { offset: start, length },
        { signal, into: memory.bytes, onReceived },
      );
      if (bytes.length !== length) {
        throw new ArtifactError(
          'Corrupt',
          `object ${blocks.key}: ${bytes.length} bytes instead of ${length}`,
        );
      }
      this.#getBytes += length;
      return memory;
    };
    // Read-ahead goes no faster than the disk takes what it brings: otherwise the next reader would find gaps.
    const keep = (memory: LentMemory) => this.#toDisk.keep(blocks, start, memory, !urgent);
    return this.#queue.run(length, urgent, get, keep, artifactOf(blocks.key));
  }
}

/** Of all fetches, what those of one artifact may be. */
const artifactShare = 15 / 16;

/** All objects of one artifact have the same first two parts: `a/<artifactId>/`. */
const artifactOf = (key: string): string => key.slice(0, key.indexOf('/', 2));
