import type { Config } from '../config/options.js';
import type { ObjectStore } from '../store/object-store.js';
import { openStore } from '../store/open-store.js';
import type { StoreLogger } from '../store/wrap/log.js';
import { SingleWriterStore } from '../store/wrap/single-writer.js';
import { thisWriter } from '../workspace/workspace.js';
import { WriterLease } from '../workspace/writer-lease.js';

/** The store that the settings name. `create` makes the directory of a file:// store. The caller disposes of it. */
export function openConfiguredStore(
  config: Config,
  options: { create: boolean; logger?: StoreLogger },
): Promise<ObjectStore> {
  const { endpoint, region, profile, pathStyle, accessKeyId, secretAccessKey, checksums } = config;
  const s3 = {
    checksums,
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(region === undefined ? {} : { region }),
    ...(profile === undefined ? {} : { profile }),
    ...(pathStyle === undefined ? {} : { pathStyle }),
    ...(accessKeyId === undefined ? {} : { accessKeyId }),
    ...(secretAccessKey === undefined ? {} : { secretAccessKey }),
  };
  const { create, logger } = options;
  return openStore(config.store, { create, s3, ...(logger === undefined ? {} : { logger }) });
}

/** The same for who writes to it: with the lease that makes it the one writer, where it may have to be that. */
export async function openStoreToWrite(
  config: Config,
  options: { create: boolean; logger?: StoreLogger },
  mount: string | null,
): Promise<{ store: ObjectStore; lease: WriterLease | null }> {
  const store = await openConfiguredStore(config, options);
  if (!config.singleWriter || config.readOnly) return { store, lease: null };
  const lease = new WriterLease({ store, ...thisWriter(), mount });
  return { store: new SingleWriterStore(store, lease), lease };
}
