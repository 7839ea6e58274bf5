import type { AllocateRange } from '../artifacts/ports.js';
import type { LocalRange } from '../content/ports.js';
import type { Kind } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import {
  type Attributes,
  type FileSystemStatistics,
  type NodeId,
  type OpenReply,
  type RequestContext,
  rootNodeId,
  type SetAttributes,
} from './file-system.js';

/** A name under which the kernel knows a node. */
export interface Place {
  readonly parent: Node;
  readonly name: string;
}

/** How long the kernel may believe that a name is missing. */
export type MissingTerm =
  /** The name can never come. */
  | 'for-ever'
  /** It is told when the name comes: the file system remembers that it was asked for. */
  | 'until-told'
  /** The name may come without anybody saying so. */
  | 'not-at-all';

export interface RenameFlags {
  readonly noReplace: boolean;
  readonly exchange: boolean;
}

/** An open file of any kind. */
export interface FileHandle {
  readonly reply: Omit<OpenReply, 'handle'>;
  read(context: RequestContext, offset: number, length: number): MaybePromise<Buffer>;
  /** The same bytes as they lie in a local file; see `FileSystem.localRange`. */
  localRange?(offset: number, length: number): LocalRange | undefined;
  write(
    context: RequestContext,
    offset: number,
    data: Buffer,
    flags: { killPrivileges: boolean; fromCache?: boolean },
  ): MaybePromise<number>;
  sync(): MaybePromise<void>;
  release(): void;

  /** What a close has to bring, where the driver says it; left out where there is nothing. */
  flush?(): MaybePromise<void>;

  // Left out where the kind of file has none: it is refused then.
  /** `roomBytes`: how much more the local file system can hold. */
  allocate?(context: RequestContext, range: AllocateRange, roomBytes: number): MaybePromise<void>;
  seek?(offset: number, what: 'data' | 'hole'): MaybePromise<number>;
  /** Copies to another open file, which may be of any kind; see `FileSystem.copyRange`. */
  copyTo?(
    context: RequestContext,
    offset: number,
    target: FileHandle,
    targetOffset: number,
    length: number,
  ): MaybePromise<number>;
}

export interface Created {
  readonly node: Node;
  readonly handle: FileHandle;
}

/**
 * One thing of the mount. A node is known while the kernel counts look-ups of it; the table gives it its id then, and
 * tells it when it is known and forgotten. Every operation is refused with the kind's `refusal`, unless the kind
 * implements it.
 */
export abstract class Node {
  /** 0 while the kernel does not know the node. No other file ever has it. */
  id: NodeId = 0;
  lookups = 0;
  /** Handles of the file. */
  opens = 0;
  /** The name the kernel saw last; null before the first. Apart: an object for each file would be as large again. */
  #parent: Node | null = null;
  #name = '';
  #morePlaces: Map<Node, Set<string>> | null = null;

  abstract readonly kind: Kind;
  abstract readonly ino: bigint;
  abstract attributes(): Attributes;
  /** How long the kernel may believe the node's names and attributes, in seconds. */
  abstract readonly entrySeconds: number;
  abstract readonly attrSeconds: number;
  /** Why this node does not change, as the error to throw. `what` names the thing inside it. */
  protected abstract refusal(what: string): ArtifactError;

  onKnown(): void {}
  /** A request about this node was given up. */
  onFailure(_error: ArtifactError): void {}
  onForgotten(): void {}

  /** Nothing leads to it any more but open handles. */
  get isGone(): boolean {
    return false;
  }

  /** The name the kernel saw last; null before the first. */
  get place(): Place | null {
    return this.#parent === null ? null : { parent: this.#parent, name: this.#name };
  }

