import type { Readable } from 'node:stream';
import type { VersionInfo, VersionTree } from '../catalog/ports.js';
import type { FileContent, FileReader, LocalObject, WalkPlace } from '../content/ports.js';
import type { Ino, Kind, Time } from '../model/entry.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { ChangeSummary, Input, Manifest } from '../workspace/records.js';

/**
 * A file of the working view in memory: what stat shows. Owned by its WorkingTree; one object per ino, so hard
 * links share it. Callers read it and change it only through the tree. Valid while retained.
 */
export interface Inode {
  readonly ino: Ino;
  readonly kind: Kind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly nlink: number;
  readonly size: number;
  readonly rdev: number;
  readonly atime: Time;
  readonly mtime: Time;
  readonly ctime: Time;
  /** Symlink target, '' for other kinds. */
  readonly target: string;
  /** Bytes really held, for st_blocks. */
  readonly allocated: number;
  /** How often it is open for writing now. */
  readonly openForWriting: number;
  /** Goes up when attributes or bytes became others without a call of the tree: another version, a discard. */
  readonly revision: number;
}

export interface CreateInit {
  readonly kind: Kind;
  readonly mode: number;
  readonly uid: number;
  readonly gid: number;
  readonly rdev?: number;
  readonly target?: string;
  /** Taken from `mode`, unless the directory's default ACL takes its place. */
  readonly umask?: number;
  /** Values in base64. */
  readonly xattrs?: Readonly<Record<string, string>>;
}

/** undefined leaves a field as it is; 'now' is the clock's. */
export interface AttributeChanges {
  readonly mode?: number;
  readonly uid?: number;
  readonly gid?: number;
  readonly size?: number;
  readonly atime?: Time | 'now';
  readonly mtime?: Time | 'now';
  readonly ctime?: Time;
  /** Drops setuid, and setgid where it means execution, unless `mode` is set. A new owner always does, but of a directory. */
  readonly killPrivileges?: boolean;
}

/**
 * What fallocate(2) does with a range: `allocate` makes sure it is there, `punch` makes it a hole, `zero` makes it
 * zeros. `keepSize`: the file does not grow where the range ends after it; a punched file never grows.
 */
export interface AllocateRange {
  readonly offset: number;
  readonly length: number;
  readonly how: 'allocate' | 'punch' | 'zero';
  readonly keepSize: boolean;
}

export interface FilePlace {
  readonly inode: Inode;
  readonly offset: number;
}

export interface DirectoryItem {
  readonly name: string;
  readonly inode: Inode;
}

/**
 * The working view of one artifact: latest version + this mount's stage, with POSIX semantics over names and
 * inodes, no kernel. Every change is durable against the daemon's death when the call returns (one SQLite
 * transaction; WAL without fsync), against power loss after `sync`. Errors: NotFound, Exists, NotDirectory,
 * IsDirectory, NotEmpty, Loop, InvalidName, NameTooLong, TooManyLinks, NoSpace, TooLarge, Invalid, and store
 * errors where names or bytes must be fetched. Times are updated as POSIX says. Permissions are the kernel's.
 */
export interface WorkingTree {
  readonly root: Inode;
  /**
   * Throws `ReadOnly` when nothing may be staged any more; a promise while it is not known whether anything may. What answers
   * `MaybePromise` here waits by itself. Everything else that changes something waits for it before, and so does who opens a file
   * for writing: its writes may be kept back by the kernel.
   */
  admitChange(): MaybePromise<void>;
  lookup(parent: Inode, name: string): MaybePromise<Inode | undefined>;
  /** In name order after `after`; fewer than `limit` means the end. Without '.' and '..'. */
  list(parent: Inode, after: string | null, limit: number): MaybePromise<DirectoryItem[]>;
  /** Directory that holds this directory; the root is its own parent. */
  parentOf(directory: Inode): Inode;

  create(parent: Inode, name: string, init: CreateInit): MaybePromise<Inode>;
  /**
   * A file without a name, which the caller retains at once: it is gone when released, and nothing of it outlives the
   * daemon. With `linkable`, `link` gives it a name.
   */
  createUnnamed(parent: Inode, init: CreateInit, linkable: boolean): Inode;
  link(inode: Inode, parent: Inode, name: string): MaybePromise<void>;
  /** Removes a name that is not a directory, and answers what had it; the file lives on while retained. */
  unlink(parent: Inode, name: string): MaybePromise<Inode>;
  rmdir(parent: Inode, name: string): MaybePromise<void>;
  rename(from: Inode, fromName: string, to: Inode, toName: string, flags: RenameFlags): MaybePromise<void>;
  setAttributes(inode: Inode, changes: AttributeChanges): MaybePromise<void>;

