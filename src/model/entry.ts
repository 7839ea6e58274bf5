/** What is known of one file: the vocabulary shared by trees, catalog, stage and file system. */

export type Kind = 'file' | 'dir' | 'symlink' | 'fifo' | 'socket' | 'char' | 'block';

/** Seconds since 1970 (any integer a double holds exactly, negative allowed) and nanoseconds 0..999,999,999. */
export interface Time {
  readonly s: number;
  readonly ns: number;
}

/**
 * `length` bytes of object `object` from `offset`. `object` is a key relative to the artifact's prefix
 * (`d/<stageId>/<n>-<name>`), or null for a hole (zeros). The extents of a file follow each other without gaps
 * and add up to its size.
 */
export interface Extent {
  readonly object: string | null;
  readonly offset: number;
  readonly length: number;
}

/**
 * Number of a file inside its artifact, the same in every version and on every machine for the life of the
 * artifact: 1 is the artifact's own directory; others are `prefix * 2^20 + n` with a prefix unique to a stage.
 * Two names with one ino are hard links of one file.
 */
export type Ino = number;
export const rootIno: Ino = 1;

/** One row of a version's tree. Never changes once published. Unknown fields of newer builds are kept in `extra`. */
export interface Entry {
  /** Directory path inside the artifact: '' for its root, else 'a/b' with no leading or trailing slash. */
  readonly dir: string;
  /** File name; '' only for the artifact's own root directory (with dir ''). */
  readonly name: string;
  readonly kind: Kind;
  readonly ino: Ino;
  /** Permission bits 0..07777. */
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  /** Names of the file in this version; for a directory 2 + its sub-directories. */
  readonly nlink: number;
  /** Bytes; for a symlink the target's length; 0 for other kinds. */
  readonly size: number;
  readonly mtime: Time;
  readonly ctime: Time;
  /** Only when it was set explicitly; otherwise atime is mtime. */
  readonly atime?: Time;
  /** File: where its bytes are. Absent or empty for size 0. */
  readonly extents?: readonly Extent[];
  /** Lower-case hex of the whole content; absent where it is not known (a large file edited in part). */
  readonly sha256?: string;
  /** Symlink target. */
  readonly target?: string;
  /** Device number as in st_rdev, for char and block. */
  readonly rdev?: number;
  /** Values in base64. */
  readonly xattrs?: Readonly<Record<string, string>>;
  readonly extra?: Readonly<Record<string, unknown>>;
}

export const time = (s: number, ns = 0): Time => ({ s, ns });

export function compareTime(a: Time, b: Time): number {
  return a.s - b.s || a.ns - b.ns;
}

/** Wall clock with as many digits as Node gives (microseconds). */
export type Clock = () => Time;
export const systemClock: Clock = () => {
  const ms = performance.timeOrigin + performance.now();
  const s = Math.floor(ms / 1000);
  return { s, ns: Math.min(999_999_999, Math.floor((ms - s * 1000) * 1e6)) };
};

export const entryPath = (entry: { dir: string; name: string }): string => joinPath(entry.dir, entry.name);

export function joinPath(dir: string, name: string): string {
  return dir === '' ? name : name === '' ? dir : `${dir}/${name}`;
}

/** Splits 'a/b/c' into dir 'a/b' and name 'c'; '' is the root: dir '' and name ''. */
export function splitPath(path: string): { dir: string; name: string } {
  const slash = path.lastIndexOf('/');
  return slash < 0 ? { dir: '', name: path } : { dir: path.slice(0, slash), name: path.slice(slash + 1) };
}

/** The order of trees: by directory, then name, as UTF-8 bytes (which is the order of code points). */
export function compareEntries(a: { dir: string; name: string }, b: { dir: string; name: string }): number {
  return compareNames(a.dir, b.dir) || compareNames(a.name, b.name);
}

/** Compares as UTF-8 bytes would, without encoding: only surrogate pairs differ from UTF-16 order. */
export function compareNames(a: string, b: string): number {
  if (a === b) return 0;
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x === y) continue;
    const xs = x >= 0xd800 && x <= 0xdfff;
    const ys = y >= 0xd800 && y <= 0xdfff;
    return xs === ys ? x - y : xs ? 1 : -1;
  }
  return a.length - b.length;
}
