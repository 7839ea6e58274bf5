import { type BigIntStats, createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { ControlClient, FileAttributes } from '../../http/client.js';
import { ArtifactError } from '../../model/errors.js';
import { forEachOf } from './pool.js';

export interface UploadTarget {
  readonly client: ControlClient;
  readonly artifact: string;
}

export interface UploadTotals {
  files: number;
  directories: number;
  links: number;
  bytes: number;
  /** Sockets, devices and the like, which are not copied. */
  readonly skipped: string[];
}

/** Files at a time: small ones wait for round trips, not for bytes. */
const width = 8;

/**
 * Stages a local file or directory at `path` of an artifact, with modes, times and symlinks. A directory's contents go
 * into `path` whether that exists or not.
 */
export async function upload(
  target: UploadTarget,
  source: string,
  path: string,
  onProgress: (totals: UploadTotals) => void,
): Promise<UploadTotals> {
  const totals: UploadTotals = { files: 0, directories: 0, links: 0, bytes: 0, skipped: [] };
  const directories: { path: string; attributes: FileAttributes }[] = [];
  await forEachOf(walk(source, path), width, async (item) => {
    await one(target, item, totals, directories);
    onProgress(totals);
  });
  // Times of a directory are set when all in it is there; the deepest first.
  for (const { path, attributes } of directories.reverse()) {
    if (path !== '') await target.client.mkdir(target.artifact, path, attributes);
  }
  return totals;
}

interface Item {
  readonly source: string;
  readonly path: string;
  readonly stat: BigIntStats;
}

async function* walk(source: string, path: string): AsyncGenerator<Item> {
  const stat = await lstat(source, { bigint: true });
  yield { source, path, stat };
  if (!stat.isDirectory()) return;
  for (const name of (await readdir(source)).sort()) {
    yield* walk(join(source, name), path === '' ? name : `${path}/${name}`);
  }
}

async function one(
  { client, artifact }: UploadTarget,
  { source, path, stat }: Item,
  totals: UploadTotals,
  directories: { path: string; attributes: FileAttributes }[],
): Promise<void> {
  const attributes = attributesOf(stat);
  if (stat.isDirectory()) {
    directories.push({ path, attributes });
    // Made at once too, so that an empty one is there; those with files come with them.
    totals.directories++;
  } else if (stat.isSymbolicLink()) {
    await client.symlink(artifact, path, await readlink(source), attributes);
    totals.links++;
  } else if (stat.isFile()) {
    const written = await client.write(artifact, path, createReadStream(source), attributes);
    if (BigInt(written.size) !== stat.size) {
      throw new ArtifactError('Stale', `${source} changed while it was read`, { hint: 'put it again' });
    }
    totals.files++;
    totals.bytes += written.size;
  } else {
    totals.skipped.push(source);
  }
}

/** Times to the nanosecond. */
export function attributesOf(stat: BigIntStats): FileAttributes {
  const billion = 1_000_000_000n;
  const ns = ((stat.mtimeNs % billion) + billion) % billion;
  return {
    mode: Number(stat.mode & 0o7777n),
    mtime: { s: Number((stat.mtimeNs - ns) / billion), ns: Number(ns) },
  };
}
