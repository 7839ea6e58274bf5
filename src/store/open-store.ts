import { FileStore } from './file/file-store.js';
import { MemoryStore } from './memory/memory-store.js';
import type { ObjectStore } from './object-store.js';
import type { S3Options } from './s3/s3-options.js';
import { parseStoreUrl, type StoreUrl } from './store-url.js';
import { type HedgeOptions, HedgeStore } from './wrap/hedge.js';
import { LimitStore } from './wrap/limit.js';
import { LogStore, type StoreLogger } from './wrap/log.js';
import { type RetryOptions, RetryStore } from './wrap/retry.js';

export interface OpenStoreOptions {
  /** Makes the directory of a file:// store when it is missing. Buckets are never made. */
  readonly create?: boolean;
  readonly s3?: S3Options;
  readonly retry?: RetryOptions;
  /** Of an S3 store. */
  readonly hedge?: HedgeOptions;
  /** Requests at a time. */
  readonly requestsMax?: number;
  /** Without it nothing is logged. */
  readonly logger?: StoreLogger;
  /** For tests: a wrapper next to the store itself, such as a `FaultStore`. */
  readonly wrap?: (store: ObjectStore) => ObjectStore;
}

/**
 * The store a URL names, with retries, limits and logs. Nothing is sent yet, except that a file:// store whose
 * directory is missing is `StoreMissing`. The caller disposes of it.
 */
export async function openStore(url: string, options: OpenStoreOptions = {}): Promise<ObjectStore> {
  const parsed = parseStoreUrl(url);
  const isS3 = parsed.kind === 's3';
  const store = await openBareStore(parsed, options);
  const wrapped = options.wrap?.(store) ?? store;
  const logged = options.logger === undefined ? wrapped : new LogStore(wrapped, options.logger);
  const hedged = isS3 ? new HedgeStore(logged, options.hedge) : logged;
  const limited = new LimitStore(hedged, options.requestsMax);
  return new RetryStore(limited, { ...options.retry, storeRepeatsParts: isS3 });
}

async function openBareStore(url: StoreUrl, options: OpenStoreOptions): Promise<ObjectStore> {
  switch (url.kind) {
    case 's3': {
      // Its libraries are a third of the program: who does not need them does not wait for them.
      const { S3Store } = await import('./s3/s3-store.js');
      return new S3Store(url, {
        ...(options.retry === undefined ? {} : { retry: options.retry }),
        ...options.s3,
      });
    }
    case 'file':
      return FileStore.open(url.dir, { create: options.create === true });
    case 'memory':
      return memoryStore(url.name);
  }
}

/** One per name for the life of the process, so that a daemon can be restarted on it in a test. */
const memoryStores = new Map<string, MemoryStore>();

function memoryStore(name: string): MemoryStore {
  const store = memoryStores.get(name) ?? new MemoryStore(`memory:${name}`);
  memoryStores.set(name, store);
  return store;
}
