import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Workspace } from '../workspace/workspace.js';

/**
 * Why nothing may be committed to the store, or null. A mount proves it each time; a command that lives for one call
 * takes the word of an earlier proof from this machine, so that `ls` costs no ten requests.
 */
export async function proveStore(
  workspace: Workspace,
  stateDirectory: string,
  mayRemember: boolean,
): Promise<string | null> {
  const path = join(stateDirectory, 'store-proof.json');
  const { store } = workspace;
  if (mayRemember && (await readText(path)) === proofOf(store.url)) return null;
  const { writable, createIfAbsent } = await store.probe();
  if (!writable) return `the credentials do not allow to write to ${store.url}`;
  if (!createIfAbsent) {
    return `${store.url} overwrites what exists (no create-if-absent), so that two commits could destroy each other`;
  }
  workspace.requireWritable();
  await writeFile(path, proofOf(store.url), { mode: 0o600 });
  return null;
}

const proofOf = (url: string) => `${JSON.stringify({ proved: 'create-if-absent', url })}\n`;

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
