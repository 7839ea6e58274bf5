import type { Artifact, AttributeChanges, Inode, WorkingTree } from '../../artifacts/ports.js';
import type { Kind } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { Attributes, RequestContext, SetAttributes } from '../file-system.js';
import { type FileHandle, Node, noAttribute } from '../node.js';
import { O_TRUNC } from '../open-flags.js';
import { type InoKey, shownIno } from '../shown-ino.js';
import { WorkingHandle } from './working-handle.js';

/** The artifact whose working view a node belongs to; it keeps one node per inode. */
export interface WorkingOwner {
  readonly artifact: Artifact;
  readonly tree: WorkingTree;
  readonly inos: InoKey;
  nodeOf(inode: Inode): Node;
  knownNode(inode: Inode): Node | undefined;
  known(inode: Inode, node: Node): void;
  forgotten(inode: Inode, node: Node): void;
}

/** A file, symlink, FIFO, socket or device of the working view, and what they share with its directories. */
export class WorkingNode extends Node {
  readonly owner: WorkingOwner;
  readonly inode: Inode;
  readonly entrySeconds = limits.kernelCacheSeconds;
  readonly attrSeconds = limits.kernelCacheSeconds;
  #ino: bigint | undefined;

  constructor(owner: WorkingOwner, inode: Inode) {
    super();
    this.owner = owner;
    this.inode = inode;
  }

  get kind(): Kind {
    return this.inode.kind;
  }
  get ino(): bigint {
    this.#ino ??= shownIno(this.owner.inos, this.inode.ino);
    return this.#ino;
  }
  attributes(): Attributes {
    return inodeAttributes(this.ino, this.inode);
  }
  protected refusal(what: string): ArtifactError {
    return new ArtifactError('NotPermitted', `${what}: not possible on a ${this.kind}`);
  }
  override onKnown(): void {
    this.owner.known(this.inode, this);
  }
  override onForgotten(): void {
    this.owner.forgotten(this.inode, this);
  }

  override setAttributes(_context: RequestContext, changes: SetAttributes): MaybePromise<void> {
    const { kind, inode } = this;
    if (changes.size !== undefined && kind !== 'file') {
      throw new ArtifactError(kind === 'dir' ? 'IsDirectory' : 'Invalid', `a ${kind} has no size to set`);
    }
    const { killPrivileges, ...wanted } = changes;
    const set: { -readonly [K in keyof AttributeChanges]: AttributeChanges[K] } = wanted;
    if (set.mode !== undefined) set.mode &= 0o7777;
    else if (killPrivileges && kind === 'file') {
      const mode = withoutPrivileges(inode.mode);
      if (mode !== inode.mode) set.mode = mode;
    }
    return this.owner.tree.setAttributes(inode, set);
  }
  override readLink(): string {
    if (this.kind !== 'symlink') throw new ArtifactError('Invalid', `a ${this.kind} is no symbolic link`);
    return this.inode.target;
  }
  override open(_context: RequestContext, flags: number): MaybePromise<FileHandle> {
    if (this.kind === 'dir') throw new ArtifactError('IsDirectory', 'a directory is not opened as a file');
    if (this.kind !== 'file') throw new ArtifactError('Invalid', `a ${this.kind} is not opened here`);
    if ((flags & O_TRUNC) === 0) return new WorkingHandle(this.owner.tree, this.inode, flags);
    const emptied = this.owner.tree.setAttributes(this.inode, { size: 0 });
    return chain(emptied, () => new WorkingHandle(this.owner.tree, this.inode, flags));
  }
  override sync(): Promise<void> {
    return this.owner.tree.sync(this.inode);
  }

  override getXattr(name: string): Uint8Array {
    checkXattrName(name);
    const value = this.owner.tree.xattr(this.inode, name);
    if (value === undefined) throw noAttribute;
    return value;
  }
  override listXattrs(): readonly string[] {
    return this.owner.tree.xattrs(this.inode);
  }
  override setXattr(
    name: string,
    value: Uint8Array,
    flags: { create: boolean; replace: boolean },
  ): MaybePromise<void> {
    checkXattrName(name);
    if (value.length > limits.xattrValueBytesMax) {
      throw new ArtifactError('TooLarge', `attribute ${name}: over ${limits.xattrValueBytesMax} bytes`);
    }
    if (flags.create || flags.replace) {
      const exists = this.owner.tree.xattr(this.inode, name) !== undefined;
      if (flags.create && exists) throw new ArtifactError('Exists', `attribute ${name} exists`);
      if (flags.replace && !exists) throw noAttribute;
    }
    return this.owner.tree.setXattr(this.inode, name, value);
  }
  override removeXattr(name: string): MaybePromise<void> {
    this.getXattr(name);
    return this.owner.tree.setXattr(this.inode, name, null);
  }
}

function inodeAttributes(ino: bigint, inode: Inode): Attributes {
  return {
    ino,
    kind: inode.kind,
    mode: inode.mode,
    nlink: inode.nlink,
    uid: inode.uid,
    gid: inode.gid,
    rdev: inode.rdev,
    size: inode.size,
    blocks: Math.ceil(inode.allocated / 512),
    atime: inode.atime,
    mtime: inode.mtime,
    ctime: inode.ctime,
  };
}

/** Setgid without group execution is a lock mark, not a privilege. */
function withoutPrivileges(mode: number): number {
  return mode & ~((mode & 0o010) !== 0 ? 0o6000 : 0o4000);
}

const aclPrefix = 'system.posix_acl_';
const storedPrefixes = ['user.', 'trusted.', 'security.'];

function checkXattrName(name: string): void {
  if (storedPrefixes.some((prefix) => name.startsWith(prefix))) return;
  const what = name.startsWith(aclPrefix) ? 'access control lists are not kept' : 'not a known name space';
  throw new ArtifactError('Unsupported', `attribute ${name}: ${what}`);
}