  /** All names the kernel may have cached: more than one for hard links. */
  places(): readonly Place[] {
    const { place } = this;
    if (place === null) return [];
    const places = [place];
    for (const [parent, names] of this.#morePlaces ?? [])
      for (const name of names) places.push({ parent, name });
    return places;
  }

  seenAt(parent: Node, name: string): void {
    if (this.#parent === parent && this.#name === name) return;
    if (this.#parent !== null) {
      // A directory and most files have one name: the old one is gone. Of a hard-linked file all are kept.
      if (this.kind !== 'dir' && this.attributes().nlink > 1) {
        this.#dropMore(parent, name);
        this.#keepMore(this.#parent, this.#name);
      } else {
        this.#morePlaces = null;
      }
    }
    this.#parent = parent;
    this.#name = name;
  }

  /** The name does not lead here any more. The last one stays, to tell what the node was. */
  notSeenAt(parent: Node, name: string): void {
    this.#dropMore(parent, name);
    if (this.#parent !== parent || this.#name !== name) return;
    const [other] = this.#morePlaces ?? [];
    if (other === undefined) return;
    const [otherParent, names] = other;
    for (const otherName of names) {
      this.#dropMore(otherParent, otherName);
      this.#parent = otherParent;
      this.#name = otherName;
      return;
    }
  }

  #keepMore(parent: Node, name: string): void {
    this.#morePlaces ??= new Map();
    const names = this.#morePlaces.get(parent);
    if (names === undefined) this.#morePlaces.set(parent, new Set([name]));
    else names.add(name);
  }

  #dropMore(parent: Node, name: string): void {
    const names = this.#morePlaces?.get(parent);
    if (names?.delete(name) !== true || names.size > 0) return;
    this.#morePlaces?.delete(parent);
    if (this.#morePlaces?.size === 0) this.#morePlaces = null;
  }

  /** The path from the root on by the names the kernel saw last; undefined while it has none. */
  path(): string | undefined {
    if (this.id === rootNodeId) return '/';
    const { place } = this;
    if (place === null) return undefined;
    const { parent, name } = place;
    const directory = parent.path() ?? '...';
    return directory === '/' ? `/${name}` : `${directory}/${name}`;
  }

  forgetPlaces(): void {
    this.#parent = null;
    this.#name = '';
    this.#morePlaces = null;
  }

  setAttributes(_context: RequestContext, _changes: SetAttributes): MaybePromise<void> {
    throw this.refusal('its attributes');
  }
  readLink(): MaybePromise<string> {
    throw new ArtifactError('Invalid', 'not a symbolic link');
  }
  /** With O_TRUNC, `killPrivileges` says that it takes setuid and setgid away. */
  open(_context: RequestContext, _flags: number, _killPrivileges?: boolean): MaybePromise<FileHandle> {
    if (this.kind === 'dir') throw new ArtifactError('IsDirectory', 'a directory is not opened as a file');
    throw new ArtifactError('Invalid', `a ${this.kind} is not opened here`);
  }
  sync(): MaybePromise<void> {}
  openDirectory(): OpenDirectory {
    throw new ArtifactError('NotDirectory', `${this.place?.name ?? 'it'} is not a directory`);
  }

  // What only directories do.
  missingTerm(_name: string): MissingTerm {
    return 'not-at-all';
  }
  lookup(name: string): MaybePromise<Node | undefined> {
    throw notDirectory(name);
  }
  create(
    _context: RequestContext,
    name: string,
    _mode: number,
    _flags: number,
    _killPrivileges?: boolean,
  ): MaybePromise<Created> {
    throw this.#refuseName(name);
  }
  createUnnamed(_context: RequestContext, _mode: number, _flags: number): MaybePromise<Created> {
    throw this.#refuseName('a file without a name');
  }
  makeNode(
    _context: RequestContext,
    name: string,
    _mode: number,
    _kind: Kind,
    _rdev: number,
  ): MaybePromise<Node> {
    throw this.#refuseName(name);
  }
  makeDirectory(_context: RequestContext, name: string, _mode: number): MaybePromise<Node> {
    throw this.#refuseName(name);
  }
  symlink(_context: RequestContext, name: string, _target: string): MaybePromise<Node> {
    throw this.#refuseName(name);
  }
  /** Answers the node that the new name leads to, of the same inode. */
  link(_node: Node, name: string): MaybePromise<Node> {
    throw this.#refuseName(name);
  }
  unlink(name: string): MaybePromise<void> {
    throw this.#refuseName(name);
  }
  removeDirectory(name: string): MaybePromise<void> {
    throw this.#refuseName(name);
  }
  /** Called on the directory that holds the old name. */
  rename(name: string, _target: Node, _newName: string, _flags: RenameFlags): MaybePromise<void> {
    throw this.#refuseName(name);
  }
  /** Refuses a new name in this directory when the old one is elsewhere. */
  refuseTarget(name: string): never {
    throw this.#refuseName(name);
  }

  getXattr(_name: string): MaybePromise<Uint8Array> {
    throw noAttribute;
  }
  listXattrs(): readonly string[] {
    return [];
  }
  setXattr(
    name: string,
    _value: Uint8Array,
    _flags: { create: boolean; replace: boolean; clearSetgid?: boolean },
  ): MaybePromise<void> {
    throw this.refusal(`attribute ${name}`);
  }
  removeXattr(name: string): MaybePromise<void> {
    throw this.refusal(`attribute ${name}`);
  }

  #refuseName(name: string): ArtifactError {
    return this.kind === 'dir' ? this.refusal(name) : notDirectory(name);
  }
}

/** A directory's item while its page is held by an open directory. */
export interface Listed {
  readonly name: string;
}

/** A node with names in it, as an open directory reads it. `T` is what it lists. */
export interface Directory<T extends Listed> extends Node {
  /** Goes up with every change of a name in it: pages listed before are then only names, not nodes. */
  readonly changes: number;
  /** In name order after `after`; fewer than `limit` means the end. Without '.' and '..'. */
  list(after: string | null, limit: number): MaybePromise<readonly T[]>;
  kindOf(item: T): Kind;
  inoOf(item: T): bigint;
  /** undefined: the kernel has to look the name up. */
  nodeOf(item: T): Node | undefined;
  /** Keeps what the item stands for in memory until dropped as often. */
  hold(item: T): void;
  drop(item: T): void;
  parentIno(): bigint;
}

/** Takes one name; false: no more fit. `node` gives the node for READDIRPLUS when the name still means it. */
export type EmitName = (
  name: string,
  kind: Kind,
  ino: bigint,
  nextOffset: number,
  node: () => Node | undefined,
) => boolean;

export interface OpenDirectory {
  readonly node: Node;
  readonly reply: Omit<OpenReply, 'handle'>;
  read(offset: number, emit: EmitName): MaybePromise<void>;
  release(): void;
}

const notDirectory = (name: string): ArtifactError =>
  new ArtifactError('NotDirectory', `${name}: not in a directory`);
/**
 * One error for every attribute that is not there. `ls -l` asks each file for a security label, the kernel each file
 * that is written for its capabilities, and to take a stack trace costs more than the whole answer.
 */
export const noAttribute = new ArtifactError('NoAttribute', 'no such extended attribute');

export type SpaceStatistics = Omit<FileSystemStatistics, 'nameBytesMax'>;
