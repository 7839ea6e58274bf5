import type { ExtentMap } from '../../content/extent-map.js';
import type { Entry, Extent } from '../../model/entry.js';
import { isSameThing, isSameTime } from '../../workspace/entry-compare.js';
import type { InodeRow } from '../stage-db/inode-row.js';

/** The tree entry of a staged inode under one of its names. A file's bytes must all be in the store: see `extents`. */
export function entryOfRow(
  row: InodeRow,
  dir: string,
  name: string,
  content?: { extents: readonly Extent[]; sha256?: string | undefined },
): Entry {
  const extents = row.kind === 'file' && row.size > 0 ? (content?.extents ?? []) : [];
  const sha256 = row.kind === 'file' ? content?.sha256 : undefined;
  return {
    dir,
    name,
    kind: row.kind,
    ino: row.ino,
    mode: row.mode,
    uid: row.uid,
    gid: row.gid,
    nlink: row.nlink,
    size: row.kind === 'file' || row.kind === 'symlink' ? row.size : 0,
    mtime: { s: row.mtime_s, ns: row.mtime_ns },
    ctime: { s: row.ctime_s, ns: row.ctime_ns },
    ...(row.atime_set === 0 ? {} : { atime: { s: row.atime_s, ns: row.atime_ns } }),
    ...(extents.length === 0 ? {} : { extents }),
    ...(sha256 === undefined ? {} : { sha256 }),
    ...(row.kind === 'symlink' ? { target: row.target ?? '' } : {}),
    ...(row.kind === 'char' || row.kind === 'block' ? { rdev: row.rdev } : {}),
    ...(row.xattrs === null ? {} : { xattrs: JSON.parse(row.xattrs) as Record<string, string> }),
    ...(row.extra === null ? {} : { extra: JSON.parse(row.extra) as Record<string, unknown> }),
  };
}

/** Extents of a file whose bytes are all in the store already. */
export function storedExtents(map: ExtentMap, size: number): Extent[] {
  return map.toEntryExtents(size, (file) => {
    throw new Error(`unreachable: staging file ${file} is not uploaded`);
  });
}

/** Nothing of the entry differs; where it is stays out of it. */
export const isSameEntry = (a: Entry, b: Entry): boolean =>
  a.ino === b.ino &&
  a.nlink === b.nlink &&
  isSameThing(a, b) &&
  isSameTime(a.mtime, b.mtime) &&
  isSameTime(a.ctime, b.ctime) &&
  isSameTime(a.atime, b.atime);
