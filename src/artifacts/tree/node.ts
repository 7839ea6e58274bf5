import { ExtentMap } from '../../content/extent-map.js';
import {
  compareTime,
  type Entry,
  type Extent,
  type Ino,
  joinPath,
  type Kind,
  splitPath,
  type Time,
} from '../../model/entry.js';
import { isSameExtents } from '../../workspace/entry-compare.js';
import type { CreateInit, Inode } from '../ports.js';
import type { InodeRow } from '../stage-db/inode-row.js';
import {
  type Changed,
  nothingRare,
  type Rare,
  sameXattrs,
  type Use,
  unchanged,
  unused,
  type Xattrs,
} from './node-parts.js';

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
  atime: Time = zero;
  mtime: Time = zero;
  ctime: Time = zero;
  sha256: string | null = null;
  revision = 0;

  staged = false;
  baseNlink = 0;

  /** One name of the inode; of a directory the only one. null: none known. */
  parent: Node | null = null;
  name = '';

  /** References of callers, of children in memory, and of running writes: 0 means it may leave memory. */
  holds = 0;

  // A node is kept for each file that the kernel knows: what most of them have not is apart, and a path is in two parts
  // that other nodes share.
  #baseDir: string | null = null;
  #baseName = '';
  #rare: Rare = nothingRare;
  #changed: Changed = unchanged;
  #use: Use = unused;
  #map: ExtentMap | null = null;
  /** What the map is made from, while it is still that; null: only the map says where the bytes are. */
  #mapSource: MapLoader | readonly Extent[] | Extent | null = null;

  constructor(ino: Ino, kind: Kind) {
    this.ino = ino;
    this.kind = kind;
  }

  /** Path in the base version: of the directory that is still shown, of the name a file came from; null: new. */
  get base(): string | null {
    return this.#baseDir === null ? null : joinPath(this.#baseDir, this.#baseName);
  }
  set base(path: string | null) {
    if (path === null) {
      this.#baseDir = null;
      this.#baseName = '';
    } else if (path !== this.base) {
      // A directory's children share the whole path.
      const { dir, name } = this.kind === 'dir' ? { dir: path, name: '' } : splitPath(path);
      this.#baseDir = dir;
      this.#baseName = name;
    }
  }

  get target(): string {
    return this.#rare.target;
  }
  get xattrs(): Xattrs | null {
    return this.#rare.xattrs;
  }
  set xattrs(xattrs: Xattrs | null) {
    if (xattrs !== this.#rare.xattrs) this.#ownRare().xattrs = xattrs;
  }
  get extra(): Rare['extra'] {
    return this.#rare.extra;
  }
  get rdev(): number {
    return this.#rare.rdev;
  }
  /** atime was set explicitly: it goes into the version. */
  get atimeSet(): boolean {
    return this.#rare.atimeSet;
  }
  set atimeSet(isSet: boolean) {
    if (isSet !== this.#rare.atimeSet) this.#ownRare().atimeSet = isSet;
  }

  get gen(): number {
    return this.#changed.gen;
  }
  set gen(gen: number) {
    if (gen !== this.#changed.gen) this.#ownChanged().gen = gen;
  }
  get contentGen(): number {
    return this.#changed.contentGen;
  }
  set contentGen(gen: number) {
    if (gen !== this.#changed.contentGen) this.#ownChanged().contentGen = gen;
  }
  /** Staging file for writes while `fileGen` is the stage's generation; 0: none yet. */
  get file(): number {
    return this.#changed.file;
  }
  set file(file: number) {
    if (file !== this.#changed.file) this.#ownChanged().file = file;
  }
  get fileGen(): number {
    return this.#changed.fileGen;
  }
  set fileGen(gen: number) {
    if (gen !== this.#changed.fileGen) this.#ownChanged().fileGen = gen;
  }
  /** Rows in extent_log. */
  get logged(): number {
    return this.#changed.logged;
  }
  set logged(rows: number) {
    if (rows !== this.#changed.logged) this.#ownChanged().logged = rows;
  }

  /** Made without a name, and may get one. */
  get isLinkable(): boolean {
    return this.#use.isLinkable;
  }
  set isLinkable(isLinkable: boolean) {
    this.#ownUse().isLinkable = isLinkable;
  }
  /** A discard took its name: its bytes are there while it is in use. */
  get isDiscarded(): boolean {
    return this.#use.isDiscarded;
  }
  set isDiscarded(isDiscarded: boolean) {
    this.#ownUse().isDiscarded = isDiscarded;
  }
  get opens(): number {
    return this.#use.opens;
  }
  set opens(count: number) {
    this.#ownUse().opens = count;
  }
  get openForWriting(): number {
    return this.#use.openForWriting;
  }
  set openForWriting(count: number) {
    this.#ownUse().openForWriting = count;
  }
  get readers(): number {
    return this.#use.readers;
  }
  set readers(count: number) {
    this.#ownUse().readers = count;
  }
  get writesRunning(): number {
    return this.#use.writesRunning;
  }
  set writesRunning(count: number) {
    this.#ownUse().writesRunning = count;
  }
  /** While the bytes of a small file are copied to a staging file of its own; other writes wait. */
  get growing(): Promise<void> | null {
    return this.#use.growing;
  }
  set growing(growing: Promise<void> | null) {
    this.#ownUse().growing = growing;
  }

  /** While it is open for writing: the kernel, which keeps the times of what is written through its cache, told them. */
  get timesTold(): boolean {
    return this.#use.timesTold;
  }
  set timesTold(told: boolean) {
    if (told !== this.#use.timesTold) this.#ownUse().timesTold = told;
  }
  /** It did not yet, and sent content at this time. */
  get timesOwed(): Time | null {
    return this.#use.timesOwed;
  }
  set timesOwed(time: Time | null) {
    if (time !== this.#use.timesOwed) this.#ownUse().timesOwed = time;
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
    node.#setRare(
      init.kind === 'symlink' ? (init.target ?? '') : '',
      init.xattrs ?? null,
      null,
      init.kind === 'char' || init.kind === 'block' ? (init.rdev ?? 0) : 0,
      false,
    );
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
    this.mtime = entry.mtime;
    this.ctime = entry.ctime;
    this.atime = entry.atime ?? entry.mtime;
    const { target = '', xattrs = null, extra = null, rdev = 0 } = entry;
    this.#setRare(target, xattrs, extra, rdev, entry.atime !== undefined);
    this.sha256 = entry.sha256 ?? null;
    if (this.kind === 'dir') this.base = joinPath(entry.dir, entry.name);
    else {
      this.#baseDir = entry.dir;
      this.#baseName = entry.name;
    }
    this.baseNlink = entry.nlink;
    this.staged = false;
    this.#changed = unchanged;
    this.takeExtents(entry.extents ?? noExtents);
  }

  /** The bytes are now where a version has them. */
  takeExtents(extents: readonly Extent[]): void {
    this.contentGen = 0;
    this.#map = null;
    // Most files have one, which needs no array.
    const [only] = extents;
    this.#mapSource = extents.length === 1 && only !== undefined ? only : extents;
  }

  takeRow(row: InodeRow, loadMap: () => ExtentMap): void {
    this.revision++;
    this.mode = row.mode;
    this.uid = row.uid;
    this.gid = row.gid;
    this.nlink = row.nlink;
    this.size = row.size;
    this.atime = { s: row.atime_s, ns: row.atime_ns };
    this.mtime = { s: row.mtime_s, ns: row.mtime_ns };
    this.ctime = { s: row.ctime_s, ns: row.ctime_ns };
    const xattrs = row.xattrs === null ? null : (JSON.parse(row.xattrs) as Xattrs);
    const extra = row.extra === null ? null : (JSON.parse(row.extra) as Record<string, unknown>);
    this.#setRare(row.target ?? '', xattrs, extra, row.rdev, row.atime_set !== 0);
    this.sha256 = row.sha256;
    this.base = row.base;
    this.baseNlink = row.base_nlink;
    this.staged = true;
    const { gen, content_gen: contentGen, file, file_gen: fileGen, logged } = row;
    this.#changed = { gen, contentGen, file, fileGen, logged };
    this.setMapLoader(loadMap);
  }

  /** Where the bytes are. Changed in place by content operations only. */
  get map(): ExtentMap {
    if (this.#map !== null) return this.#map;
    const source = this.#mapSource;
    if (typeof source === 'function') {
      this.#map = source();
      this.#mapSource = null;
    } else this.#map = ExtentMap.fromEntryExtents(this.#extents ?? noExtents);
    return this.#map;
  }

  set map(map: ExtentMap) {
    this.#map = map;
    this.#mapSource = null;
  }

  setMapLoader(load: MapLoader): void {
    this.#map = null;
    this.#mapSource = load;
  }

  /** Of the entry or version they were taken from; null for others. */
  get #extents(): readonly Extent[] | null {
    const source = this.#mapSource;
    if (source === null || typeof source === 'function') return null;
    return isExtent(source) ? [source] : source;
  }

  #hasExtents(extents: readonly Extent[]): boolean {
    const mine = this.contentGen === 0 ? this.#extents : null;
    return mine !== null && isSameExtents(mine, extents);
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
    const source = this.#map === null ? this.#mapSource : null;
    if (source === null || typeof source === 'function') return this.map.bytes();
    // Whoever only looks at a file leaves nothing in memory.
    return isExtent(source) ? heldBytes(source) : source.reduce((sum, extent) => sum + heldBytes(extent), 0);
  }

  /** Somebody reads or writes its bytes, or may at any moment. */
  get isInUse(): boolean {
    return this.opens > 0 || this.readers > 0 || this.writesRunning > 0;
  }

  get hasName(): boolean {
    return this.nlink > 0;
  }

  #setRare(
    target: string,
    xattrs: Xattrs | null,
    extra: Rare['extra'],
    rdev: number,
    atimeSet: boolean,
  ): void {
    const isPlain = target === '' && xattrs === null && extra === null && rdev === 0 && !atimeSet;
    this.#rare = isPlain ? nothingRare : { target, xattrs, extra, rdev, atimeSet };
  }

  #ownRare(): Rare {
    if (this.#rare === nothingRare) this.#rare = { ...nothingRare };
    return this.#rare;
  }

  #ownChanged(): Changed {
    if (this.#changed === unchanged) this.#changed = { ...unchanged };
    return this.#changed;
  }

  #ownUse(): Use {
    if (this.#use === unused) this.#use = { ...unused };
    return this.#use;
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

type MapLoader = () => ExtentMap;

const noExtents: readonly Extent[] = [];

const isExtent = (source: readonly Extent[] | Extent): source is Extent => !Array.isArray(source);

/** Bytes that are not holes. */
const heldBytes = ({ object, length }: Extent): number => (object === null ? 0 : length);

const zero: Time = { s: 0, ns: 0 };
