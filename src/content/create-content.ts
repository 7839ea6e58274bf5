import { join } from 'node:path';
import { limits } from '../model/limits.js';
import type { ObjectStore } from '../store/object-store.js';
import { BlockFetcher, type FetchStatistics } from './block-fetcher.js';
import { BlockReader } from './block-reader.js';
import { DiskBudget } from './disk-budget.js';
import { DiskCache, type DiskCacheStatistics } from './disk-cache.js';
import { FreeSpace } from './free-space.js';
import { LocalObjects } from './local-objects.js';
import { MemoryCache } from './object-blocks.js';
import type { ContentReader, Staging, Uploader, UploadJournal } from './ports.js';
import { ReadAheadBudget } from './read-ahead.js';
import { StagingFiles } from './staging.js';
import type { ContentKeys } from './stream-uploads.js';
import { ContentUploader } from './uploader.js';

export interface ContentOptions {
  readonly store: ObjectStore;
  readonly keys: ContentKeys;
  readonly journal: UploadJournal;
  /** `staging/` and `cache/` are made in it; it must exist and belong to this daemon alone. */
  readonly stateDirectory: string;
  /** The whole daemon's budget; a quarter of it is for cached blocks, read-ahead and parts under way. */
  readonly memoryBytesMax: number;
  /** For staged files and cached blocks together. */
  readonly diskBytesMax: number;
  /** For cached blocks alone; default `diskBytesMax`. */
  readonly cacheBytesMax?: number;
}

interface ContentStatistics {
  readonly memoryBytes: number;
  readonly memoryBytesMax: number;
  readonly stagedBytes: number;
  readonly diskBytesMax: number;
  readonly disk: DiskCacheStatistics;
  readonly fetch: FetchStatistics;
}

export interface Content extends AsyncDisposable {
  readonly reader: ContentReader;
  readonly staging: Staging;
  readonly uploader: Uploader;
  statistics(): ContentStatistics;
}

/** The byte side of a mount. Closing it leaves staged files, cache and journal for the next start. */
export function createContent(options: ContentOptions): Content {
  const { store, keys, journal, stateDirectory } = options;
  const shares = memoryShares(options.memoryBytesMax);
  const budget = new DiskBudget(options.diskBytesMax, new FreeSpace(stateDirectory), options.cacheBytesMax);
  const files = new StagingFiles(join(stateDirectory, 'staging'), budget);
  const memory = new MemoryCache(shares.cacheBytes);
  const disk = new DiskCache(join(stateDirectory, 'cache'), budget, shares.cacheWriteBytes);
  const fetcher = new BlockFetcher(store, memory, disk, shares.fetchBytes);
  const readAhead = new ReadAheadBudget(shares.cacheBytes / 2);
  const localObjects = new LocalObjects(disk, store);
  const { objectKey } = keys;
  const reader = new BlockReader({ memory, fetcher, staging: files, readAhead, localObjects, objectKey });
  const uploader = new ContentUploader({
    store,
    keys,
    staging: files,
    journal,
    reader,
    memoryBytesMax: shares.uploadBytes,
    onPack: (key, bytes) => disk.keep(key, bytes),
  });
  return {
    reader,
    staging: keepingStaging(files, uploader, disk),
    uploader,
    statistics: () => ({
      memoryBytes: memory.bytes,
      memoryBytesMax: shares.cacheBytes,
      stagedBytes: budget.stagedBytes,
      diskBytesMax: budget.bytesMax,
      disk: disk.statistics(),
      fetch: fetcher.statistics(),
    }),
    async [Symbol.asyncDispose]() {
      await uploader[Symbol.asyncDispose]();
      await disk[Symbol.asyncDispose]();
      files[Symbol.dispose]();
    },
  };
}

/**
 * What each part may hold of the daemon's budget. Together it is a quarter: buffers that are done with live on until V8
 * collects them, SQLite and the program itself take theirs, and the kernel caches the same bytes once more anyhow.
 */
function memoryShares(bytes: number) {
  const share = (parts: number, least: number) => Math.max(Math.floor((bytes * parts) / 32), least);
  return {
    cacheBytes: share(3, limits.packBytesTarget),
    fetchBytes: share(2, 2 * limits.getBytesMax),
    cacheWriteBytes: share(1, 2 * limits.getBytesMax),
    uploadBytes: share(2, limits.packBytesTarget),
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
