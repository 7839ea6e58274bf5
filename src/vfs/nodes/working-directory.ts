import type { Inode } from '../../artifacts/ports.js';
import type { Kind } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import { DirectoryHandle } from '../directory-handle.js';
import type { RequestContext } from '../file-system.js';
import { Listings } from '../listings.js';
import type { Created, Directory, MissingTerm, Node, OpenDirectory, RenameFlags } from '../node.js';
import { O_EXCL } from '../open-flags.js';
import { shownIno } from '../shown-ino.js';
import { WorkingNode } from './working.js';
import { WorkingHandle } from './working-handle.js';

/** A name in the working view; in a collection an artifact is listed without its inode. */
export interface WorkingItem {
  readonly name: string;
  readonly inode: Inode | null;
}

/** A directory inside an artifact: every name is the tree's. */
export class WorkingDirectory extends WorkingNode implements Directory<WorkingItem> {
  changes = 0;
  /** Counts changes around the kernel. */
  #around = 0;
  #opened = 0;
  /** Of those open now, how many were opened before the last change around the kernel. */
  #openedBefore = 0;
  #listings: Listings<WorkingItem> | null = null;

  /** A name in it, or the directory itself, changed around the kernel. */
  changedAround(): void {
    this.changes++;
    this.#around++;
    this.#openedBefore = this.#opened;
  }

  protected override refusal(what: string): ArtifactError {
    return new ArtifactError(
      'NotPermitted',
      `${what}: not possible in ${this.owner.artifact.path || 'the root'}`,
    );
  }

  override lookup(name: string): MaybePromise<Node | undefined> {
    const { owner } = this;
    const found = owner.tree.lookup(this.inode, name);
    if (found instanceof Promise) {
      return found.then((inode) => (inode === undefined ? undefined : owner.nodeOf(inode)));
    }
    return found === undefined ? undefined : owner.nodeOf(found);
  }

  override missingTerm(_name: string): MissingTerm {
    return 'until-told';
  }

  override create(
    context: RequestContext,
    name: string,
    mode: number,
    flags: number,
    killPrivileges = false,
  ): MaybePromise<Created> {
    const { owner } = this;
    return chain(owner.tree.lookup(this.inode, name), (existing): MaybePromise<Created> => {
      if (existing === undefined) {
        return chain(this.#make(context, name, 'file', mode, 0), (inode) => this.#createdOpen(inode, flags));
      }
      if ((flags & O_EXCL) !== 0) throw new ArtifactError('Exists', `${name} exists`);
      const node = owner.nodeOf(existing);
      return chain(node.open(context, flags, killPrivileges), (handle) => ({ node, handle }));
    });
  }

  override createUnnamed(context: RequestContext, mode: number, flags: number): MaybePromise<Created> {
    const { tree } = this.owner;
    const { uid, gid, umask } = context;
    const init = { kind: 'file', mode: mode & 0o7777, umask, uid, gid } as const;
    return chain(tree.admitChange(), () => {
      const inode = tree.createUnnamed(this.inode, init, (flags & O_EXCL) === 0);
      return this.#createdOpen(inode, flags);
    });
  }

  #createdOpen(inode: Inode, flags: number): Created {
    const node = this.owner.nodeOf(inode);
    return { node, handle: new WorkingHandle(this.owner, inode, flags, node) };
  }

