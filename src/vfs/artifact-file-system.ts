import type { AllocateRange } from '../artifacts/ports.js';
import type { LocalRange } from '../content/ports.js';
import { isAclName } from '../model/acl.js';
import type { Clock, Kind } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { AclQuestions } from './acl-questions.js';
import {
  type AccessRecorder,
  type AttributesReply,
  type DirectoryEntry,
  type FileSystem,
  type FileSystemStatistics,
  type HandlePlace,
  type KernelNotifier,
  type NodeEntry,
  type NodeId,
  type OpenReply,
  type RequestContext,
  rootNodeId,
  type SetAttributes,
} from './file-system.js';
import { checkName } from './names.js';
import type { Node, RenameFlags, SpaceStatistics } from './node.js';
import { NodePruner } from './node-pruner.js';
import { NodeRecall } from './node-recall.js';
import { NodeTable } from './node-table.js';
import { OpenHandles } from './open-handles.js';
import type { Views } from './views.js';
import { checkXattrName, isListedFor, machineLabel } from './xattr-names.js';

/**
 * The port as the kernel driver sees it: numbers become nodes and handles, the node does the work, and what it gives
 * is counted. Synchronous answers stay synchronous.
 */
export class ArtifactFileSystem implements FileSystem {
  readonly negativeSeconds = limits.kernelCacheSeconds;
  readonly #views: Views;
  readonly #nodes: NodeTable;
  readonly #recall: NodeRecall;
  readonly #pruner: NodePruner;
  readonly #open = new OpenHandles();
  readonly #acls = new AclQuestions();
  readonly #clock: Clock;
  readonly #space: () => MaybePromise<SpaceStatistics>;
  #statistics: { value: FileSystemStatistics; timeMs: number } | null = null;

  /** `nodesMax`: how many the kernel may know before it is asked to forget some. */
  constructor(
    views: Views,
    clock: Clock,
    space: () => MaybePromise<SpaceStatistics>,
    nodesMax: number = limits.kernelNodesMax,
  ) {
    this.#views = views;
    this.#nodes = new NodeTable(views.rootOf(views.artifacts.root));
    this.#pruner = new NodePruner(this.#nodes, views.notices, nodesMax);
    this.#recall = new NodeRecall(this.#nodes);
    views.accesses.pathOf = (id) => this.pathOf(id);
    this.#clock = clock;
    this.#space = space;
  }

  attach(notifier: KernelNotifier): void {
    this.#views.notices.attach(notifier);
  }

  get accesses(): AccessRecorder {
    return this.#views.accesses;
  }

  noteFailure(id: NodeId, error: ArtifactError): void {
    this.#nodes.find(id)?.onFailure(error);
  }

  pathOf(id: NodeId): string {
    return this.#nodes.find(id)?.path() ?? `#${id}`;
  }

  /** Resolves when the kernel has been told of every change so far. */
  kernelTold(): Promise<void> {
    return this.#views.kernelTold();
  }

