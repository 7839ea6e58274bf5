import { rm } from 'node:fs/promises';
import { join } from 'node:path';
import { markOf, openCatalog } from '../catalog/open-catalog.js';
import type { Config } from '../config/options.js';
import { ArtifactError, isCode } from '../model/errors.js';
import type { ObjectStore } from '../store/object-store.js';
import type { Finding } from '../workspace/fsck/findings.js';
import { type FsckOptions, type FsckTotals, fsck } from '../workspace/fsck/fsck.js';
import { NamedLogs } from '../workspace/fsck/named-logs.js';
import { readLogUpTo } from '../workspace/log.js';
import { Workspace } from '../workspace/workspace.js';
import { CatalogCheck, catalogDiffers, openLocalCatalog } from './catalog-check.js';
import type { DaemonRecord } from './registry.js';
import { StateDirectory } from './state-directory.js';
import { openConfiguredStore } from './store.js';
import { configOfDaemon } from './store-of-daemon.js';

export type { Finding, FsckTotals };

/** Checks the store that `daemon` has open, or that the settings name, and this machine's catalog of it. */
export async function* checkWorkspace(
  config: Config,
  daemon: DaemonRecord | null,
  options: Pick<FsckOptions, 'paths' | 'onArtifact'>,
): AsyncGenerator<Finding, FsckTotals> {
  const settings = await configOfDaemon(config, daemon);
  await using store = await openConfiguredStore(settings, { create: false });
  const workspaceId = await workspaceOf(store);
  const catalog =
    workspaceId === null || settings.store.startsWith('memory:')
      ? null
      : await openLocalCatalog(settings.stateDir, workspaceId, daemon?.socketPath ?? null);
  if (typeof catalog === 'string') yield catalogDiffers(null, catalog);
  if (catalog === null || typeof catalog === 'string') return yield* fsck(store, options);
  await using opened = catalog;
  return yield* fsck(store, { ...options, local: new CatalogCheck(opened, store) });
}

/** null: what identifies it is damaged, which the check tells. */
async function workspaceOf(store: ObjectStore): Promise<string | null> {
  try {
    return (await Workspace.open(store, { create: false })).workspaceId;
  } catch (error) {
    if (isCode(error, 'Corrupt', 'NotFound')) return null;
    throw error;
  }
}

/**
 * Makes this machine's catalog of a workspace anew from the logs in its store, each as far as it is whole; trees follow as
 * they are wanted. Answers how many artifacts it has. `Busy` while a daemon has it open.
 */
export async function rebuildCatalog(config: Config): Promise<number> {
  await using store = await openConfiguredStore(config, { create: false });
  const workspace = await Workspace.open(store, { create: false });
  if (config.store.startsWith('memory:'))
    throw new ArtifactError('Unsupported', 'a memory: store has no catalog that stays');
  await using state = await StateDirectory.open(config.stateDir, workspace.workspaceId);
  const logs = new NamedLogs(store);
  const ids = await logs.below(await logs.root());
  const path = join(state.path, 'catalog.db');
  for (const file of [path, `${path}-wal`, `${path}-shm`, markOf(path)]) await rm(file, { force: true });
  using catalog = openCatalog(path, workspace);
  for (const id of ids) {
    const log = logs.known(id);
    if (log === undefined || log.state.headSeq === 0) continue;
    catalog.apply(id, await readLogUpTo(store, id, log.state.headSeq));
  }
  return catalog.stats().artifacts;
}
