import { isCode, toArtifactError } from '../../model/errors.js';
import type { CallOptions } from '../../store/object-store.js';
import { requireCollectable } from '../features.js';
import { retentionOf, versionsToExpire } from '../retention.js';
import {
  type ArtifactReport,
  type CollectedWorkspace,
  type CollectOptions,
  collectArtifact,
} from './collector.js';
import { type NamedArtifact, NameReader } from './named-artifacts.js';
import type { ExpiryPolicy } from './propose.js';
import { ageMs, storeTimeMs } from './store-clock.js';

export interface GcOptions extends CallOptions {
  /** Artifacts by names from the root, each with all below it; none: the whole workspace, also what has no name. */
  readonly paths: readonly string[];
  readonly graceMs: number;
  readonly deadAfterMs: number;
  readonly dryRun: boolean;
  readonly onProgress?: (progress: GcProgress) => void;
}

interface GcProgress {
  readonly artifactsDone: number;
  readonly artifactsTotal: number;
  readonly objectsFreed: number;
  readonly bytesFreed: number;
}

export interface GcReport {
  readonly artifacts: readonly (ArtifactReport & { readonly path: string | null })[];
  /** Artifacts in which nothing more was done, and why. */
  readonly failures: readonly {
    readonly artifactId: string;
    readonly path: string | null;
    readonly error: Error;
  }[];
}

/**
 * Collects the artifacts of a workspace one after the other. What is wrong with one artifact is reported and does not
 * keep the others; a store that does not answer, or takes no writes, is thrown.
 */
export async function collectGarbage(workspace: CollectedWorkspace, options: GcOptions): Promise<GcReport> {
  const { paths, dryRun, graceMs, signal } = options;
  requireCollectable(`the workspace at ${workspace.store.url}`, workspace.format);
  if (!dryRun) await workspace.admitWrite();
  const nowMs = await storeTimeMs(workspace.store, options);
  const names = new NameReader(workspace, signal === undefined ? {} : { signal });
  const chosen = paths.length === 0 ? await names.all() : await belowAll(names, paths);
  const artifacts: (ArtifactReport & { path: string | null })[] = [];
  const failures: { artifactId: string; path: string | null; error: Error }[] = [];
  let freed = { objects: 0, bytes: 0 };
  const tell = (more: { objects: number; bytes: number }): void =>
    options.onProgress?.({
      artifactsDone: artifacts.length + failures.length,
      artifactsTotal: chosen.length,
      objectsFreed: freed.objects + more.objects,
      bytesFreed: freed.bytes + more.bytes,
    });
  for (const named of chosen) {
    const { artifactId, path } = named;
    try {
      const policy = await policyOf(names, named, { nowMs, graceMs });
      const collect: CollectOptions = { ...options, nowMs, policy, onFreed: tell };
      const report = { ...(await collectArtifact(workspace, artifactId, collect)), path };
      artifacts.push(report);
      freed = { objects: freed.objects + report.freed.objects, bytes: freed.bytes + report.freed.bytes };
    } catch (error) {
      if (isCode(error, 'StoreUnavailable', 'StoreDenied', 'StoreMissing', 'Interrupted', 'ReadOnly'))
        throw error;
      failures.push({ artifactId, path, error: toArtifactError(error) });
    }
    tell({ objects: 0, bytes: 0 });
  }
  return { artifacts, failures };
}

async function belowAll(names: NameReader, paths: readonly string[]): Promise<NamedArtifact[]> {
  const chosen = new Map<string, NamedArtifact>();
  for (const path of paths) for (const named of await names.below(path)) chosen.set(named.artifactId, named);
  return [...chosen.values()];
}

/** By the retention of its manifest, or of the nearest collection's; of an artifact that was removed long ago, all. */
async function policyOf(
  names: NameReader,
  { artifactId, path, collections, removedMs }: NamedArtifact,
  { nowMs, graceMs }: { nowMs: number; graceMs: number },
): Promise<ExpiryPolicy> {
  if (path === null) {
    const isOver = removedMs !== null && ageMs(nowMs, removedMs) >= graceMs;
    if (!isOver || !(await names.isStillRemoved(artifactId))) return () => [];
    return ({ versions }) => versions.filter(({ expired }) => !expired).map(({ version }) => version);
  }
  return (state, now) => {
    const retention = retentionOf([state.manifest, ...collections]);
    return retention === null ? [] : versionsToExpire(state, retention, now);
  };
}