  lookup(_context: RequestContext, parentId: NodeId, name: string): MaybePromise<NodeEntry | undefined> {
    checkName(name);
    if (name === '.') return chain(this.#recall.node(parentId), (node) => this.#entryOf(node));
    if (name === '..') return chain(this.#recall.parent(parentId), (node) => this.#entryOf(node));
    const parent = this.#nodes.get(parentId);
    const found = parent.lookup(name);
    if (found instanceof Promise) return found.then((node) => this.#found(parent, name, node));
    return this.#found(parent, name, found);
  }

  forget(node: NodeId, count: number): void {
    this.#nodes.forget(node, count);
  }

  getAttributes(_context: RequestContext, id: NodeId): AttributesReply {
    return attributesReply(this.#nodes.get(id));
  }

  setAttributes(context: RequestContext, id: NodeId, changes: SetAttributes): MaybePromise<AttributesReply> {
    const node = this.#nodes.get(id);
    return chain(node.setAttributes(context, changes), () => attributesReply(node));
  }

  readLink(_context: RequestContext, id: NodeId): MaybePromise<string> {
    return this.#nodes.get(id).readLink();
  }

  makeNode(
    context: RequestContext,
    parentId: NodeId,
    name: string,
    mode: number,
    kind: Kind,
    rdev: number,
  ): MaybePromise<NodeEntry> {
    const parent = this.#nodes.get(parentId);
    checkName(name);
    return this.#entered(parent, name, parent.makeNode(context, name, mode, kind, rdev));
  }

  makeDirectory(
    context: RequestContext,
    parentId: NodeId,
    name: string,
    mode: number,
  ): MaybePromise<NodeEntry> {
    const parent = this.#nodes.get(parentId);
    checkName(name);
    return this.#entered(parent, name, parent.makeDirectory(context, name, mode));
  }

  symlink(context: RequestContext, parentId: NodeId, name: string, target: string): MaybePromise<NodeEntry> {
    const parent = this.#nodes.get(parentId);
    checkName(name);
    if (Buffer.byteLength(target) > limits.symlinkTargetBytesMax) {
      throw new ArtifactError('NameTooLong', `target over ${limits.symlinkTargetBytesMax} bytes`);
    }
    return this.#entered(parent, name, parent.symlink(context, name, target));
  }

  link(_context: RequestContext, id: NodeId, newParentId: NodeId, newName: string): MaybePromise<NodeEntry> {
    const node = this.#nodes.get(id);
    const parent = this.#nodes.get(newParentId);
    checkName(newName);
    return this.#entered(parent, newName, parent.link(node, newName));
  }

  unlink(_context: RequestContext, parentId: NodeId, name: string): MaybePromise<void> {
    return this.#nodes.get(parentId).unlink(name);
  }

  removeDirectory(_context: RequestContext, parentId: NodeId, name: string): MaybePromise<void> {
    return this.#nodes.get(parentId).removeDirectory(name);
  }

  rename(
    _context: RequestContext,
    parentId: NodeId,
    name: string,
    newParentId: NodeId,
    newName: string,
    flags: RenameFlags,
  ): MaybePromise<void> {
    const parent = this.#nodes.get(parentId);
    const newParent = this.#nodes.get(newParentId);
    checkName(newName);
    return chain(parent.rename(name, newParent, newName, flags), () =>
      this.#views.missing.forget(newParent, newName),
    );
  }

  open(context: RequestContext, id: NodeId, flags: number, killPrivileges = false): MaybePromise<OpenReply> {
    const node = this.#nodes.get(id);
    return chain(node.open(context, flags, killPrivileges), (handle) => this.#open.addFile(node, handle));
  }

  create(
    context: RequestContext,
    parentId: NodeId,
    name: string,
    mode: number,
    flags: number,
    killPrivileges = false,
  ): MaybePromise<NodeEntry & { open: OpenReply }> {
    const parent = this.#nodes.get(parentId);
    checkName(name);
    return chain(parent.create(context, name, mode, flags, killPrivileges), ({ node, handle }) => ({
      ...this.#enter(parent, name, node),
      open: this.#open.addFile(node, handle),
    }));
  }

  createUnnamed(
    context: RequestContext,
    parentId: NodeId,
    mode: number,
    flags: number,
  ): MaybePromise<NodeEntry & { open: OpenReply }> {
    const created = this.#nodes.get(parentId).createUnnamed(context, mode, flags);
    return chain(created, ({ node, handle }) => ({
      ...this.#known(node),
      open: this.#open.addFile(node, handle),
    }));
  }

  allocate(context: RequestContext, handle: number, range: AllocateRange): MaybePromise<void> {
    const file = this.#open.file(handle);
    if (file.allocate === undefined) throw new ArtifactError('Unsupported', 'this file has no room to give');
    const { allocate } = file;
    if (range.how !== 'allocate') return allocate.call(file, context, range, 0);
    return chain(this.statistics(context), ({ blocksAvailable, blockBytes }) =>
      allocate.call(file, context, range, blocksAvailable * blockBytes),
    );
  }

  seek(
    _context: RequestContext,
    handle: number,
    offset: number,
    what: 'data' | 'hole',
  ): MaybePromise<number> {
    const file = this.#open.file(handle);
    if (file.seek === undefined) throw new ArtifactError('Invalid', 'this file has no holes to seek');
    return file.seek(offset, what);
  }

  copyRange(
    context: RequestContext,
    from: HandlePlace,
    to: HandlePlace,
    length: number,
  ): MaybePromise<number> {
    const source = this.#open.file(from.handle);
    const target = this.#open.file(to.handle);
    if (source.copyTo === undefined)
      throw new ArtifactError('Unsupported', 'this file is copied by reading it');
    return source.copyTo(context, from.offset, target, to.offset, length);
  }

  read(context: RequestContext, handle: number, offset: number, length: number): MaybePromise<Buffer> {
    return this.#open.file(handle).read(context, offset, length);
  }

  localRange(handle: number, offset: number, length: number): LocalRange | undefined {
    return this.#open.file(handle).localRange?.(offset, length);
  }

  write(
    context: RequestContext,
    handle: number,
    offset: number,
    data: Buffer,
    flags: { killPrivileges: boolean; fromCache?: boolean },
  ): MaybePromise<number> {
    return this.#open.file(handle).write(context, offset, data, flags);
  }

  flush(_context: RequestContext, handle: number): MaybePromise<void> {
    return this.#open.file(handle).flush?.();
  }

  fsync(_context: RequestContext, handle: number, _dataOnly: boolean): MaybePromise<void> {
    return this.#open.file(handle).sync();
  }

  release(handle: number): void {
    this.#open.releaseFile(handle);
  }

  openDirectory(_context: RequestContext, id: NodeId, _flags: number): OpenReply {
    return this.#open.addDirectory(this.#nodes.get(id).openDirectory());
  }

  readDirectory(
    _context: RequestContext,
    handle: number,
    offset: number,
    emit: (entry: DirectoryEntry) => boolean,
  ): MaybePromise<void> {
    return this.#open
      .directory(handle)
      .read(offset, (name, kind, ino, nextOffset) => emit({ name, kind, ino, nextOffset }));
  }

  readDirectoryPlus(
    _context: RequestContext,
    handle: number,
    offset: number,
    emit: (entry: DirectoryEntry, node: NodeEntry | undefined) => boolean,
  ): MaybePromise<void> {
    const directory = this.#open.directory(handle);
    return directory.read(offset, (name, kind, ino, nextOffset, nodeOf) => {
      const entry = { name, kind, ino, nextOffset };
      const node = nodeOf();
      if (node === undefined) return emit(entry, undefined);
      const taken = emit(entry, this.#enter(directory.node, name, node));
      if (!taken) this.#nodes.forget(node.id, 1);
      return taken;
    });
  }

  releaseDirectory(handle: number): void {
    this.#open.releaseDirectory(handle);
  }

  fsyncDirectory(_context: RequestContext, handle: number): MaybePromise<void> {
    return this.#open.directory(handle).node.sync();
  }

  async syncFileSystem(_context: RequestContext): Promise<void> {
    await Promise.all(this.#views.artifacts.staged().map((artifact) => artifact.tree.syncAll()));
  }

  statistics(_context: RequestContext, _node?: NodeId): MaybePromise<FileSystemStatistics> {
    const now = this.#clock();
    const timeMs = now.s * 1000 + now.ns / 1e6;
    const known = this.#statistics;
    if (known !== null && timeMs >= known.timeMs && timeMs - known.timeMs < limits.statisticsAgeMsMax) {
      return known.value;
    }
    return chain(this.#space(), (space) => {
      const value = { ...space, nameBytesMax: limits.nameBytesMax };
      this.#statistics = { value, timeMs };
      return value;
    });
  }

  getXattr(context: RequestContext, id: NodeId, name: string): MaybePromise<Uint8Array> {
    if (name === machineLabel) this.#acls.labelAsked(context, id);
    checkXattrName(name);
    const node = this.#nodes.get(id);
    if (isAclName(name)) {
      this.#acls.seen(node.listXattrs());
      this.#acls.aclAsked(context, id, node.attributes().uid);
    }
    return node.getXattr(name);
  }

  listXattrs(context: RequestContext, id: NodeId): readonly string[] {
    const names = this.#nodes.get(id).listXattrs();
    return names.filter((name) => isListedFor(context, name));
  }

  setXattr(
    _context: RequestContext,
    id: NodeId,
    name: string,
    value: Uint8Array,
    flags: { create: boolean; replace: boolean; clearSetgid?: boolean },
  ): MaybePromise<void> {
    checkXattrName(name);
    const node = this.#nodes.get(id);
    const done = node.setXattr(name, value, flags);
    // Most that are set say what the mode says, as cp -a does, and are not kept.
    return isAclName(name) ? chain(done, () => this.#acls.seen(node.listXattrs())) : done;
  }

  removeXattr(_context: RequestContext, id: NodeId, name: string): MaybePromise<void> {
    checkXattrName(name);
    return this.#nodes.get(id).removeXattr(name);
  }

  /** What the file system holds, for tests and `stats`. */
  counts(): { nodes: number; files: number; directories: number } {
    return { nodes: this.#nodes.size, files: this.#open.fileCount, directories: this.#open.directoryCount };
  }

  /** Throws when an invariant is broken; for tests. */
  checkInvariants(): void {
    this.#nodes.checkInvariants();
  }

  #entered(parent: Node, name: string, made: MaybePromise<Node>): MaybePromise<NodeEntry> {
    return made instanceof Promise
      ? made.then((node) => this.#enter(parent, name, node))
      : this.#enter(parent, name, made);
  }

  #found(parent: Node, name: string, node: Node | undefined): NodeEntry | undefined {
    if (node !== undefined) return this.#enter(parent, name, node);
    const term = parent.missingTerm(name);
    if (term === 'not-at-all') throw notCacheable;
    if (term === 'until-told') this.#views.missing.remember(parent, name);
    return undefined;
  }

  /** The kernel learns of a node by a name: one more look-up. */
  #enter(parent: Node, name: string, node: Node): NodeEntry {
    this.#nodes.remember(node);
    this.#views.missing.forget(parent, name);
    node.seenAt(parent, name);
    this.#pruner.check();
    return this.#entryOf(node);
  }

  /** The same without a name. */
  #known(node: Node): NodeEntry {
    this.#nodes.remember(node);
    return this.#entryOf(node);
  }

  #entryOf(node: Node): NodeEntry {
    if (!this.#acls.hasSeenAny) this.#acls.seen(node.listXattrs());
    return {
      nodeId: node.id,
      generation: node.id === rootNodeId ? 0 : this.#nodes.generation,
      attributes: node.attributes(),
      entrySeconds: node.entrySeconds,
      attrSeconds: node.attrSeconds,
    };
  }
}

/** One error for all: it is thrown too often for stack traces. */
const notCacheable = new ArtifactError('NotFound', 'no such name');

const attributesReply = (node: Node): AttributesReply => ({
  attributes: node.attributes(),
  attrSeconds: node.attrSeconds,
});
