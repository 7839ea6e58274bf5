import type { FileReader } from '../../content/ports.js';
import { ArtifactError } from '../../model/errors.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import { checkFileName } from '../../workspace/names.js';
import type {
  AllocateRange,
  AttributeChanges,
  CreateInit,
  DirectoryItem,
  FilePlace,
  Inode,
  RenameFlags,
  WorkingTree,
} from '../ports.js';
import { setAttributes, settleTimes, setXattr, xattr } from './attribute-ops.js';
import { ContentOps } from './content-ops.js';
import { list } from './listing.js';
import * as names from './name-ops.js';
import { Node } from './node.js';
import { allocate, copyRange, seek } from './sparse-ops.js';
import { TreeCore, type TreeParts } from './tree-core.js';
import { createUnnamed } from './unnamed.js';

/** The working view of one artifact. A thin front: every operation is in a file of its kind beside this one. */
export class ArtifactTree implements WorkingTree {
  readonly core: TreeCore;
  readonly content: ContentOps;

  constructor(parts: TreeParts) {
    this.core = new TreeCore(parts);
    this.content = new ContentOps(this.core);
  }

  get root(): Inode {
    return this.core.root;
  }

  admitChange(): MaybePromise<void> {
    return this.core.db.admitChange();
  }

  lookup(parent: Inode, name: string): MaybePromise<Inode | undefined> {
    checkFileName(name);
    return this.core.lookup(this.#directory(parent), name);
  }

  list(parent: Inode, after: string | null, limit: number): MaybePromise<DirectoryItem[]> {
    return list(this.core, this.#directory(parent), after, limit);
  }

  parentOf(directory: Inode): Inode {
    return this.#node(directory).parent ?? this.core.root;
  }

  /** Path inside the artifact; '' for the root. */
  pathOf(inode: Inode): string {
    return this.core.pathOf(this.#node(inode));
  }

  create(parent: Inode, name: string, init: CreateInit): MaybePromise<Inode> {
    const { core } = this;
    return core.changing(() => names.create(core, this.#directory(parent), name, init));
  }

  createUnnamed(parent: Inode, init: CreateInit, linkable: boolean): Inode {
    return createUnnamed(this.core, this.#directory(parent), init, linkable);
  }

  link(inode: Inode, parent: Inode, name: string): MaybePromise<void> {
    const { core } = this;
    const node = this.#node(inode);
    const linked = core.changing(() => names.link(core, node, this.#directory(parent), name));
    return node.isLinkable ? chain(linked, () => this.content.named(node)) : linked;
  }

  unlink(parent: Inode, name: string): MaybePromise<Inode> {
    const { core } = this;
    return core.changing(() => names.unlink(core, this.#directory(parent), name));
  }

  rmdir(parent: Inode, name: string): MaybePromise<void> {
    const { core } = this;
    return core.changing(() => names.rmdir(core, this.#directory(parent), name));
  }

  rename(from: Inode, fromName: string, to: Inode, toName: string, flags: RenameFlags): MaybePromise<void> {
    const { core } = this;
    return core.changing(() =>
      names.rename(core, this.#directory(from), fromName, this.#directory(to), toName, flags),
    );
  }

  setAttributes(inode: Inode, changes: AttributeChanges): MaybePromise<void> {
    const { core } = this;
    return core.changing(() => setAttributes(core, this.content, this.#node(inode), changes));
  }

  open(inode: Inode): FileReader {
    return this.content.open(this.#node(inode));
  }

  write(
    inode: Inode,
    offset: number,
    data: Uint8Array,
    killPrivileges = false,
    keepTimes = false,
  ): MaybePromise<number> {
    return this.core.changing(() =>
      this.content.write(this.#node(inode), offset, data, killPrivileges, keepTimes),
    );
  }

  allocate(
    inode: Inode,
    range: AllocateRange,
    options: { killPrivileges?: boolean; keepTimes?: boolean; roomBytes?: number } = {},
  ): MaybePromise<void> {
    const { core } = this;
    return core.changing(() => allocate(core, this.content, this.#node(inode), range, options));
  }

  seek(inode: Inode, offset: number, what: 'data' | 'hole'): number {
    return seek(this.core, this.#node(inode), offset, what);
  }

  copyRange(
    from: FilePlace,
    to: FilePlace,
    length: number,
    options: { killPrivileges?: boolean; keepTimes?: boolean; signal?: AbortSignal } = {},
  ): MaybePromise<number> {
    const { core } = this;
    const source = { node: this.#node(from.inode), offset: from.offset };
    const target = { node: this.#node(to.inode), offset: to.offset };
    return core.changing(() => copyRange(core, this.content, source, target, length, options));
  }

  async sync(inode: Inode): Promise<void> {
    const node = this.#node(inode);
    if (node.kind === 'file') await this.content.syncs.sync(node.map.localFiles());
    await this.core.db.sync();
  }

  async syncAll(): Promise<void> {
    await this.content.syncs.syncAll();
    await this.core.db.sync();
  }

  xattr(inode: Inode, name: string): Uint8Array | undefined {
    return xattr(this.#node(inode), name);
  }

  xattrs(inode: Inode): readonly string[] {
    const { xattrs } = this.#node(inode);
    return xattrs === null ? noNames : Object.keys(xattrs);
  }

  setXattr(
    inode: Inode,
    name: string,
    value: Uint8Array | null,
    options: { clearSetgid?: boolean } = {},
  ): MaybePromise<void> {
    const { core } = this;
    const clearSetgid = options.clearSetgid === true;
    return core.changing(() => setXattr(core, this.#node(inode), name, value, clearSetgid));
  }

  retain(inode: Inode): void {
    this.core.retain(this.#node(inode));
  }

  release(inode: Inode): void {
    this.core.release(this.#node(inode));
  }

  get writers(): ReadonlySet<Inode> {
    return this.core.writers;
  }

  opened(inode: Inode, writes: boolean): void {
    const node = this.#node(inode);
    this.content.checkThere(node);
    node.opens++;
    if (writes && node.openForWriting++ === 0) this.core.writers.add(node);
    this.core.retain(node);
  }

  closed(inode: Inode, writes: boolean): void {
    const node = this.#node(inode);
    node.opens--;
    if (writes && --node.openForWriting === 0) {
      this.core.writers.delete(node);
      settleTimes(this.core, this.content, node);
      this.content.settled.closed(node);
    }
    this.content.dropIfDiscarded(node);
    this.core.release(node);
  }

  #node(inode: Inode): Node {
    if (inode instanceof Node) return inode;
    throw new ArtifactError('Internal', `inode ${inode.ino} is not one of a working tree`);
  }

  #directory(inode: Inode): Node {
    const node = this.#node(inode);
    if (node.kind !== 'dir')
      throw new ArtifactError('NotDirectory', `${this.core.pathOf(node)} is no directory`);
    return node;
  }
}

const noNames: readonly string[] = [];