  override makeNode(
    context: RequestContext,
    name: string,
    mode: number,
    kind: Kind,
    rdev: number,
  ): MaybePromise<Node> {
    if (kind === 'dir') return this.makeDirectory(context, name, mode);
    return chain(this.#make(context, name, kind, mode, rdev), (inode) => this.owner.nodeOf(inode));
  }

  override makeDirectory(context: RequestContext, name: string, mode: number): MaybePromise<Node> {
    return chain(this.#make(context, name, 'dir', mode, 0), (inode) => this.owner.nodeOf(inode));
  }

  override symlink(context: RequestContext, name: string, target: string): MaybePromise<Node> {
    return chain(this.#make(context, name, 'symlink', 0o777, 0, target), (inode) => this.owner.nodeOf(inode));
  }

  override link(node: Node, name: string): MaybePromise<Node> {
    const { owner } = this;
    if (!(node instanceof WorkingNode) || node.owner !== owner) throw crossDevice(name);
    if (node.kind === 'dir') throw new ArtifactError('NotPermitted', `${name}: directories have one name`);
    this.changes++;
    const { inode } = node;
    const link = () => owner.tree.link(inode, this.inode, name);
    // A name is not given to a former node.
    return chain(owner.countingNames(this.inode, name, link), () => owner.nodeOf(inode));
  }

  override unlink(name: string): MaybePromise<void> {
    const { owner } = this;
    this.changes++;
    const unlink = () =>
      chain(owner.tree.unlink(this.inode, name), (inode) => owner.nameRemoved(inode, this, name));
    return owner.countingNames(this.inode, name, unlink);
  }

  override removeDirectory(name: string): MaybePromise<void> {
    this.changes++;
    return this.owner.tree.rmdir(this.inode, name);
  }

  override rename(name: string, target: Node, newName: string, flags: RenameFlags): MaybePromise<void> {
    if (!(target instanceof WorkingDirectory)) return target.refuseTarget(newName);
    target.checkOwnName(newName);
    if (target.owner !== this.owner) throw crossDevice(newName);
    this.changes++;
    target.changes++;
    const { tree } = this.owner;
    const rename = () => tree.rename(this.inode, name, target.inode, newName, flags);
    return chain(this.owner.countingNames(target.inode, newName, rename), () => {
      const moved = target.#noteMoved(newName);
      return flags.exchange ? chain(moved, () => this.#noteMoved(name)) : moved;
    });
  }

  /** Throws for a name that this directory keeps for itself. */
  checkOwnName(_name: string): void {}

  /** A node that the kernel knows has this name now. */
  #noteMoved(name: string): MaybePromise<void> {
    return chain(this.owner.tree.lookup(this.inode, name), (inode) => {
      if (inode !== undefined) this.owner.nameMoved(inode, this, name);
    });
  }

  override openDirectory(): OpenDirectory {
    // Whatever changes names around the kernel says so, and the kernel drops its listing then. But a reader that began
    // before may put names into the cache that it got before: the listing is to be dropped again when it has ended.
    const keepCache = this.#openedBefore === 0;
    const around = this.#around;
    this.#opened++;
    this.#listings ??= new Listings(this);
    return new DirectoryHandle(this, { cacheDirectory: true, keepCache }, this.#listings, () => {
      this.#opened--;
      if (around === this.#around) return;
      this.#openedBefore--;
      this.owner.listingDropped(this);
    });
  }
  list(after: string | null, limit: number): MaybePromise<readonly WorkingItem[]> {
    return this.owner.tree.list(this.inode, after, limit);
  }
  kindOf(item: WorkingItem): Kind {
    return item.inode?.kind ?? 'dir';
  }
  inoOf(item: WorkingItem): bigint {
    return item.inode === null ? this.ino : shownIno(this.owner.inos, item.inode.ino);
  }
  nodeOf(item: WorkingItem): Node | undefined {
    return item.inode === null ? undefined : this.owner.nodeOf(item.inode);
  }
  hold(item: WorkingItem): void {
    if (item.inode !== null) this.owner.tree.retain(item.inode);
  }
  drop(item: WorkingItem): void {
    if (item.inode !== null) this.owner.tree.release(item.inode);
  }
  parentIno(): bigint {
    return shownIno(this.owner.inos, this.owner.tree.parentOf(this.inode).ino);
  }

  #make(
    context: RequestContext,
    name: string,
    kind: Kind,
    mode: number,
    rdev: number,
    target?: string,
  ): MaybePromise<Inode> {
    this.changes++;
    return this.owner.tree.create(this.inode, name, {
      kind,
      mode: mode & 0o7777,
      umask: context.umask,
      uid: context.uid,
      gid: context.gid,
      rdev,
      ...(target === undefined ? {} : { target }),
    });
  }
}

const crossDevice = (name: string): ArtifactError =>
  new ArtifactError(
    'CrossDevice',
    `${name}: an artifact's files cannot be moved or linked to another artifact`,
    {
      hint: 'copy them',
    },
  );
