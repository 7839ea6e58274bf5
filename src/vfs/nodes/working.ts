import type { Inode } from '../../artifacts/ports.js';
import type { Kind } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { Attributes, RequestContext, SetAttributes } from '../file-system.js';
import { type FileHandle, Node, noAttribute } from '../node.js';
import { O_TRUNC, wantsWrite } from '../open-flags.js';
import { shownIno } from '../shown-ino.js';
import { errorText } from '../text/error.js';
import { isRunning, WorkingHandle } from './working-handle.js';
import type { WorkingOwner } from './working-owner.js';

/** A file, symlink, FIFO, socket or device of the working view, and what they share with its directories. */
export class WorkingNode extends Node {
  readonly owner: WorkingOwner;
  readonly inode: Inode;
  /** The inode's revision that the kernel knows, or will ask for. */
  revision = -1;
  /** Of a file that is written to: the size that the kernel knows, or knows better; -1: none. */
  agreedSize = -1;

  constructor(owner: WorkingOwner, inode: Inode) {
    super();
    this.owner = owner;
    this.inode = inode;
  }

  get entrySeconds(): number {
    return limits.kernelCacheSeconds;
  }
  get attrSeconds(): number {
    return limits.kernelCacheSeconds;
  }
  get kind(): Kind {
    return this.inode.kind;
  }
  get ino(): bigint {
    return shownIno(this.owner.inos, this.inode.ino);
  }
  attributes(): Attributes {
    return inodeAttributes(this.ino, this.inode);
  }
  override get isGone(): boolean {
    return this.inode.nlink === 0;
  }
  protected refusal(what: string): ArtifactError {
    return new ArtifactError('NotPermitted', `${what}: not possible on a ${this.kind}`);
  }
  override onKnown(): void {
    this.revision = this.inode.revision;
    this.owner.known(this.inode, this);
  }
  override onFailure(error: ArtifactError): void {
    this.owner.artifact.setLastError(errorText(error));
  }
  override onForgotten(): void {
    this.agreedSize = -1;
    this.owner.forgotten(this.inode, this);
  }

  override setAttributes(_context: RequestContext, changes: SetAttributes): MaybePromise<void> {
    const { kind } = this;
    if (changes.size !== undefined && kind !== 'file') {
      throw new ArtifactError(kind === 'dir' ? 'IsDirectory' : 'Invalid', `a ${kind} has no size to set`);
    }
    const { owner, inode } = this;
    const set = owner.tree.setAttributes(inode, changes);
    if (changes.size === undefined || inode.openForWriting === 0) return set;
    return chain(set, () => owner.sizeAgreed(inode, this));
  }
  override readLink(): string {
    if (this.kind !== 'symlink') throw new ArtifactError('Invalid', `a ${this.kind} is no symbolic link`);
    return this.inode.target;
  }
  override open(_context: RequestContext, flags: number, killPrivileges = false): MaybePromise<FileHandle> {
    if (this.kind === 'dir') throw new ArtifactError('IsDirectory', 'a directory is not opened as a file');
    if (this.kind !== 'file') throw new ArtifactError('Invalid', `a ${this.kind} is not opened here`);
    if (!wantsWrite(flags)) return this.#openHandle(flags, killPrivileges);
    return chain(this.owner.tree.admitChange(), () => this.#openHandle(flags, killPrivileges));
  }

  #openHandle(flags: number, killPrivileges: boolean): MaybePromise<FileHandle> {
    const { owner, inode } = this;
    // The kernel then looks the name up again. Who has it open shares what is not written back, also by /proc/self/fd.
    if (this.opens === 0 && owner.isFormer(this))
      throw new ArtifactError('Stale', 'the name leads to another node of the file now');
    if ((flags & O_TRUNC) === 0) return new WorkingHandle(owner, inode, flags, this);
    // The kernel refuses writers of a running program itself, but O_RDONLY|O_TRUNC only after this has emptied it.
    if (isRunning(inode)) throw new ArtifactError('Executing', `${this.place?.name ?? 'it'} is being run`);
    const { mode } = inode;
    return chain(owner.tree.setAttributes(inode, { size: 0, killPrivileges }), () => {
      if (inode.mode !== mode) owner.attributesChanged(inode);
      return new WorkingHandle(owner, inode, flags, this);
    });
  }
  override sync(): Promise<void> {
    return this.owner.tree.sync(this.inode);
  }

  override getXattr(name: string): Uint8Array {
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
    flags: { create: boolean; replace: boolean; clearSetgid?: boolean },
  ): MaybePromise<void> {
    if (value.length > limits.xattrValueBytesMax) {
      throw new ArtifactError('TooLarge', `attribute ${name}: over ${limits.xattrValueBytesMax} bytes`);
    }
    if (flags.create || flags.replace) {
      const exists = this.owner.tree.xattr(this.inode, name) !== undefined;
      if (flags.create && exists) throw new ArtifactError('Exists', `attribute ${name} exists`);
      if (flags.replace && !exists) throw noAttribute;
    }
    return this.owner.tree.setXattr(this.inode, name, value, { clearSetgid: flags.clearSetgid === true });
  }
  override removeXattr(name: string): MaybePromise<void> {
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
