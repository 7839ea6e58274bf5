import type { AllocateRange } from '../artifacts/ports.js';
import type { LocalRange } from '../content/ports.js';
import type { Kind, Time } from '../model/entry.js';
import type { ArtifactError } from '../model/errors.js';
import type { MaybePromise } from '../util/maybe-promise.js';

export type { AllocateRange } from '../artifacts/ports.js';
export type { LocalRange } from '../content/ports.js';

/**
 * What a kernel driver asks of a file system: inodes by number, names, handles. No FUSE here: a driver decodes a
 * request, calls one of these, and encodes the answer. Failures are thrown or rejected as ArtifactErrors; the driver
 * turns codes into errno in one table.
 */
export type NodeId = number;
export const rootNodeId: NodeId = 1;

/**
 * Who asks. `pid` 0 means the kernel itself. `signal` fires when the asker is told to end, or when the request was
 * given up after its deadline: then nobody waits for the result, and what has begun may end as it likes.
 */
export interface RequestContext {
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** Not yet taken from modes: only a directory without a default ACL does it. */
  readonly umask: number;
  readonly signal: AbortSignal;
  /** Said by what may take as long as it needs (a commit): it has no deadline, and answers an interrupt by itself. */
  takeTime?(): void;
  /**
   * `done` is called once, when the answer has left or nobody wants it any more: until then bytes that were answered must
   * stay as they are. Left out: they must for ever.
   */
  onAnswered?(done: () => void): void;
}

/** One line of the access log. */
export interface Access {
  /** `lookup`, `read`. */
  readonly operation: string;
  readonly node: NodeId;
  /** What the request names inside `node`, and for a rename the new place. */
  readonly about: readonly { readonly parent: NodeId; readonly name: string }[];
  readonly uid: number;
  readonly gid: number;
  readonly pid: number;
  /** 0: answered as asked. */
  readonly errno: number;
  readonly durationMs: number;
}

/** Takes what was answered, while somebody wants to read it. */
export interface AccessRecorder {
  readonly isOpen: boolean;
  record(access: Access): void;
}

export interface Attributes {
  /** st_ino as shown to programs: 64 bits. */
  readonly ino: bigint;
  readonly kind: Kind;
  readonly mode: number;
  readonly nlink: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev: number;
  readonly size: number;
  /** In units of 512 bytes. */
  readonly blocks: number;
  readonly atime: Time;
  readonly mtime: Time;
  readonly ctime: Time;
}

/** The answer to LOOKUP and everything that makes a name. Each one that reaches the kernel is one more to forget. */
export interface NodeEntry {
  readonly nodeId: NodeId;
  /** Of the mount: a file handle of another one is stale. 0 for the root. */
  readonly generation: number;
  readonly attributes: Attributes;
  /** How long the kernel may believe the name and the attributes, in seconds; Infinity: until it is told. */
  readonly entrySeconds: number;
  readonly attrSeconds: number;
}

export interface AttributesReply {
  readonly attributes: Attributes;
  readonly attrSeconds: number;
}

export interface SetAttributes {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly atime?: Time | 'now';
  readonly mtime?: Time | 'now';
  readonly ctime?: Time;
  /** The kernel asks to drop setuid/setgid with this change. */
  readonly killPrivileges?: boolean;
}

export interface OpenReply {
  readonly handle: number;
  /** Bypass the page cache: control files whose size is not known. */
  readonly directIo?: boolean;
  /** Pages cached at an earlier open are still true. */
  readonly keepCache?: boolean;
  /** The kernel may cache the directory's listing. */
  readonly cacheDirectory?: boolean;
  /** close needs no FLUSH. */
  readonly noFlush?: boolean;
  readonly nonSeekable?: boolean;
  /**
   * The kernel reads the local file of this id (`KernelNotifier.localFiles`) itself, and asks for no bytes. While one handle of a
   * node is open so, others must have the same id; while one is open without, others must have none.
   */
  readonly backingId?: number;
}

/** A place in an open file. */
export interface HandlePlace {
  readonly handle: number;
  readonly offset: number;
}

export interface DirectoryEntry {
  readonly name: string;
  readonly ino: bigint;
  readonly kind: Kind;
  /** Where to go on after this entry: opaque to the kernel. */
  readonly nextOffset: number;
}

export interface FileSystemStatistics {
  readonly blockBytes: number;
  readonly blocks: number;
  readonly blocksFree: number;
  readonly blocksAvailable: number;
  readonly files: number;
  readonly filesFree: number;
  readonly nameBytesMax: number;
}