  open(inode: Inode): FileReader;
  /**
   * Returns the bytes taken: all of `data`. `data` may be reused when it resolves. Clears setuid/setgid when asked.
   * `keepTimes`, here and below: the caller sets the file's times itself, now or later.
   */
  write(
    inode: Inode,
    offset: number,
    data: Uint8Array,
    killPrivileges?: boolean,
    keepTimes?: boolean,
  ): MaybePromise<number>;
  /** Data and metadata of a file on stable local storage. */
  sync(inode: Inode): Promise<void>;
  /** Everything staged in this artifact. */
  syncAll(): Promise<void>;

  /**
   * Bytes of the range that are not there yet may need room: with less than `roomBytes` of it nothing happens and it
   * is `NoSpace`. None is reserved: a later write may still be `NoSpace`.
   */
  allocate(
    inode: Inode,
    range: AllocateRange,
    options?: { killPrivileges?: boolean; keepTimes?: boolean; roomBytes?: number },
  ): MaybePromise<void>;
  /** Where data or a hole begins, from `offset` on; the end counts as a hole. `NotSeekable` past the last data, or the end. */
  seek(inode: Inode, offset: number, what: 'data' | 'hole'): number;
  /**
   * Copies within the artifact; bytes that are in the store are shared. Answers how many were copied: fewer at the
   * end, and where staged bytes begin or end, which are copied in parts.
   */
  copyRange(
    from: FilePlace,
    to: FilePlace,
    length: number,
    options?: { killPrivileges?: boolean; keepTimes?: boolean; signal?: AbortSignal },
  ): MaybePromise<number>;

  xattr(inode: Inode, name: string): Uint8Array | undefined;
  xattrs(inode: Inode): readonly string[];
  /**
   * null removes it (`NoAttribute`). An access ACL changes the mode, too, and is not kept when the mode says it all;
   * with `clearSetgid` setgid goes with it. `Invalid` for a malformed ACL, `AccessDenied` for a default one of what is
   * no directory, `Unsupported` for one of a symlink, `NoSpace` for more attributes than a file can have.
   */
  setXattr(
    inode: Inode,
    name: string,
    value: Uint8Array | null,
    options?: { clearSetgid?: boolean },
  ): MaybePromise<void>;

  /**
   * Keeps the inode in memory (and its bytes, when its last name was removed) until released as often. What a discard
   * leaves without a name keeps its bytes only while it is open.
   */
  retain(inode: Inode): void;
  release(inode: Inode): void;
  /**
   * Retains the inode of a file that is open now. `writes`: for writing, so commits name it. Balanced by `closed`.
   * `Stale` when it is gone by a discard.
   */
  opened(inode: Inode, writes: boolean): void;
  closed(inode: Inode, writes: boolean): void;
  /** Files that are open for writing now, also such without a name. */
  readonly writers: ReadonlySet<Inode>;
}

export interface RenameFlags {
  readonly noReplace?: boolean;
  readonly exchange?: boolean;
}

/** What the kernel may have cached and is no longer true because of something that did not come through the kernel. */
export type Invalidation =
  | { readonly type: 'entry'; readonly parent: Inode; readonly name: string }
  | { readonly type: 'inode'; readonly inode: Inode }
  /** Every name and attribute of the artifact (discard, refresh). */
  | { readonly type: 'all' }
  /** The version has expired: there is nothing under its names any more. */
  | { readonly type: 'version'; readonly version: number };

export interface CommitOptions {
  readonly message: string;
  readonly onConflict?: 'fail' | 'mine' | 'theirs';
  /** Versions of other artifacts this one was made from (lineage). */
  readonly inputs?: readonly Input[];
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: CommitProgress) => void;
}

