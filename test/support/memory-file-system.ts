import { constants } from 'node:fs';
import { type Kind, systemClock, type Time } from '../../src/model/entry.js';
import { ArtifactError, type ErrorCode } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import type { MaybePromise } from '../../src/util/maybe-promise.js';
import {
  type Attributes,
  type AttributesReply,
  type DirectoryEntry,
  type FileSystem,
  type FileSystemStatistics,
  type KernelNotifier,
  type NodeEntry,
  type NodeId,
  type OpenReply,
  type RequestContext,
  rootNodeId,
  type SetAttributes,
} from '../../src/vfs/file-system.js';

const setuid = 0o4000;
const setgid = 0o2000;
const groupExecute = 0o010;

/** A file of any kind. `names` counts its directory entries; `lookups` what the kernel has to forget. */
export interface MemoryNode {
  readonly id: NodeId;
  readonly kind: Kind;
  mode: number;
  uid: number;
  gid: number;
  rdev: number;
  atime: Time;
  mtime: Time;
  ctime: Time;
  names: number;
  lookups: number;
  opens: number;
  bytes: Buffer;
  size: number;
  target: string;
  /** Sub-directories. */
  directories: number;
  /** Of directories: names in the order they were made; the cookie of an entry never changes. */
  readonly children: Map<string, { readonly node: MemoryNode; readonly cookie: number }>;
  cookies: number;
  parent: MemoryNode | undefined;
  readonly xattrs: Map<string, Uint8Array>;
}

export interface MemoryFileSystemOptions {
  readonly entrySeconds?: number;
  readonly attrSeconds?: number;
  readonly negativeSeconds?: number;
  readonly keepCache?: boolean;
  /** Files of these names bypass the page cache. */
  readonly directIo?: readonly string[];
}

/** The smallest file system that a driver can be tested with. Everything is answered at once, unless `before` waits. */
export class MemoryFileSystem implements FileSystem {
  readonly negativeSeconds: number;
  readonly nodes = new Map<NodeId, MemoryNode>();
  notifier: KernelNotifier | undefined;
  /** Called before each read and write; a promise delays it, a rejection fails it. */
  before: (operation: 'read' | 'write', context: RequestContext, node: MemoryNode) => MaybePromise<void> =
    () => {};
  readonly #options: MemoryFileSystemOptions;
  readonly #handles = new Map<number, MemoryNode>();
  readonly #direct = new WeakSet<MemoryNode>();
  #handlesMade = 0;
  #nodesMade = 0;

  constructor(options: MemoryFileSystemOptions = {}) {
    this.#options = options;
    this.negativeSeconds = options.negativeSeconds ?? 0;
    const root = this.#make('dir', 0o755, process.getuid?.() ?? 0, process.getgid?.() ?? 0);
    root.names = 1;
  }

  get openCount(): number {
    return this.#handles.size;
  }

  attach(notifier: KernelNotifier): void {
    this.notifier = notifier;
  }

  lookup(_: RequestContext, parent: NodeId, name: string): NodeEntry | undefined {
    const child = this.#directory(parent).children.get(name);
    return child === undefined ? undefined : this.#entry(child.node);
  }

  forget(id: NodeId, count: number): void {
    const node = this.nodes.get(id);
    if (node === undefined) return;
    node.lookups -= count;
    if (node.lookups < 0 && id !== rootNodeId) throw fail('Internal', `node ${id} was forgotten too often`);
    this.#drop(node);
  }

  getAttributes(_: RequestContext, id: NodeId): AttributesReply {
    return this.#attributesReply(this.#node(id));
  }

  setAttributes(_: RequestContext, id: NodeId, changes: SetAttributes): AttributesReply {
    const node = this.#node(id);
    const now = systemClock();
    if (changes.killPrivileges) stripSetIds(node);
    if (changes.mode !== undefined) node.mode = changes.mode;
    if (changes.uid !== undefined) node.uid = changes.uid;
    if (changes.gid !== undefined) node.gid = changes.gid;
    if (changes.size !== undefined) {
      resize(node, changes.size);
      node.mtime = now;
    }
    if (changes.atime !== undefined) node.atime = changes.atime === 'now' ? now : changes.atime;
    if (changes.mtime !== undefined) node.mtime = changes.mtime === 'now' ? now : changes.mtime;
    node.ctime = changes.ctime ?? now;
    return this.#attributesReply(node);
  }