/** Local files that the kernel reads by itself, for those who open a file of the mount. */
export interface KernelLocalFiles {
  /**
   * An id for `OpenReply.backingId`, or undefined where the kernel does not want the file. The kernel holds the file by itself: the
   * descriptor stays the caller's, who may close it at once. The file may be unlinked, but not changed.
   */
  open(descriptor: number): number | undefined;
  /** Nobody opens with the id any more; and what is open with it has been released. */
  close(id: number): void;
}

/** A node that the kernel may forget, by the name it saw last. */
export interface PrunableNode {
  readonly id: NodeId;
  readonly parent: NodeId;
  readonly name: string;
  readonly isDirectory: boolean;
}

/**
 * Lets the file system tell the kernel that something it cached is no longer true. Never called inside a request,
 * but other requests may be under way: the kernel waits for their locks, so a driver sends these from a thread that
 * answers no requests.
 */
export interface KernelNotifier {
  /**
   * The name must be asked for again. With FUSE_EXPIRE_ONLY where the kernel has it (7.38): a plain invalidation
   * unhashes a directory, and getcwd fails in it.
   */
  invalidateEntry(parent: NodeId, name: string): void;
  /** offset < 0: attributes only; length 0: to the end. */
  invalidateInode(node: NodeId, offset: number, length: number): void;
  /**
   * The kernel forgets those of these nodes that nobody uses. None of them is open. Directories only where the kernel
   * itself sees to it that they are not in use (7.45).
   */
  prune?(nodes: readonly PrunableNode[]): void;
  /** Every name of the mount must be asked for again. Only where the kernel can be told so in one word (7.44). */
  readonly invalidateEveryEntry?: (() => void) | undefined;
  /**
   * The kernel keeps what programs write for a while, and says itself what size and times a file has that it knows:
   * invalidating such a file makes it send the bytes first, and does not make it ask for the size.
   */
  readonly keepsWrites?: boolean;
  /**
   * Resolves when what programs have written to these files, also by mappings, has come in, with its times. Not from
   * inside a request about one of them.
   */
  readonly writeBack?: ((nodes: readonly NodeId[]) => Promise<void>) | undefined;
  /** Only while the kernel may and can read local files by itself. */
  readonly localFiles?: KernelLocalFiles | undefined;
  /** Resolves when the kernel has taken all that was sent so far; lets `discard` answer after the old view is gone. */
  drain?(): Promise<void>;
}

export interface FileSystem {
  /** Called once, when the kernel is connected. */
  attach(notifier: KernelNotifier): void;
  /** Told of each answer while it is open. */
  readonly accesses?: AccessRecorder;
  /** A request about this node was given up: words for who asks why. */
  noteFailure?(node: NodeId, error: ArtifactError): void;
  /** Where the kernel saw the node last, from the root on, for messages; `#7` when it has no name. */
  pathOf?(node: NodeId): string;

  /**
   * undefined: no such name (the driver answers ENOENT, cacheable for `negativeSeconds`). Where that may change without
   * being told, NotFound is thrown instead.
   */
  lookup(context: RequestContext, parent: NodeId, name: string): MaybePromise<NodeEntry | undefined>;
  readonly negativeSeconds: number;
  forget(node: NodeId, count: number): void;
  getAttributes(context: RequestContext, node: NodeId): MaybePromise<AttributesReply>;
  setAttributes(context: RequestContext, node: NodeId, changes: SetAttributes): MaybePromise<AttributesReply>;
  readLink(context: RequestContext, node: NodeId): MaybePromise<string>;

  makeNode(
    context: RequestContext,
    parent: NodeId,
    name: string,
    mode: number,
    kind: Kind,
    rdev: number,
  ): MaybePromise<NodeEntry>;
  makeDirectory(context: RequestContext, parent: NodeId, name: string, mode: number): MaybePromise<NodeEntry>;
  symlink(context: RequestContext, parent: NodeId, name: string, target: string): MaybePromise<NodeEntry>;
  link(context: RequestContext, node: NodeId, newParent: NodeId, newName: string): MaybePromise<NodeEntry>;
  unlink(context: RequestContext, parent: NodeId, name: string): MaybePromise<void>;
  removeDirectory(context: RequestContext, parent: NodeId, name: string): MaybePromise<void>;
  rename(
    context: RequestContext,
    parent: NodeId,
    name: string,
    newParent: NodeId,
    newName: string,
    flags: { noReplace: boolean; exchange: boolean },
  ): MaybePromise<void>;