export interface CommitProgress {
  readonly phase: 'scan' | 'upload' | 'publish';
  readonly filesDone: number;
  readonly filesTotal: number;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface CommitResult {
  readonly version: number;
  readonly commitId: string;
  readonly summary: ChangeSummary;
  readonly bytesUploaded: number;
  readonly rebased: boolean;
  /** Files that were open for writing: the version holds what was written when the commit began. */
  readonly openFiles: readonly string[];
}

/** Where an alias stood, and stands now; null: nowhere. */
export interface AliasChange {
  readonly alias: string;
  readonly before: number | null;
  readonly version: number | null;
}

export interface ArtifactStatus {
  readonly name: string;
  readonly path: string;
  readonly artifactId: string;
  readonly type: string;
  /** null: never committed. */
  readonly base: number | null;
  readonly staged: readonly StagedPath[];
  /** All staged paths, also those beyond the list's limit. */
  readonly stagedCount: number;
  readonly stagedBytes: number;
  readonly bytesToUpload: number;
  readonly uploadError: string | null;
  readonly openForWriting: readonly string[];
  readonly conflicts: readonly string[];
  readonly committing: CommitProgress | null;
  readonly lastError: string | null;
  /** Who else is staging, as it was read last: see `askOthers`. */
  readonly others: readonly OtherStage[];
}

/** What somebody else has staged in the same artifact, as their lease says. */
export interface OtherStage {
  readonly host: string;
  readonly user: string;
  /** null: it is not mounted. */
  readonly mount: string | null;
  /** The version it is built on; null for none. */
  readonly base: number | null;
  /** On their disk, in all artifacts together. */
  readonly bytes: number;
  readonly state: 'staging' | 'committing';
  /** When they told so last, by the store's clock. */
  readonly seenMs: number;
}

export interface StagedPath {
  /** `.`: the artifact itself. */
  readonly path: string;
  readonly change: 'added' | 'changed' | 'removed' | 'renamed';
  readonly kind: Kind;
  readonly size: number;
  /** The old path of a renamed directory or file. */
  readonly from?: string;
}

/** One artifact of the workspace: what the control directory, the CLI and HTTP do with it. */
export interface Artifact {
  readonly id: string;
  /** Full path of names from the root collection: 'my-model' or 'gallery/cells'. */
  readonly path: string;
  readonly isCollection: boolean;
  /** True until the first commit has linked the name. */
  readonly isNew: boolean;
  readonly tree: WorkingTree;

  status(limit?: number): Promise<ArtifactStatus>;
  /** Reads who else is staging, for `status`, unless that was done some seconds ago. Never fails, nor waits for a slow store. */
  askOthers(): Promise<void>;
  commit(options: CommitOptions): Promise<CommitResult>;
  /** Drops the stage; answers how many paths were staged. */
  discard(): Promise<number>;
  /** Reads the log's new records; true when the head moved. */
  refresh(): Promise<boolean>;

  versions(): readonly VersionInfo[];
  aliases(): Readonly<Record<string, number>>;
  /**
   * Moves an alias, for everybody, to a version ('latest', 'v3', '3', another alias), or removes it (null). `expected`: where
   * it must stand now, null for nowhere; without it, wherever that is. `Conflict` when it stands elsewhere, `NotFound` when
   * the version does not exist or has expired, or there is no such alias to remove.
   */
  setAlias(alias: string, version: string | null, expected?: number | null): Promise<AliasChange>;
  /**
   * Lets versions go for ever, by number: garbage collection may delete them. `NotPermitted` for the latest and for what
   * aliases point to, `NotFound` for what does not exist; answers those that had not expired before.
   */
  expire(versions: readonly number[]): Promise<readonly number[]>;
  /** 'latest', 'v3', '3' or an alias. NotFound names what exists. */
  resolveVersion(name: string): VersionInfo;
  versionTree(version: VersionInfo): Promise<VersionTree>;
  /** Reads a file of a version. `place`: where it is in the version's tree, if those after it may be wanted, too. */
  openVersionFile(content: FileContent, place?: WalkPlace): FileReader;
  /** One object with all bytes of a version's file, as a local file. */
  localObject(object: string, size: number): LocalObject;
  /** From null = empty; to 'stage' = the working view. In path order, at most `limit`. */
  diff(
    from: number | null,
    to: number | 'stage',
    limit?: number,
  ): Promise<{ changes: StagedPath[]; summary: ChangeSummary }>;

  manifest(): Manifest;
  /** After `WorkingTree.admitChange`. Staged like any change. `Invalid` when it is not an object or too large. */
  setManifest(manifest: Manifest): void;
  /** Text was written as the manifest that is none: commits fail until a good one is written, or the stage discarded. */
  refuseManifest(why: Error): void;
  /** The last failure that a user has not been told on a terminal: text of .artifact/last-error. */
  lastError(): string;
  setLastError(text: string): void;

  /**
   * `settle` brings in what a program has written and somebody above the tree still keeps (the kernel's write cache).
   * It runs before the tree is committed, discarded or shown. Returns the unsubscriber.
   */
  onSettle(settle: () => Promise<void>): () => void;

