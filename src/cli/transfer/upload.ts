import { type BigIntStats, createReadStream } from 'node:fs';
import { lstat, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { ControlClient, FileAttributes } from '../../http/client.js';
import { ArtifactError } from '../../model/errors.js';
import { forEachOf } from '../../util/for-each-of.js';

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
  const onDirectory = async (item: Item) => {
    const attributes = attributesOf(item.stat);
    totals.directories++;
    if (item.path === '') return;
    await target.client.mkdir(target.artifact, item.path, attributes);
    directories.push({ path: item.path, attributes });
  };
  await forEachOf(walk(source, path, onDirectory), width, async (item) => {
    await one(target, item, totals);
    onProgress(totals);
  });
  // What was put into a directory has changed its time; the deepest first.
  for (const { path, attributes } of directories.reverse()) {
    await target.client.mkdir(target.artifact, path, attributes);
  }
  return totals;
}

interface Item {
  readonly source: string;
  readonly path: string;
  readonly stat: BigIntStats;
}

/** All but directories, which are made before what is in them, so that they have their own mode. */
async function* walk(
  source: string,
  path: string,
  onDirectory: (item: Item) => Promise<void>,
): AsyncGenerator<Item> {
  const item: Item = { source, path, stat: await lstat(source, { bigint: true }) };
  if (!item.stat.isDirectory()) {
    yield item;
    return;
  }
  await onDirectory(item);
  for (const name of (await readdir(source)).sort()) {
    yield* walk(join(source, name), path === '' ? name : `${path}/${name}`, onDirectory);
  }
}

async function one(
  { client, artifact }: UploadTarget,
  { source, path, stat }: Item,
  totals: UploadTotals,
): Promise<void> {
  const attributes = attributesOf(stat);
  if (stat.isSymbolicLink()) {
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
