import type { Kind } from '../../model/entry.js';

/** A row of table `inode`, as SQLite gives it. */
export interface InodeRow {
  ino: number;
  kind: Kind;
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  size: number;
  rdev: number;
  atime_s: number;
  atime_ns: number;
  atime_set: number;
  mtime_s: number;
  mtime_ns: number;
  ctime_s: number;
  ctime_ns: number;
  target: string | null;
  xattrs: string | null;
  extra: string | null;
  extents: string | null;
  logged: number;
  sha256: string | null;
  file: number;
  file_gen: number;
  base: string | null;
  base_nlink: number;
  gen: number;
  content_gen: number;
}