  /** Called for changes that came around the kernel. Returns the unsubscriber. */
  onInvalidate(listener: (what: Invalidation) => void): () => void;
}

/** The workspace's artifacts by name; the root collection is the artifact with path ''. */
export interface Artifacts extends AsyncDisposable {
  readonly workspaceId: string;
  readonly storeUrl: string;
  readonly root: Artifact;
  /** Committed and new ones together, in name order. */
  children(collection: Artifact, after: string | null, limit: number): readonly string[];
  child(collection: Artifact, name: string): MaybePromise<Artifact | undefined>;
  /** The id behind a name without opening the artifact: what a listing shows. */
  childId(collection: Artifact, name: string): string | undefined;
  /** By path of names. NotFound, NotDirectory (a component is no collection). */
  find(path: string): MaybePromise<Artifact>;
  /** After `WorkingTree.admitChange`. A new artifact in the stage; the first commit makes v0 and links the name for everybody. */
  create(collection: Artifact, name: string, options?: NewArtifactOptions & AnnounceOptions): Artifact;
  /** Removes an artifact that was never committed; one with versions is NotPermitted with a hint. NotEmpty if files are staged. */
  remove(collection: Artifact, name: string, options?: AnnounceOptions): MaybePromise<void>;
  /** Renames or moves: at once for a new one, by log records for a committed one. */
  rename(
    from: Artifact,
    fromName: string,
    to: Artifact,
    toName: string,
    options?: AnnounceOptions,
  ): MaybePromise<void>;
  /**
   * Takes an artifact's name away, for everybody; its versions stay until garbage collection takes them. `NotEmpty` when
   * something staged would be lost and not `force`, or for a collection with artifacts and not `recursive`; `Conflict`
   * when somebody else renamed, moved or removed it.
   */
  unlink(artifact: Artifact, options: { force: boolean; recursive: boolean }): Promise<void>;
  /** What `unlink` took away anywhere and can come back, the last removed first. */
  removed(): Promise<readonly RemovedArtifact[]>;
  /**
   * Gives a removed artifact (its id, or the path it had) its name back, or another path. `Exists` when the name is taken,
   * `NotFound` when it is not there to come back. Answers its path.
   */
  restore(what: string, as?: string): Promise<string>;
  /**
   * Reads new records of the root and of every open artifact. Others are as new when they are looked at first, which waits a
   * moment for it, unless `openOnly`.
   */
  refresh(options?: { openOnly?: boolean }): Promise<void>;
  /** All artifacts with something staged. */
  staged(): readonly Artifact[];
  /** Called when a name in a collection changed by something that did not come through the kernel. */
  onChildrenChanged(listener: (collection: Artifact, name: string) => void): () => void;

  /** File access by path, for the CLI and HTTP: `ref` is '' or 'stage' for the working view, else a version. */
  readonly files: FilesByPath;
}

/** An artifact without a name. */
export interface RemovedArtifact {
  readonly artifactId: string;
  /** That it had. */
  readonly path: string;
  /** That have not expired. */
  readonly versions: number;
  /** When and by whom it was removed. */
  readonly timeMs: number;
  readonly host: string;
  readonly user: string;
}

/** The collection's directory hands on what a directory does: a setgid one its group, and its default ACL. */
export interface NewArtifactOptions {
  readonly type?: string;
  readonly mode?: number;
  readonly umask?: number;
  readonly uid?: number;
  readonly gid?: number;
}

interface AnnounceOptions {
  /** The change does not come through the kernel (HTTP, CLI): `onChildrenChanged` listeners are told of it. */
  readonly announce?: boolean;
}

export interface FileInfo {
  readonly path: string;
  readonly kind: Kind;
  readonly size: number;
  readonly mode: number;
  readonly mtime: Time;
  readonly sha256?: string;
  readonly target?: string;
}

export interface FilesByPath {
  stat(artifact: Artifact, ref: string, path: string): Promise<FileInfo>;
  list(
    artifact: Artifact,
    ref: string,
    path: string,
    options?: { after?: string; limit?: number; recursive?: boolean },
  ): Promise<FileInfo[]>;
  /** A stream of the file's bytes, or of a part of them. */
  read(
    artifact: Artifact,
    ref: string,
    path: string,
    options?: { offset?: number; length?: number; signal?: AbortSignal },
  ): Promise<Readable>;
  /**
   * Creates or replaces a file of the working view, making directories as needed. A source of unknown length goes
   * straight to the store by streaming multipart; when the store is away, to the stage.
   */
  write(
    artifact: Artifact,
    path: string,
    source: Readable,
    options?: {
      mode?: number;
      mtime?: Time;
      uid?: number;
      gid?: number;
      onProgress?: (bytes: number) => void;
      signal?: AbortSignal;
    },
  ): Promise<FileInfo>;
  mkdir(
    artifact: Artifact,
    path: string,
    options?: { mode?: number; mtime?: Time; uid?: number; gid?: number },
  ): Promise<void>;
  symlink(
    artifact: Artifact,
    path: string,
    target: string,
    options?: { mtime?: Time; uid?: number; gid?: number },
  ): Promise<void>;
  remove(artifact: Artifact, path: string, options?: { recursive?: boolean }): Promise<void>;
}
