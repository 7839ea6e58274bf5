import type { Config } from '../config/options.js';
import { ArtifactError, isCode } from '../model/errors.js';
import type { ObjectStore } from '../store/object-store.js';
import { parseStoreUrl } from '../store/store-url.js';
import { type CopiedArtifact, copyArtifact } from '../workspace/copy-artifact.js';
import type { CheckedLog } from '../workspace/fsck/log-check.js';
import { NamedLogs } from '../workspace/fsck/named-logs.js';
import { Workspace } from '../workspace/workspace.js';
import type { DaemonRecord } from './registry.js';
import { openConfiguredStore } from './store.js';
import { configOfDaemon } from './store-of-daemon.js';

export type { CopiedArtifact };

export interface CopyBetweenOptions {
  /** Settings of the workspace that has the artifact, and of the one that gets it. */
  readonly from: Config;
  readonly to: Config;
  /** As names from the root, the preferred one first. */
  readonly artifact: readonly string[];
  /** The name of the copy; by default the artifact's own, in the root. */
  readonly path: string | undefined;
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
}

/** Settings with which a workspace of another URL is opened beside one. */
export async function configsOf(config: Config, daemon: DaemonRecord | null, otherStore: string) {
  const own = await configOfDaemon(config, daemon);
  return { own, other: { ...own, store: otherStore } };
}

/** Copies an artifact with its history from one workspace to another, by the store itself where both are in one bucket. */
export async function copyBetween(options: CopyBetweenOptions): Promise<CopiedArtifact & { path: string }> {
  const { from, to, onProgress } = options;
  await using source = await openConfiguredStore(from, { create: false });
  await using store = await openConfiguredStore(to, { create: true });
  const log = await findWhole(source, options.artifact);
  const target = await openForNew(store);
  await using bucket = await commonBucket(from, to);
  const copyInside = bucket === null ? undefined : insideOf(bucket.store, from, to);
  const path = options.path ?? log.place.path.split('/').at(-1) ?? '';
  const copied = await copyArtifact({
    source,
    log,
    target,
    path,
    ...(copyInside === undefined ? {} : { copyInside }),
    ...(onProgress === undefined ? {} : { onProgress }),
  });
  return { ...copied, path };
}

/** The log of an artifact as a whole, not of something in it. */
export async function findWhole(store: ObjectStore, names: readonly string[]): Promise<CheckedLog> {
  const { log, ref, path } = await new NamedLogs(store).find(names);
  if (ref === '' && path === '') return log;
  throw new ArtifactError('Invalid', `${names[0] ?? ''} is not a whole artifact`, {
    hint: 'export a version into a directory; artifactfs get copies a directory or a file',
  });
}

/** The workspace of a store, which must take commits; made where nothing is. */
export async function openForNew(store: ObjectStore): Promise<Workspace> {
  const target = await Workspace.open(store);
  target.requireWritable();
  const { writable, createIfAbsent } = await store.probe();
  if (!writable || !createIfAbsent) throw new ArtifactError('ReadOnly', `${store.url} takes no commits`);
  return target;
}

/** The bucket that both are in. */
async function commonBucket(from: Config, to: Config) {
  const [a, b] = [parseStoreUrl(from.store), parseStoreUrl(to.store)];
  if (a.kind !== 's3' || b.kind !== 's3' || a.bucket !== b.bucket || from.endpoint !== to.endpoint)
    return null;
  const store = await openConfiguredStore({ ...from, store: `s3://${a.bucket}` }, { create: false });
  return { store, [Symbol.asyncDispose]: () => store[Symbol.asyncDispose]() };
}

const partBytes = 512 << 20;

function insideOf(store: ObjectStore, from: Config, to: Config) {
  const keyIn = ({ store: url }: Config, key: string) => {
    const parsed = parseStoreUrl(url);
    return parsed.kind === 's3' && parsed.prefix !== '' ? `${parsed.prefix}/${key}` : key;
  };
  let isPossible = true;
  return async (source: string, target: string, size: number): Promise<boolean> => {
    if (!isPossible || size === 0) return false;
    const key = keyIn(to, target);
    const uploadId = await store.createMultipart(key);
    try {
      const parts = [];
      for (let offset = 0; offset < size; offset += partBytes) {
        const piece = { key: keyIn(from, source), offset, length: Math.min(partBytes, size - offset) };
        parts.push(await store.copyPart(key, uploadId, parts.length + 1, piece));
      }
      await store.completeMultipart(key, uploadId, parts);
      return true;
    } catch (error) {
      await store.abortMultipart(key, uploadId);
      if (!isCode(error, 'Unsupported')) throw error;
      isPossible = false;
      return false;
    }
  };
}
