import { ExtentMap } from '../../content/extent-map.js';
import { compareTime, type Entry, type Extent, type Ino, type Kind, type Time } from '../../model/entry.js';
import type { CreateInit, Inode } from '../ports.js';
import type { InodeRow } from '../stage-db/inode-row.js';

/** Extended attributes as stored: name -> value in base64. */
export type Xattrs = Readonly<Record<string, string>>;

/**
 * An inode of the working view in memory. Only the tree changes it, and only through `Change` (so that a failed
 * transaction can be undone).
 *
 * INVARIANT: `staged` is true exactly when stage.db has a row for it. A staged node that has a name is linked to the
 * root by staged names only, so a directory without a row has no staged name in it.
 */
export class Node implements Inode {
  /** Changed by `InodeTable.renumber` only. */
  ino: Ino;
  readonly kind: Kind;
  mode = 0;
  uid = 0;
  gid = 0;
  nlink = 1;
  size = 0;
  rdev = 0;
  atime: Time = zero;
  mtime: Time = zero;
  ctime: Time = zero;
  /** atime was set explicitly: it goes into the version. */
  atimeSet = false;
  target = '';
  xattrs: Xattrs | null = null;
  extra: Readonly<Record<string, unknown>> | null = null;
  sha256: string | null = null;
  revision = 0;

  staged = false;
  gen = 0;
  contentGen = 0;
  /** Path in the base version: of the directory that is still shown, of the name a file came from; null: new. */
  base: string | null = null;
  baseNlink = 0;
  /** Staging file for writes while `fileGen` is the stage's generation; 0: none yet. */
  file = 0;
  fileGen = 0;
  /** Rows in extent_log. */
  logged = 0;

  /** One name of the inode; of a directory the only one. null: none known. */
  parent: Node | null = null;
  name = '';

  /** References of callers, of children in memory, and of running writes: 0 means it may leave memory. */
  holds = 0;
  /** Made without a name, and may get one. */
  isLinkable = false;
  /** A discard took its name: its bytes are there while it is in use. */
  isDiscarded = false;
  opens = 0;
  openForWriting = 0;
  readers = 0;
  writesRunning = 0;
  /** While the bytes of a small file are copied to a staging file of its own; other writes wait. */
  growing: Promise<void> | null = null;

  #map: ExtentMap | null = null;
  #loadMap: (() => ExtentMap) | null = null;
  /** Of the entry it was taken from, while the map is still that. */
  #extents: readonly Extent[] | null = null;

  constructor(ino: Ino, kind: Kind) {
    this.ino = ino;
    this.kind = kind;
  }

  static fromEntry(entry: Entry): Node {
    const node = new Node(entry.ino, entry.kind);
    node.takeEntry(entry);
    return node;
  }

  static fromRow(row: InodeRow, loadMap: () => ExtentMap): Node {
    const node = new Node(row.ino, row.kind);
    node.takeRow(row, loadMap);
    return node;
  }

  static created(ino: Ino, init: CreateInit, now: Time): Node {
    const node = new Node(ino, init.kind);
    node.mode = init.mode & 0o7777;
    node.uid = init.uid;
    node.gid = init.gid;
    node.nlink = init.kind === 'dir' ? 2 : 1;
    node.rdev = init.kind === 'char' || init.kind === 'block' ? (init.rdev ?? 0) : 0;
    node.target = init.kind === 'symlink' ? (init.target ?? '') : '';
    node.xattrs = init.xattrs ?? null;
    node.size = Buffer.byteLength(node.target);
    node.atime = now;
    node.mtime = now;
    node.ctime = now;
    node.#map = new ExtentMap();
    return node;
  }