  /** `flags` are open(2) flags of Linux; with O_TRUNC `killPrivileges` says that it takes setuid and setgid away. */
  open(
    context: RequestContext,
    node: NodeId,
    flags: number,
    killPrivileges?: boolean,
  ): MaybePromise<OpenReply>;
  create(
    context: RequestContext,
    parent: NodeId,
    name: string,
    mode: number,
    flags: number,
    killPrivileges?: boolean,
  ): MaybePromise<NodeEntry & { open: OpenReply }>;
  /** At most `length` bytes; fewer only at the end. The buffer may be shared: the driver only sends it. */
  read(context: RequestContext, handle: number, offset: number, length: number): MaybePromise<Buffer>;
  /**
   * The same bytes for a driver that reads local files itself: undefined when they are elsewhere. The driver releases the range. When
   * it fails, the driver calls `read`, which knows what to do or to say.
   */
  localRange?(handle: number, offset: number, length: number): LocalRange | undefined;
  /**
   * `data` may be reused by the driver when the call has returned or resolved. `fromCache` is FUSE_WRITE_CACHE: pages
   * written back through any handle of the file, so that O_APPEND of the handle means nothing. Where the driver does
   * not know it, it is left out, and `offset` is always believed.
   */
  write(
    context: RequestContext,
    handle: number,
    offset: number,
    data: Buffer,
    flags: { killPrivileges: boolean; fromCache?: boolean },
  ): MaybePromise<number>;
  /**
   * O_TMPFILE: an inode without a name, that lives until its last handle is closed or `link` gives it one (never, with
   * O_EXCL). `parent` says where it may be linked.
   */
  createUnnamed(
    context: RequestContext,
    parent: NodeId,
    mode: number,
    flags: number,
  ): MaybePromise<NodeEntry & { open: OpenReply }>;
  allocate(context: RequestContext, handle: number, range: AllocateRange): MaybePromise<void>;
  /** Where data or a hole begins at `offset` or after it; `NotSeekable` when there is none, or `offset` is past the end. */
  seek(context: RequestContext, handle: number, offset: number, what: 'data' | 'hole'): MaybePromise<number>;
  /**
   * Copies at most `length` bytes, fewer at the end or where it is simpler; answers how many. `CrossDevice` or
   * `Unsupported`: the kernel copies by reading and writing.
   */
  copyRange(
    context: RequestContext,
    from: HandlePlace,
    to: HandlePlace,
    length: number,
  ): MaybePromise<number>;
  flush(context: RequestContext, handle: number): MaybePromise<void>;
  fsync(context: RequestContext, handle: number, dataOnly: boolean): MaybePromise<void>;
  release(handle: number): void;

  openDirectory(context: RequestContext, node: NodeId, flags: number): MaybePromise<OpenReply>;
  /** Calls `emit` for each entry from `offset` until it answers false (the driver's buffer is full). With '.' and '..'. */
  readDirectory(
    context: RequestContext,
    handle: number,
    offset: number,
    emit: (entry: DirectoryEntry) => boolean,
  ): MaybePromise<void>;
  /** The same with attributes; each entry that was taken counts as looked up, but '.' and '..' (no node: `undefined`). */
  readDirectoryPlus(
    context: RequestContext,
    handle: number,
    offset: number,
    emit: (entry: DirectoryEntry, node: NodeEntry | undefined) => boolean,
  ): MaybePromise<void>;
  releaseDirectory(handle: number): void;
  fsyncDirectory(context: RequestContext, handle: number): MaybePromise<void>;

  /** Everything acknowledged so far is on stable storage when it resolves. */
  syncFileSystem(context: RequestContext): MaybePromise<void>;
  statistics(context: RequestContext, node: NodeId): MaybePromise<FileSystemStatistics>;
  getXattr(context: RequestContext, node: NodeId, name: string): MaybePromise<Uint8Array>;
  listXattrs(context: RequestContext, node: NodeId): MaybePromise<readonly string[]>;
  /** `clearSetgid`: a new access ACL takes setgid away, too. */
  setXattr(
    context: RequestContext,
    node: NodeId,
    name: string,
    value: Uint8Array,
    flags: { create: boolean; replace: boolean; clearSetgid?: boolean },
  ): MaybePromise<void>;
  removeXattr(context: RequestContext, node: NodeId, name: string): MaybePromise<void>;
}