  readLink(_: RequestContext, id: NodeId): string {
    return this.#node(id).target;
  }

  makeNode(
    context: RequestContext,
    parent: NodeId,
    name: string,
    mode: number,
    kind: Kind,
    rdev: number,
  ): NodeEntry {
    const node = this.#add(context, parent, name, kind, mode);
    node.rdev = rdev;
    return this.#entry(node);
  }

  makeDirectory(context: RequestContext, parent: NodeId, name: string, mode: number): NodeEntry {
    return this.#entry(this.#add(context, parent, name, 'dir', mode));
  }

  symlink(context: RequestContext, parent: NodeId, name: string, target: string): NodeEntry {
    const node = this.#add(context, parent, name, 'symlink', 0o777);
    node.target = target;
    node.size = Buffer.byteLength(target);
    return this.#entry(node);
  }

  link(_: RequestContext, id: NodeId, newParent: NodeId, newName: string): NodeEntry {
    const node = this.#node(id);
    this.#attach(this.#directory(newParent), newName, node);
    return this.#entry(node);
  }

  unlink(_: RequestContext, parent: NodeId, name: string): void {
    const directory = this.#directory(parent);
    const node = this.#child(directory, name);
    if (node.kind === 'dir') throw fail('IsDirectory', name);
    this.#detach(directory, name);
  }

  removeDirectory(_: RequestContext, parent: NodeId, name: string): void {
    const directory = this.#directory(parent);
    const node = this.#child(directory, name);
    if (node.kind !== 'dir') throw fail('NotDirectory', name);
    if (node.children.size > 0) throw fail('NotEmpty', name);
    this.#detach(directory, name);
  }

  rename(
    _: RequestContext,
    parent: NodeId,
    name: string,
    newParent: NodeId,
    newName: string,
    flags: { noReplace: boolean; exchange: boolean },
  ): void {
    const from = this.#directory(parent);
    const to = this.#directory(newParent);
    const node = this.#child(from, name);
    const target = to.children.get(newName)?.node;
    if (flags.noReplace && target !== undefined) throw fail('Exists', newName);
    if (flags.exchange && target === undefined) throw fail('NotFound', newName);
    if (target === node) return;
    if (target !== undefined && !flags.exchange) {
      if (target.children.size > 0) throw fail('NotEmpty', newName);
    }
    if (target !== undefined) this.#detach(to, newName, flags.exchange);
    this.#detach(from, name, true);
    this.#attach(to, newName, node);
    if (flags.exchange && target !== undefined) this.#attach(from, name, target);
  }

  open(_: RequestContext, id: NodeId, flags: number): OpenReply {
    const node = this.#node(id);
    if ((flags & constants.O_TRUNC) !== 0) resize(node, 0);
    return {
      handle: this.#open(node),
      keepCache: this.#options.keepCache ?? false,
      directIo: this.#direct.has(node),
    };
  }

