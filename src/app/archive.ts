import { randomUUID } from 'node:crypto';
import { createReadStream } from 'node:fs';
import { lstat, open, rename, rm, stat } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import type { Readable } from 'node:stream';
import { type ExportedFiles, exportFiles } from '../archive/export-files.js';
import { type ExportedHistory, exportHistory } from '../archive/export-history.js';
import { type ImportedArtifact, importFiles } from '../archive/import-files.js';
import { type ImportedHistory, importHistory, isHistory } from '../archive/import-history.js';
import { importTar } from '../archive/import-tar.js';
import { localError } from '../archive/local-files.js';
import type { Loss } from '../archive/not-kept.js';
import { readTar, type TarEntry } from '../archive/read-tar.js';
import type { Config } from '../config/options.js';
import { loadNative } from '../fuse/native.js';
import { ArtifactError } from '../model/errors.js';
import type { CallOptions } from '../store/object-store.js';
import type { FileCalls } from '../util/file-calls.js';
import { NamedLogs, versionOf } from '../workspace/fsck/named-logs.js';
import { Workspace } from '../workspace/workspace.js';
import { findWhole, openForNew } from './copy-artifact.js';
import { openConfiguredStore } from './store.js';

export type { ExportedFiles, ExportedHistory, Loss };

export interface ExportOptions extends CallOptions {
  /** As names from the root, the preferred one first; of a directory, with '@VERSION' where it is not the latest. */
  readonly artifact: readonly string[];
  readonly onProgress?: (bytesDone: number, bytesTotal: number | null) => void;
}

/** Writes the files of a version into a directory. */
export async function exportToDirectory(
  config: Config,
  directory: string,
  { artifact, ...options }: ExportOptions,
): Promise<ExportedFiles & { version: number }> {
  await using store = await openConfiguredStore(config, { create: false });
  await Workspace.open(store, { create: false });
  const { log, ref, path } = await new NamedLogs(store).find(artifact);
  if (path !== '')
    throw new ArtifactError('Invalid', `${artifact[0] ?? ''} is no artifact`, {
      hint: 'artifactfs get copies a directory or a file of one',
    });
  const { version, tree } = versionOf(log, ref);
  const { artifactId } = log.place;
  const exported = await exportFiles({ ...options, store, artifactId, tree, directory, calls: fileCalls() });
  return { ...exported, version };
}

/** Writes an artifact with all its versions as a tar, into a file that is not there yet, or piece by piece into `to`. */
export async function exportToTar(
  config: Config,
  to: string | ((bytes: Buffer) => Promise<void>),
  { artifact, ...options }: ExportOptions,
): Promise<ExportedHistory> {
  await using store = await openConfiguredStore(config, { create: false });
  const workspace = await Workspace.open(store, { create: false });
  const log = await findWhole(store, artifact);
  const write = (sink: (bytes: Buffer) => Promise<void>) =>
    exportHistory({ ...options, workspace, log }, sink);
  return typeof to === 'string' ? intoFile(to, write) : write(to);
}

export interface ImportFromOptions extends CallOptions {
  /** Names from the root; undefined: the name that a tar with history has. */
  readonly path: string | undefined;
  /** Of the version that files become. */
  readonly message: string;
  readonly onProgress?: (bytesDone: number, bytesTotal: number | null) => void;
}

export type Imported = ImportedArtifact | ImportedHistory;

/** Makes a new artifact of a local directory or tar, or of a tar that is read from a stream. */
export async function importFrom(
  config: Config,
  from: string | Readable,
  { path, message, onProgress, ...call }: ImportFromOptions,
): Promise<Imported> {
  const local = typeof from === 'string' ? await localKind(from) : null;
  await using store = await openConfiguredStore(config, { create: true });
  const target = await openForNew(store);
  const shared = { ...call, target };
  if (typeof from === 'string' && local?.isDirectory)
    return importFiles(from, fileCalls(), {
      ...shared,
      path: named(path),
      message,
      onProgress: (done) => onProgress?.(done, null),
    });
  const source = typeof from === 'string' ? createReadStream(from, { highWaterMark: 1 << 20 }) : from;
  const progress = { onProgress: (done: number) => onProgress?.(done, local?.size ?? null) };
  // Who waits for more of it is told, too.
  const { signal } = call;
  const onAbort = (): void => void source.destroy(signal?.reason as Error);
  signal?.addEventListener('abort', onAbort);
  const entries = readTar(typeof from === 'string' ? from : 'standard input', source);
  try {
    const first = await entries.next();
    if (first.done === true) throw new ArtifactError('Invalid', 'the tar is empty');
    if (isHistory(first.value))
      return await importHistory(first.value, entries, { ...shared, ...progress, path });
    const all = following(first.value, entries);
    return await importTar(all, { ...shared, ...progress, path: named(path), message });
  } finally {
    signal?.removeEventListener('abort', onAbort);
    await entries.return(undefined);
    source.destroy();
  }
}

async function* following(first: TarEntry, others: AsyncGenerator<TarEntry>): AsyncGenerator<TarEntry> {
  yield first;
  yield* others;
}

function named(path: string | undefined): string {
  if (path !== undefined) return path;
  throw new ArtifactError('Invalid', 'the new artifact needs a name', {
    hint: 'artifactfs import FROM NAME',
  });
}

async function localKind(path: string): Promise<{ isDirectory: boolean; size: number }> {
  try {
    const found = await stat(path);
    return { isDirectory: found.isDirectory(), size: found.size };
  } catch (error) {
    throw localError(error, path);
  }
}

/** The file has its name when it is whole. */
async function intoFile<T>(
  path: string,
  write: (sink: (bytes: Buffer) => Promise<void>) => Promise<T>,
): Promise<T> {
  const partial = join(dirname(path), `.${basename(path)}.${randomUUID()}.part`);
  try {
    await requireAbsent(path);
    const file = await open(partial, 'wx', 0o666);
    let result: T;
    try {
      result = await write(async (bytes) => file.writeFile(bytes));
      await file.sync();
    } finally {
      await file.close();
    }
    await requireAbsent(path);
    await rename(partial, path);
    return result;
  } catch (error) {
    throw localError(error, path);
  } finally {
    await rm(partial, { force: true });
  }
}

async function requireAbsent(path: string): Promise<void> {
  const found = await lstat(path).catch((error: NodeJS.ErrnoException) => {
    if (error.code === 'ENOENT') return null;
    throw error;
  });
  if (found === null) return;
  throw new ArtifactError('Exists', `${path} exists already`, {
    hint: 'nothing is overwritten: choose another name',
  });
}

function fileCalls(): FileCalls | null {
  try {
    return loadNative();
  } catch {
    return null; // what is not kept without it is told
  }
}
