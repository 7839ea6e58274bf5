import { join } from 'node:path';
import { openArtifacts, type WorkspaceArtifacts } from '../artifacts/artifacts.js';
import { CachedFiles } from '../artifacts/cached-files.js';
import type { Artifacts } from '../artifacts/ports.js';
import type { StageRow } from '../artifacts/stage-db/stage-rows.js';
import type { CatalogFacts } from '../catalog/catalog-facts.js';
import { openCatalog } from '../catalog/open-catalog.js';
import type { Config } from '../config/options.js';
import { type Content, createContent } from '../content/create-content.js';
import { type BlockFiles, NativeBlockFiles, plainBlockFiles } from '../content/local/block-files.js';
import type { UploaderStatus } from '../content/ports.js';
import { loadNative } from '../fuse/native.js';
import type { RootLogger } from '../log/logger.js';
import type { MemoryShares } from '../model/memory-shares.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { collectGarbage, type GcOptions, type GcReport } from '../workspace/gc/collect-garbage.js';
import { dataObject, objectKey, packObject } from '../workspace/keys.js';
import type { Workspace } from '../workspace/workspace.js';
import { Closers } from './closers.js';
import { LateJournal } from './late-journal.js';
import type { LiveStage } from './lease-keeper.js';

export interface LayersOptions {
  readonly config: Config;
  readonly workspace: Workspace;
  /** The locked state directory. */
  readonly state: string;
  readonly log: RootLogger;
  /** The store does not answer: what the catalog knows is used as it is. */
  readonly isAway: boolean;
  /** Commits of others are to be seen soon. */
  readonly polls: boolean;
  /** Throws `ReadOnly` when nothing may be staged any more; a promise while that is not known. */
  readonly admitChange: () => MaybePromise<void>;
}

/** Catalog, content and artifacts of one workspace, wired to each other. */
export interface Layers extends AsyncDisposable {
  readonly artifacts: Artifacts;
  readonly cache: CachedFiles;
  collectGarbage(options: GcOptions): Promise<GcReport>;
  /** For comparing the catalog with the store. */
  readonly catalog: CatalogFacts;
  /** What is staged here, for others to know. */
  stages(): readonly LiveStage[];
  uploads(): UploaderStatus;
  counters(): Record<string, number>;
  /** Bytes that the parts of the content layer hold of their shares of the memory budget. */
  memory(): Omit<MemoryShares, 'requests'>;
  /** Of the local disk, what gives way to staged files. */
  cachedBytes(): number;
}

export async function openLayers(options: LayersOptions): Promise<Layers> {
  const { config, workspace, state, log } = options;
  const closers = new Closers();
  try {
    const catalogLog = log.named('catalog');
    const catalog = closers.use(
      openCatalog(join(state, 'catalog.db'), workspace, {
        onRebuild: (err, movedTo) =>
          catalogLog.warn({ err, movedTo }, 'the catalog is read anew from the store'),
      }),
    );
    const journal = new LateJournal();
    const content = closers.use(
      createContent({
        store: workspace.store,
        keys: { objectKey, packObject, dataObject },
        journal,
        stateDirectory: state,
        memoryBytesMax: config.memory,
        // What is staged is limited by the disk alone: it is somebody's only copy.
        diskBytesMax: Number.MAX_SAFE_INTEGER,
        cacheBytesMax: config.cacheSize,
        blockFiles: blockFiles(),
      }),
    );
    closers.defer(() => journal.close());
    const artifactsLog = log.named('artifacts');
    const artifacts: WorkspaceArtifacts = closers.use(
      await openArtifacts({
        workspace,
        catalog,
        reader: content.reader,
        staging: content.staging,
        createUploader: (opened) => {
          journal.open(opened);
          return content.uploader;
        },
        store: content.uploads,
        stateDir: state,
        storeIsAway: options.isAway,
        readsOpenedLogs: options.polls && !options.isAway,
        admitChange: options.admitChange,
        onError: (err, doing) => artifactsLog.error({ err }, doing),
      }),
    );
    return {
      artifacts,
      cache: new CachedFiles(content.cache),
      collectGarbage: (gc) => collectGarbage(workspace, gc),
      catalog: catalog.facts,
      stages: () =>
        artifacts.staged().flatMap(({ tree: { core } }) => liveStage(core.stage.artifactId, core.stage.row)),
      uploads: () => content.uploader.status(),
      counters: () => countersOf(content),
      memory: () => content.statistics().memory,
      cachedBytes: () => content.statistics().disk.bytes,
      [Symbol.asyncDispose]: () => closers[Symbol.asyncDispose](),
    };
  } catch (error) {
    await closers[Symbol.asyncDispose]().catch(() => undefined); // the reason is in `error`
    throw error;
  }
}

function liveStage(artifactId: string, row: StageRow | null): LiveStage[] {
  if (row === null) return [];
  const { stageId, base, sealed, uses } = row;
  const state = sealed === null ? 'staging' : 'committing';
  return [{ artifactId, stageId, base: base?.version ?? null, ...uses, state }];
}

/** By the addon, where it is built. */
function blockFiles(): BlockFiles {
  try {
    return new NativeBlockFiles(loadNative());
  } catch {
    return plainBlockFiles; // who mounts is told why it does not load
  }
}

function countersOf(content: Content): Record<string, number> {
  const { stagedBytes, disk, fetch, walks } = content.statistics();
  return {
    'content.stagedBytes': stagedBytes,
    'cache.memoryHitBytes': fetch.memoryHitBytes,
    'cache.objects': disk.objects,
    'cache.bytes': disk.bytes,
    'cache.hitBytes': disk.hitBytes,
    'cache.badBlocks': disk.badBlocks,
    'cache.verifiedObjects': disk.verifiedObjects,
    'cache.writeErrors': disk.writeErrors,
    'ahead.filesBytes': walks.aheadBytes,
    'ahead.filesWastedBytes': walks.wastedBytes,
    'store.gets': fetch.gets,
    'store.getBytes': fetch.getBytes,
    'store.getsActive': fetch.active,
  };
}