  create(
    context: RequestContext,
    parent: NodeId,
    name: string,
    mode: number,
    _flags: number,
  ): NodeEntry & { open: OpenReply } {
    const node = this.#add(context, parent, name, 'file', mode);
    return { ...this.#entry(node), open: { handle: this.#open(node) } };
  }

  read(context: RequestContext, handle: number, offset: number, length: number): MaybePromise<Buffer> {
    const node = this.#opened(handle);
    const bytes = (): Buffer =>
      node.bytes.subarray(Math.min(offset, node.size), Math.min(offset + length, node.size));
    const wait = this.before('read', context, node);
    return wait instanceof Promise ? wait.then(bytes) : bytes();
  }

  write(
    context: RequestContext,
    handle: number,
    offset: number,
    data: Buffer,
    flags: { killPrivileges: boolean },
  ): MaybePromise<number> {
    const node = this.#opened(handle);
    const put = (): number => {
      if (offset + data.length > node.size) resize(node, offset + data.length);
      data.copy(node.bytes, offset);
      // The kernel does not expect the mode to change with a write.
      if (flags.killPrivileges && stripSetIds(node)) this.notifier?.invalidateInode(node.id, -1, 0);
      node.mtime = systemClock();
      node.ctime = node.mtime;
      return data.length;
    };
    const wait = this.before('write', context, node);
    return wait instanceof Promise ? wait.then(put) : put();
  }

  createUnnamed(): never {
    throw fail('Unsupported', 'files without a name');
  }
  allocate(): never {
    throw fail('Unsupported', 'allocating');
  }
  seek(): never {
    throw fail('Unsupported', 'seeking');
  }
  copyRange(): never {
    throw fail('Unsupported', 'copying');
  }
  syncFileSystem(): void {}

  flush(_: RequestContext, handle: number): void {
    this.#opened(handle);
  }

  fsync(_: RequestContext, handle: number): void {
    this.#opened(handle);
  }

  release(handle: number): void {
    const node = this.#opened(handle);
    this.#handles.delete(handle);
    node.opens -= 1;
    this.#drop(node);
  }

  openDirectory(_: RequestContext, id: NodeId): OpenReply {
    return { handle: this.#open(this.#directory(id)) };
  }

  readDirectory(
    _: RequestContext,
    handle: number,
    offset: number,
    emit: (entry: DirectoryEntry) => boolean,
  ): void {
    for (const { entry } of this.#list(this.#opened(handle), offset)) if (!emit(entry)) return;
  }

  readDirectoryPlus(
    _: RequestContext,
    handle: number,
    offset: number,
    emit: (entry: DirectoryEntry, node: NodeEntry | undefined) => boolean,
  ): void {
    for (const { entry, node } of this.#list(this.#opened(handle), offset)) {
      if (!emit(entry, node === undefined ? undefined : this.#entryOf(node))) return;
      if (node !== undefined) node.lookups += 1;
    }
  }

  releaseDirectory(handle: number): void {
    this.release(handle);
  }

  fsyncDirectory(): void {}

  statistics(): FileSystemStatistics {
    return {
      blockBytes: 4096,
      blocks: 1 << 20,
      blocksFree: 1 << 19,
      blocksAvailable: 1 << 18,
      files: this.nodes.size,
      filesFree: 1 << 20,
      nameBytesMax: limits.nameBytesMax,
    };
  }

  getXattr(_: RequestContext, id: NodeId, name: string): Uint8Array {
    const value = this.#node(id).xattrs.get(name);
    if (value === undefined) throw fail('NoAttribute', name);
    return value;
  }

  listXattrs(_: RequestContext, id: NodeId): string[] {
    return [...this.#node(id).xattrs.keys()];
  }

  setXattr(
    _: RequestContext,
    id: NodeId,
    name: string,
    value: Uint8Array,
    flags: { create: boolean; replace: boolean },
  ): void {
    const { xattrs } = this.#node(id);
    if (flags.create && xattrs.has(name)) throw fail('Exists', name);
    if (flags.replace && !xattrs.has(name)) throw fail('NoAttribute', name);
    xattrs.set(name, value);
  }

  removeXattr(_: RequestContext, id: NodeId, name: string): void {
    if (!this.#node(id).xattrs.delete(name)) throw fail('NoAttribute', name);
  }

  #node(id: NodeId): MemoryNode {
    const node = this.nodes.get(id);
    if (node === undefined) throw fail('Stale', `node ${id}`);
    return node;
  }

  #directory(id: NodeId): MemoryNode {
    const node = this.#node(id);
    if (node.kind !== 'dir') throw fail('NotDirectory', `node ${id}`);
    return node;
  }

  #child(directory: MemoryNode, name: string): MemoryNode {
    const child = directory.children.get(name);
    if (child === undefined) throw fail('NotFound', name);
    return child.node;
  }

  #opened(handle: number): MemoryNode {
    const node = this.#handles.get(handle);
    if (node === undefined) throw fail('BadHandle', `handle ${handle}`);
    return node;
  }

  #open(node: MemoryNode): number {
    this.#handlesMade += 1;
    this.#handles.set(this.#handlesMade, node);
    node.opens += 1;
    return this.#handlesMade;
  }

  #add(context: RequestContext, parent: NodeId, name: string, kind: Kind, mode: number): MemoryNode {
    const directory = this.#directory(parent);
    if (directory.children.has(name)) throw fail('Exists', name);
    const bits = kind === 'symlink' ? mode : mode & ~context.umask;
    const node = this.#make(kind, bits, context.uid, context.gid);
    this.#attach(directory, name, node);
    return node;
  }

  #make(kind: Kind, mode: number, uid: number, gid: number): MemoryNode {
    this.#nodesMade += 1;
    const now = systemClock();
    const node: MemoryNode = {
      id: this.#nodesMade,
      kind,
      mode,
      uid,
      gid,
      rdev: 0,
      atime: now,
      mtime: now,
      ctime: now,
      names: 0,
      lookups: 0,
      opens: 0,
      bytes: Buffer.alloc(0),
      size: 0,
      target: '',
      directories: 0,
      children: new Map(),
      cookies: 2,
      parent: undefined,
      xattrs: new Map(),
    };
    this.nodes.set(node.id, node);
    return node;
  }

