import type { Artifact } from '../../artifacts/ports.js';
import type { VersionInfo, VersionTree } from '../../catalog/ports.js';
import { ExtentMap } from '../../content/extent-map.js';
import { seekContent } from '../../content/local/seek.js';
import type { FileContent, FileReader, LocalRange } from '../../content/ports.js';
import { type Entry, entryPath, type Kind } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import { DirectoryHandle } from '../directory-handle.js';
import type { Attributes, RequestContext } from '../file-system.js';
import type { KernelNotices } from '../kernel-notices.js';
import {
  type Directory,
  type FileHandle,
  type MissingTerm,
  Node,
  noAttribute,
  type OpenDirectory,
} from '../node.js';
import { wantsChange } from '../open-flags.js';
import { PassThrough } from '../pass-through.js';
import { type InoKey, shownIno } from '../shown-ino.js';
import { errorText } from '../text/error.js';

/** The version whose tree a node belongs to; it keeps one node per file, and one per directory and place shown. */
export interface VersionOwner {
  readonly artifact: Artifact;
  readonly version: VersionInfo;
  readonly tree: VersionTree;
  readonly inos: InoKey;
  readonly notices: KernelNotices;
  fileOf(entry: Entry): Node;
  directoryOf(entry: Entry, parent: VersionDirectory): Node;
  forgotten(node: VersionNode): void;
}

/** A file, symlink or special file of a version. It never changes, so everything is computed once. */
export class VersionNode extends Node {
  readonly owner: VersionOwner;
  readonly entry: Entry;
  /** What the owner keeps it under. */
  readonly key: string | number;
  readonly entrySeconds: number = limits.kernelCacheSeconds;
  readonly attrSeconds = limits.kernelCacheSeconds;
  #attributes: Attributes | undefined;
  /** null: never, for it is not one whole object. */
  #passThrough: PassThrough | null | undefined;

  constructor(owner: VersionOwner, entry: Entry, key: string | number) {
    super();
    this.owner = owner;
    this.entry = entry;
    this.key = key;
  }

  get kind(): Kind {
    return this.entry.kind;
  }
  get ino(): bigint {
    return this.attributes().ino;
  }
  attributes(): Attributes {
    this.#attributes ??= entryAttributes(this.owner.inos, this.entry);
    return this.#attributes;
  }
  protected refusal(what: string): ArtifactError {
    const { artifact, version } = this.owner;
    return new ArtifactError('ReadOnly', `${what}: v${version.version} of ${artifact.path} never changes`, {
      hint: `change the files of ${artifact.path} and commit`,
    });
  }
  override onFailure(error: ArtifactError): void {
    this.owner.artifact.setLastError(errorText(error));
  }
  override onForgotten(): void {
    this.owner.forgotten(this);
  }