  /** Becomes what the base version says; whatever was staged of it is gone. */
  takeEntry(entry: Entry): void {
    if (!this.#looksLike(entry)) this.revision++;
    this.mode = entry.mode;
    this.uid = entry.uid;
    this.gid = entry.gid;
    this.nlink = entry.nlink;
    this.size = entry.size;
    this.rdev = entry.rdev ?? 0;
    this.mtime = entry.mtime;
    this.ctime = entry.ctime;
    this.atime = entry.atime ?? entry.mtime;
    this.atimeSet = entry.atime !== undefined;
    this.target = entry.target ?? '';
    this.xattrs = entry.xattrs ?? null;
    this.extra = entry.extra ?? null;
    this.sha256 = entry.sha256 ?? null;
    this.base = entry.dir === '' ? entry.name : `${entry.dir}/${entry.name}`;
    this.baseNlink = entry.nlink;
    this.staged = false;
    this.gen = 0;
    this.contentGen = 0;
    this.file = 0;
    this.fileGen = 0;
    this.logged = 0;
    this.takeExtents(entry.extents ?? []);
  }

  /** The bytes are now where a version has them. */
  takeExtents(extents: readonly Extent[]): void {
    this.contentGen = 0;
    this.#map = null;
    this.#loadMap = null;
    this.#extents = extents;
  }

  takeRow(row: InodeRow, loadMap: () => ExtentMap): void {
    this.revision++;
    this.mode = row.mode;
    this.uid = row.uid;
    this.gid = row.gid;
    this.nlink = row.nlink;
    this.size = row.size;
    this.rdev = row.rdev;
    this.atime = { s: row.atime_s, ns: row.atime_ns };
    this.mtime = { s: row.mtime_s, ns: row.mtime_ns };
    this.ctime = { s: row.ctime_s, ns: row.ctime_ns };
    this.atimeSet = row.atime_set !== 0;
    this.target = row.target ?? '';
    this.xattrs = row.xattrs === null ? null : (JSON.parse(row.xattrs) as Xattrs);
    this.extra = row.extra === null ? null : (JSON.parse(row.extra) as Record<string, unknown>);
    this.sha256 = row.sha256;
    this.base = row.base;
    this.baseNlink = row.base_nlink;
    this.staged = true;
    this.gen = row.gen;
    this.contentGen = row.content_gen;
    this.file = row.file;
    this.fileGen = row.file_gen;
    this.logged = row.logged;
    this.setMapLoader(loadMap);
  }

  /** Where the bytes are. Changed in place by content operations only. */
  get map(): ExtentMap {
    if (this.#map === null) {
      this.#map = this.#loadMap?.() ?? ExtentMap.fromEntryExtents(this.#extents ?? []);
      this.#loadMap = null;
    }
    return this.#map;
  }

  set map(map: ExtentMap) {
    this.#map = map;
    this.#loadMap = null;
    this.#extents = null;
  }

  setMapLoader(load: () => ExtentMap): void {
    this.#map = null;
    this.#loadMap = load;
    this.#extents = null;
  }

  #hasExtents(extents: readonly Extent[]): boolean {
    const mine = this.contentGen === 0 ? this.#extents : null;
    if (mine === null || mine.length !== extents.length) return false;
    return mine.every(({ object, offset, length }, i) => {
      const other = extents[i];
      return other?.object === object && other.offset === offset && other.length === length;
    });
  }

  /** Certainly shows the same attributes and bytes as the entry. */
  #looksLike(entry: Entry): boolean {
    return (
      this.size === entry.size &&
      this.mode === entry.mode &&
      this.uid === entry.uid &&
      this.gid === entry.gid &&
      this.nlink === entry.nlink &&
      this.rdev === (entry.rdev ?? 0) &&
      this.target === (entry.target ?? '') &&
      compareTime(this.mtime, entry.mtime) === 0 &&
      compareTime(this.ctime, entry.ctime) === 0 &&
      compareTime(this.atime, entry.atime ?? entry.mtime) === 0 &&
      sameXattrs(this.xattrs, entry.xattrs ?? null) &&
      (this.kind !== 'file' || this.#hasExtents(entry.extents ?? []))
    );
  }

  get allocated(): number {
    if (this.kind !== 'file' || this.size === 0) return 0;
    // Whoever only looks at a file leaves nothing in memory.
    return this.#map === null && this.#extents !== null ? heldBytes(this.#extents) : this.map.bytes();
  }

  /** Somebody reads or writes its bytes, or may at any moment. */
  get isInUse(): boolean {
    return this.opens > 0 || this.readers > 0 || this.writesRunning > 0;
  }

  get hasName(): boolean {
    return this.nlink > 0;
  }

  saveState(): NodeState {
    return {
      mode: this.mode,
      uid: this.uid,
      gid: this.gid,
      nlink: this.nlink,
      size: this.size,
      atime: this.atime,
      mtime: this.mtime,
      ctime: this.ctime,
      atimeSet: this.atimeSet,
      xattrs: this.xattrs,
      sha256: this.sha256,
      staged: this.staged,
      gen: this.gen,
      contentGen: this.contentGen,
      base: this.base,
      file: this.file,
      fileGen: this.fileGen,
      logged: this.logged,
    };
  }
}

/** What `Change` puts back when its transaction fails; the extent map is read again instead. */
export type NodeState = Pick<
  Node,
  | 'mode'
  | 'uid'
  | 'gid'
  | 'nlink'
  | 'size'
  | 'atime'
  | 'mtime'
  | 'ctime'
  | 'atimeSet'
  | 'xattrs'
  | 'sha256'
  | 'staged'
  | 'gen'
  | 'contentGen'
  | 'base'
  | 'file'
  | 'fileGen'
  | 'logged'
>;

/** Bytes that are not holes. */
function heldBytes(extents: readonly Extent[]): number {
  let bytes = 0;
  for (const { object, length } of extents) if (object !== null) bytes += length;
  return bytes;
}

function sameXattrs(a: Xattrs | null, b: Xattrs | null): boolean {
  if (a === null || b === null) return a === b;
  const names = Object.keys(a);
  return names.length === Object.keys(b).length && names.every((name) => a[name] === b[name]);
}

const zero: Time = { s: 0, ns: 0 };
