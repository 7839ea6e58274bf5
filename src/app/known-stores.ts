import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Config } from '../config/options.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { ObjectStore } from '../store/object-store.js';
import { withinOwnTime } from '../util/within.js';
import { type CreateMode, decodeFormat, encodeFormat, type WorkspaceFormat } from '../workspace/format.js';
import { Workspace } from '../workspace/workspace.js';

interface OpenedWorkspace {
  readonly store: ObjectStore;
  readonly workspace: Workspace;
  /** The store did not answer in time: the workspace is as it was when this machine last used it. */
  readonly isAway: boolean;
}

/**
 * Which stores had a workspace when this machine last used them, and which. A disk that is not mounted today, or a bucket
 * that was emptied, must not be taken for a store that is new: commits would go into a second workspace beside the lost one.
 * With `mayBeAway` a known store that does not answer is opened all the same.
 */
export async function openKnownWorkspace(
  config: Config,
  { create, mayBeAway }: { create: CreateMode; mayBeAway: boolean },
  openStore: (create: boolean) => Promise<ObjectStore>,
): Promise<OpenedWorkspace> {
  const path = recordPath(config);
  const known = create === true || path === null ? undefined : await recall(path);
  const mode = known === undefined ? create : false;
  let store: ObjectStore | undefined;
  try {
    store = await openStore(mode !== false);
    const opening = Workspace.open(store, { create: mode });
    const format = known?.format;
    const workspace = mayBeAway && format !== undefined ? await ifAnswered(opening) : await opening;
    if (workspace === null && format !== undefined)
      return { store, workspace: Workspace.known(store, format), isAway: true };
    if (workspace === null) return { store, workspace: await opening, isAway: false };
    if (path !== null) await remember(path, config.store, workspace);
    return { store, workspace, isAway: false };
  } catch (error) {
    await store?.[Symbol.asyncDispose]();
    if (known === undefined || !isCode(error, 'StoreMissing', 'NotFound')) throw error;
    throw new ArtifactError(
      error.code,
      `${config.store} has no workspace any more, but had one when it was last used here`,
      { hint: 'mount the disk that holds it; artifactfs mount --create makes a new one instead' },
      error,
    );
  }
}

/** Null when the store is away. */
async function ifAnswered(opening: Promise<Workspace>): Promise<Workspace | null> {
  try {
    return (await withinOwnTime(limits.startStoreMsMax, opening)) ?? null;
  } catch (error) {
    if (isCode(error, 'StoreUnavailable')) return null;
    throw error;
  }
}

function recordPath({ store, endpoint, stateDir }: Config): string | null {
  if (store.startsWith('memory:')) return null;
  const hash = createHash('sha256')
    .update(JSON.stringify([store, endpoint ?? null]))
    .digest('hex');
  return join(stateDir, 'stores', `${hash.slice(0, 16)}.json`);
}

/** Undefined when the store is not known. Its format is missing when an older version, or a newer one, remembered it. */
async function recall(path: string): Promise<{ format?: WorkspaceFormat } | undefined> {
  let text: string;
  try {
    text = await readFile(path, 'utf8');
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return undefined;
    throw error;
  }
  try {
    const { format } = JSON.parse(text) as { format?: string };
    return format === undefined ? {} : { format: decodeFormat(path, Buffer.from(format)) };
  } catch {
    return {};
  }
}

async function remember(path: string, store: string, { workspaceId, format }: Workspace): Promise<void> {
  const text = `${JSON.stringify({ store, workspaceId, format: encodeFormat(format).toString() })}\n`;
  if ((await readFile(path, 'utf8').catch(() => '')) === text) return;
  try {
    await mkdir(dirname(path), { recursive: true, mode: 0o700 });
    const temporary = `${path}.${process.pid}.tmp`;
    await writeFile(temporary, text, { mode: 0o600 });
    await rename(temporary, path);
  } catch (error) {
    const { message } = error as Error;
    throw new ArtifactError(
      'AccessDenied',
      `state directory ${dirname(path)} cannot be written: ${message}`,
      { hint: 'choose another with --state-dir' },
      error,
    );
  }
}