  override readLink(): string {
    if (this.kind !== 'symlink') throw new ArtifactError('Invalid', `a ${this.kind} is no symbolic link`);
    return this.entry.target ?? '';
  }
  override open(context: RequestContext, flags: number): MaybePromise<FileHandle> {
    if (wantsChange(flags)) throw this.refusal(this.entry.name);
    if (this.kind !== 'file') return super.open(context, flags);
    if (this.#passThrough === undefined) this.#passThrough = passThroughOf(this.owner, this.entry);
    return new VersionHandle(this.owner, this.entry, this.#passThrough);
  }

  override getXattr(name: string): Uint8Array {
    const value = this.entry.xattrs?.[name];
    if (value === undefined) throw noAttribute;
    return Buffer.from(value, 'base64');
  }
  override listXattrs(): readonly string[] {
    const { xattrs } = this.entry;
    return xattrs === undefined ? noNames : Object.keys(xattrs);
  }
}

export class VersionDirectory extends VersionNode implements Directory<Entry> {
  /** Where the version is shown: part of the identity of its directories. */
  readonly via: string;
  override readonly entrySeconds: number;
  readonly changes = 0;
  readonly #parent: VersionDirectory | null;
  readonly #path: string;

  constructor(owner: VersionOwner, entry: Entry, key: string, via: string, parent: VersionDirectory | null) {
    super(owner, entry, key);
    this.via = via;
    this.entrySeconds = parent === null ? rootEntrySeconds(via) : limits.kernelCacheSeconds;
    this.#parent = parent;
    this.#path = entryPath(entry);
  }

  override lookup(name: string): MaybePromise<Node | undefined> {
    const found = this.owner.tree.lookup(this.#path, name);
    if (found instanceof Promise) {
      return found.then((entry) => (entry === undefined ? undefined : this.nodeOf(entry)));
    }
    return found === undefined ? undefined : this.nodeOf(found);
  }

  override missingTerm(): MissingTerm {
    return 'for-ever';
  }

  override openDirectory(): OpenDirectory {
    return new DirectoryHandle(this, { cacheDirectory: true, keepCache: true });
  }
  list(after: string | null, limit: number): MaybePromise<readonly Entry[]> {
    return this.owner.tree.list(this.#path, after, limit);
  }
  kindOf(entry: Entry): Kind {
    return entry.kind;
  }
  inoOf(entry: Entry): bigint {
    return shownIno(this.owner.inos, entry.ino);
  }
  nodeOf(entry: Entry): Node {
    return entry.kind === 'dir' ? this.owner.directoryOf(entry, this) : this.owner.fileOf(entry);
  }
  hold(): void {}
  drop(): void {}
  parentIno(): bigint {
    return this.#parent?.ino ?? this.place?.parent.ino ?? this.ino;
  }
}

/** 'v3' and '3' always mean the same; 'latest' and aliases are asked for each time. */
const rootEntrySeconds = (via: string): number =>
  via === 'versions' || /^@v?\d+$/.test(via) ? limits.kernelCacheVersionRootSeconds : 0;

class VersionHandle implements FileHandle {
  readonly reply: FileHandle['reply'];
  readonly #owner: VersionOwner;
  readonly #entry: Entry;
  readonly #passThrough: PassThrough | null;
  #reader: FileReader | null = null;

  constructor(owner: VersionOwner, entry: Entry, passThrough: PassThrough | null) {
    this.#owner = owner;
    this.#entry = entry;
    this.#passThrough = passThrough;
    const backingId = passThrough?.opened();
    this.reply = backingId === undefined ? keptByKernel : { backingId, noFlush: true };
  }

  read(context: RequestContext, offset: number, length: number): MaybePromise<Buffer> {
    this.#passThrough?.read(length);
    return this.#open().read(offset, length, undefined, context);
  }
  localRange(offset: number, length: number): LocalRange | undefined {
    const range = this.#open().local(offset, length);
    if (range !== undefined) this.#passThrough?.read(range.length);
    return range;
  }
  write(): never {
    throw new ArtifactError('ReadOnly', `${this.#entry.name}: a version never changes`);
  }
  seek(offset: number, what: 'data' | 'hole'): number {
    const found = seekContent(entryContent(this.#entry), offset, what);
    if (found === undefined) throw new ArtifactError('NotSeekable', `${this.#entry.name} ends before`);
    return found;
  }
  sync(): void {}
  release(): void {
    this.#reader?.close();
    this.#reader = null;
    this.#passThrough?.closed();
  }

  #open(): FileReader {
    this.#reader ??= this.#owner.artifact.openVersionFile(entryContent(this.#entry), {
      order: this.#owner.tree,
      path: entryPath(this.#entry),
    });
    return this.#reader;
  }
}

const keptByKernel = { keepCache: true, noFlush: true };

/** Smaller files lie in packs, where there is no local file of their own. */
function passThroughOf({ artifact, notices }: VersionOwner, { size, extents }: Entry): PassThrough | null {
  const [extent, another] = extents ?? [];
  if (extent === undefined || another !== undefined || extent.object === null) return null;
  if (size < limits.packFileBytesMax || extent.offset !== 0 || extent.length !== size) return null;
  return new PassThrough(notices, artifact.localObject(extent.object, size), size);
}

function entryAttributes(inos: InoKey, entry: Entry): Attributes {
  let held = 0;
  for (const extent of entry.extents ?? []) if (extent.object !== null) held += extent.length;
  return {
    ino: shownIno(inos, entry.ino),
    kind: entry.kind,
    mode: entry.mode,
    nlink: entry.nlink,
    uid: entry.uid,
    gid: entry.gid,
    rdev: entry.rdev ?? 0,
    size: entry.size,
    blocks: Math.ceil(held / 512),
    atime: entry.atime ?? entry.mtime,
    mtime: entry.mtime,
    ctime: entry.ctime,
  };
}

function entryContent(entry: Entry): FileContent {
  const extents = ExtentMap.fromEntryExtents(entry.extents ?? []);
  return { size: () => entry.size, pieces: (offset, length) => extents.pieces(offset, length) };
}

const noNames: readonly string[] = [];