  #attach(directory: MemoryNode, name: string, node: MemoryNode): void {
    if (directory.children.has(name)) throw fail('Exists', name);
    directory.cookies += 1;
    directory.children.set(name, { node, cookie: directory.cookies });
    if (this.#options.directIo?.includes(name)) this.#direct.add(node);
    node.names += 1;
    if (node.kind === 'dir') {
      node.parent = directory;
      directory.directories += 1;
    }
    this.#touch(directory, node);
  }

  #detach(directory: MemoryNode, name: string, keep = false): void {
    const node = this.#child(directory, name);
    directory.children.delete(name);
    node.names -= 1;
    if (node.kind === 'dir') directory.directories -= 1;
    this.#touch(directory, node);
    if (!keep) this.#drop(node);
  }

  #touch(directory: MemoryNode, node: MemoryNode): void {
    directory.mtime = systemClock();
    directory.ctime = directory.mtime;
    node.ctime = directory.mtime;
  }

  #drop(node: MemoryNode): void {
    if (node.names === 0 && node.lookups <= 0 && node.opens === 0) this.nodes.delete(node.id);
  }

  *#list(
    directory: MemoryNode,
    offset: number,
  ): Iterable<{ entry: DirectoryEntry; node: MemoryNode | undefined }> {
    const dot = (name: string, node: MemoryNode, nextOffset: number): DirectoryEntry => ({
      name,
      ino: BigInt(node.id),
      kind: 'dir',
      nextOffset,
    });
    if (offset < 1) yield { entry: dot('.', directory, 1), node: undefined };
    if (offset < 2) yield { entry: dot('..', directory.parent ?? directory, 2), node: undefined };
    for (const [name, { node, cookie }] of directory.children) {
      if (cookie <= offset) continue;
      yield { entry: { name, ino: BigInt(node.id), kind: node.kind, nextOffset: cookie }, node };
    }
  }

  #entry(node: MemoryNode): NodeEntry {
    node.lookups += 1;
    return this.#entryOf(node);
  }

  #entryOf(node: MemoryNode): NodeEntry {
    return {
      nodeId: node.id,
      generation: 0,
      attributes: attributesOf(node),
      entrySeconds: this.#options.entrySeconds ?? Number.POSITIVE_INFINITY,
      attrSeconds: this.#options.attrSeconds ?? Number.POSITIVE_INFINITY,
    };
  }

  #attributesReply(node: MemoryNode): AttributesReply {
    return {
      attributes: attributesOf(node),
      attrSeconds: this.#options.attrSeconds ?? Number.POSITIVE_INFINITY,
    };
  }
}

const fail = (code: ErrorCode, what: string): ArtifactError => new ArtifactError(code, what);

function attributesOf(node: MemoryNode): Attributes {
  const nlink = node.kind === 'dir' && node.names > 0 ? 2 + node.directories : node.names;
  const { id, kind, mode, uid, gid, rdev, size, atime, mtime, ctime } = node;
  return {
    ino: BigInt(id),
    kind,
    mode,
    nlink,
    uid,
    gid,
    rdev,
    size,
    blocks: Math.ceil(size / 512),
    atime,
    mtime,
    ctime,
  };
}

function resize(node: MemoryNode, size: number): void {
  if (size > 2 ** 31) throw fail('TooLarge', `${size} bytes`);
  if (size > node.bytes.length) {
    const grown = Buffer.alloc(Math.max(size, node.bytes.length * 2));
    node.bytes.copy(grown, 0, 0, node.size);
    node.bytes = grown;
  } else if (size < node.size) {
    node.bytes = Buffer.concat([node.bytes.subarray(0, size)]); // replies that still send the old bytes keep them
  }
  node.size = size;
}

/** Answers whether there was something to strip. */
function stripSetIds(node: MemoryNode): boolean {
  if (node.kind === 'dir') return false;
  const before = node.mode;
  node.mode &= ~setuid;
  if ((node.mode & groupExecute) !== 0) node.mode &= ~setgid;
  return node.mode !== before;
}
