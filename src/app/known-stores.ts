import { createHash } from 'node:crypto';
import { mkdir, readFile, rename, writeFile } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Config } from '../config/options.js';
import { ArtifactError, isCode } from '../model/errors.js';
import type { ObjectStore } from '../store/object-store.js';
import type { CreateMode } from '../workspace/format.js';
import { Workspace } from '../workspace/workspace.js';

/**
 * Which stores had a workspace when this machine last used them. A disk that is not mounted today, or a bucket that was
 * emptied, must not be taken for a store that is new: commits would go into a second workspace beside the lost one.
 */
export async function openKnownWorkspace(
  config: Config,
  create: CreateMode,
  openStore: (create: boolean) => Promise<ObjectStore>,
): Promise<{ store: ObjectStore; workspace: Workspace }> {
  const path = recordPath(config);
  const isKnown = create === 'if-empty' && path !== null && (await isThere(path));
  const mode = isKnown ? false : create;
  let store: ObjectStore | undefined;
  try {
    store = await openStore(mode !== false);
    const workspace = await Workspace.open(store, { create: mode });
    if (path !== null) await remember(path, config.store, workspace.workspaceId);
    return { store, workspace };
  } catch (error) {
    await store?.[Symbol.asyncDispose]();
    if (!isKnown || !isCode(error, 'StoreMissing', 'NotFound')) throw error;
    throw new ArtifactError(
      error.code,
      `${config.store} has no workspace any more, but had one when it was last used here`,
      { hint: 'mount the disk that holds it; artifactfs mount --create makes a new one instead' },
      error,
    );
  }
}

function recordPath({ store, endpoint, stateDir }: Config): string | null {
  if (store.startsWith('memory:')) return null;
  const hash = createHash('sha256')
    .update(JSON.stringify([store, endpoint ?? null]))
    .digest('hex');
  return join(stateDir, 'stores', `${hash.slice(0, 16)}.json`);
}

async function isThere(path: string): Promise<boolean> {
  try {
    await readFile(path);
    return true;
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    if (code === 'ENOENT' || code === 'ENOTDIR') return false;
    throw error;
  }
}

async function remember(path: string, store: string, workspaceId: string): Promise<void> {
  const text = `${JSON.stringify({ store, workspaceId })}\n`;
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
