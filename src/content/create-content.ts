import { join } from 'node:path';
import { limits } from '../model/limits.js';
import { type MemoryShares, memoryShares } from '../model/memory-shares.js';
import type { ObjectStore } from '../store/object-store.js';
import { CacheHolds } from './cache/cache-holds.js';
import { CachePins } from './cache/cache-pins.js';
import { DiskCache, type DiskCacheStatistics } from './cache/disk-cache.js';
import { LocalObjects } from './cache/local-objects.js';
import { type BlockFiles, plainBlockFiles } from './local/block-files.js';
import { DiskBudget } from './local/disk-budget.js';
import { FreeSpace } from './local/free-space.js';
import { StagingFiles } from './local/staging.js';
import type { ContentReader, Staging, Uploader, UploadJournal } from './ports.js';
import { BlockFetcher, type FetchStatistics } from './read/block-fetcher.js';
import { BlockReader } from './read/block-reader.js';
import { CacheControl } from './read/cache-control.js';
import { MemoryCache } from './read/object-blocks.js';
import { ReadAheadBudget } from './read/read-ahead.js';
import { type WalkStatistics, Walks } from './read/walks.js';
import { StoreDistance } from './store-distance.js';
import { BegunUploads } from './upload/begun-uploads.js';
import type { ContentKeys } from './upload/stream-uploads.js';
import { ContentUploader } from './upload/uploader.js';

export interface ContentOptions {
  readonly store: ObjectStore;
  readonly keys: ContentKeys;
  readonly journal: UploadJournal;
  /** `staging/` and `cache/` are made in it; it must exist and belong to this daemon alone. */
  readonly stateDirectory: string;
  /** The whole daemon's budget, of which this layer takes its shares (model/memory-shares.ts). */
  readonly memoryBytesMax: number;
  /** For staged files and cached blocks together. */
  readonly diskBytesMax: number;
  /** For cached blocks alone; default `diskBytesMax`. */
  readonly cacheBytesMax?: number;
  /** For tests: default `limits.uploadSweepQuietMs`. */
  readonly uploadSweepQuietMs?: number;
  /** Default: as Node can do it. */
  readonly blockFiles?: BlockFiles;
}

interface ContentStatistics {
  /** What each part of this layer holds of its share of the memory budget. */
  readonly memory: Record<Exclude<keyof MemoryShares, 'requests'>, number>;
  /** Objects of which somebody has a file open. */
  readonly objectsInUse: number;
  readonly stagedBytes: number;
  readonly diskBytesMax: number;
  readonly disk: DiskCacheStatistics;
  readonly fetch: FetchStatistics;
  readonly walks: WalkStatistics;
}

export interface Content extends AsyncDisposable {
  readonly reader: ContentReader;
  readonly staging: Staging;
  readonly uploader: Uploader;
  /** The store for who uploads large objects by himself. */
  readonly uploads: ObjectStore;
  readonly cache: CacheControl;
  statistics(): ContentStatistics;
}

/** The byte side of a mount. Closing it leaves staged files, cache and journal for the next start. */
export function createContent(options: ContentOptions): Content {
  const { store, keys, journal, stateDirectory } = options;
  const shares = memoryShares(options.memoryBytesMax);
  const budget = new DiskBudget(options.diskBytesMax, new FreeSpace(stateDirectory), options.cacheBytesMax);
  const { blockFiles = plainBlockFiles } = options;
  const staging = join(stateDirectory, 'staging');
  const files = new StagingFiles(staging, budget, limits.stagingOpenFilesMax, blockFiles);
  const memory = new MemoryCache(shares.blocks);
  const holds = new CacheHolds();
  const pins = new CachePins(join(stateDirectory, 'pins.json'), holds);
  const disk = new DiskCache(join(stateDirectory, 'cache'), budget, shares.cacheWrites, holds, blockFiles);
  const distance = new StoreDistance();
  const makeMemory = (bytes: number) => blockFiles.memory(bytes);
  const fetcher = new BlockFetcher(store, memory, disk, shares.fetches, distance, makeMemory);
  const readAhead = new ReadAheadBudget((shares.blocks * 3) / 4, () => distance.isNear);
  const localObjects = new LocalObjects(disk, store);
  const { objectKey } = keys;
  const walks = new Walks({ fetcher, memory, readAhead, objectKey });
  const reader = new BlockReader({
    memory,
    fetcher,
    staging: files,
    readAhead,
    walks,
    localObjects,
    objectKey,
  });
  const begun: BegunUploads = new BegunUploads(store, {
    journal,
    isGoingOn: (key) => uploader.isGoingOn(key),
    ...(options.uploadSweepQuietMs === undefined ? {} : { quietMs: options.uploadSweepQuietMs }),
  });
  const uploader = new ContentUploader({
    store: begun,
    keys,
    staging: files,
    journal,
    reader,
    memoryBytesMax: shares.uploads,
    distance,
    onPack: (key, bytes) => disk.keep(key, bytes),
  });
  return {
    reader,
    staging: keepingStaging(files, uploader, disk),
    uploader,
    uploads: begun,
    cache: new CacheControl({ fetcher, memory, disk, pins, objectKey }),
    statistics: () => ({
      memory: {
        blocks: memory.bytes,
        fetches: fetcher.activeBytes,
        cacheWrites: disk.waitingBytes,
        uploads: uploader.memoryBytes,
      },
      objectsInUse: memory.objectsInUse,
      stagedBytes: budget.stagedBytes,
      diskBytesMax: budget.bytesMax,
      disk: disk.statistics(),
      fetch: fetcher.statistics(),
      walks: walks.statistics(),
    }),
    async [Symbol.asyncDispose]() {
      await uploader[Symbol.asyncDispose]();
      await begun[Symbol.asyncDispose]();
      await disk[Symbol.asyncDispose]();
      files[Symbol.dispose]();
    },
  };
}

/**
 * Staging as the layers above see it: a file whose bytes are exactly a finished object becomes the cache of that
 * object when it is removed, instead of being fetched again.
 */
function keepingStaging(files: StagingFiles, uploader: ContentUploader, disk: DiskCache): Staging {
  return {
    write: (file, offset, data) => files.write(file, offset, data),
    read: (file, offset, length) => files.read(file, offset, length),
    admitRows: () => files.admitRows(),
    get reclaimable() {
      return files.reclaimable;
    },
    reclaimRows: (retry) => files.reclaimRows(retry),
    sync: (file) => files.sync(file),
    files: () => files.files(),
    usedBytes: () => files.usedBytes(),
    remove: (file) => {
      const finished = uploader.finished(file);
      uploader.forget(file);
      const kept = finished !== null && files.handOver(file, (path) => disk.adopt(finished, path));
      if (!kept) files.remove(file);
    },
  };
}
