import type { Artifact, Inode, Invalidation, WorkingTree } from '../artifacts/ports.js';
import type { Clock } from '../model/entry.js';
import { limits } from '../model/limits.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import type { KernelNotices } from './kernel-notices.js';
import type { MissingNames } from './missing-names.js';
import type { Node, Place } from './node.js';
import { artifactControl } from './nodes/artifact-control.js';
import { type ArtifactOwner, ArtifactRoot } from './nodes/artifact-root.js';
import type { StaticDirectory } from './nodes/control.js';
import { WorkingNode } from './nodes/working.js';
import { WorkingDirectory } from './nodes/working-directory.js';
import type { Realm } from './realm.js';
import { type InoKey, inoKey, workingSpace } from './shown-ino.js';

/**
 * One artifact's working view as the kernel knows it: a node for each inode, and what the kernel must be told when
 * the tree changes around it.
 * INVARIANT: each node is here once, under its inode or as a former one, and retains that inode while the kernel
 * knows it.
 */
export class ArtifactView implements ArtifactOwner {
  readonly artifact: Artifact;
  readonly tree: WorkingTree;
  readonly inos: InoKey;
  readonly realm: Realm;
  readonly #nodes = new Map<Inode, WorkingNode>();
  /** Those of directories among `#nodes`. */
  readonly #directories = new Set<WorkingDirectory>();
  /** Nodes of files that the kernel still knows, though a name leads to another node of the same inode now. */
  readonly #former = new Set<WorkingNode>();
  readonly #notices: KernelNotices;
  readonly #missing: MissingNames;
  readonly #clock: Clock;
  readonly #unused: () => void;
  readonly #unsubscribe: () => void;
  #control: StaticDirectory | null = null;

  constructor(
    artifact: Artifact,
    realm: Realm,
    options: { notices: KernelNotices; missing: MissingNames; clock: Clock; unused: () => void },
  ) {
    this.artifact = artifact;
    this.tree = artifact.tree;
    this.inos = inoKey(artifact.id, workingSpace);
    this.realm = realm;
    this.#notices = options.notices;
    this.#missing = options.missing;
    this.#clock = options.clock;
    this.#unused = options.unused;
    const unsubscribe = [
      artifact.onInvalidate((what) => this.#invalidate(what)),
      artifact.onSettle(() => this.#settleAll()),
    ];
    this.#unsubscribe = () => {
      for (const end of unsubscribe) end();
    };
  }

  get root(): Node {
    return this.nodeOf(this.tree.root);
  }

  nodeOf(inode: Inode): Node {
    let node = this.#nodes.get(inode);
    if (node === undefined) {
      node = this.#newNode(inode);
      this.#put(inode, node);
    }
    return node;
  }

  knownNode(inode: Inode): Node | undefined {
    return this.#nodes.get(inode);
  }

  isFormer(node: Node): boolean {
    return node instanceof WorkingNode && this.#former.has(node);
  }

  nameMoved(inode: Inode, parent: Node, name: string): void {
    this.#nodes.get(inode)?.seenAt(parent, name);
    // What it was told of the old name it may have heard too late: then the new one leads to the former node.
    if ([...this.#former].some((node) => node.inode === inode)) this.#notices.entry(parent, name);
  }

  nameRemoved(inode: Inode, parent: Node, name: string): void {
    if (inode.nlink > 0) this.#nodes.get(inode)?.notSeenAt(parent, name);
  }

  control(): Node {
    this.#control ??= artifactControl(this.artifact, this.realm, this.#clock);
    return this.#control;
  }

  accessChanged(): void {
    const control = this.#control?.directories() ?? [];
    const isRoot = this.artifact === this.realm.artifacts.root;
    const workspace = isRoot ? this.realm.workspaceControl().directories() : [];
    for (const directory of [...control, ...workspace]) this.#notices.attributes(directory);
  }

  known(inode: Inode, node: Node): void {
    if (node instanceof WorkingNode) this.#put(inode, node);
    this.tree.retain(inode);
  }

  forgotten(inode: Inode, node: Node): void {
    if (this.#nodes.get(inode) === node) this.#nodes.delete(inode);
    else if (node instanceof WorkingNode) this.#former.delete(node);
    if (node instanceof WorkingDirectory) this.#directories.delete(node);
    this.#missing.forgetAll(node);
    this.tree.release(inode);
    if (this.#nodes.size > 0 || this.#former.size > 0) return;
    this.#unsubscribe();
    this.#unused();
  }

  get kernelKeepsWrites(): boolean {
    return this.#notices.keepsWrites;
  }

  settle(inode: Inode): MaybePromise<void> {
    if (inode.openForWriting === 0) return undefined;
    for (const node of this.#nodesOf(inode)) this.#notices.inode(node);
    return this.#notices.told();
  }

  sizeAgreed(inode: Inode, node: Node): void {
    if (!this.kernelKeepsWrites) return;
    const known = this.#nodes.get(inode);
    if (known === node) known.agreedSize = inode.size;
    // Written through a former node: under its name the kernel knows another.
    else this.#inodeChanged(known);
  }

  attributesChanged(inode: Inode): void {
    const node = this.#nodes.get(inode);
    if (node !== undefined) this.#notices.attributes(node);
  }

  countingNames(parent: Inode, name: string, change: () => MaybePromise<void>): MaybePromise<void> {
    if (this.#former.size === 0) return change();
    return chain(this.tree.lookup(parent, name), (before) =>
      chain(change(), () =>
        chain(before ?? this.tree.lookup(parent, name), (inode) => {
          const nodes = inode === undefined ? [] : this.#nodesOf(inode);
          if (nodes.length > 1) for (const node of nodes) this.#notices.attributes(node);
        }),
      ),
    );
  }

  listingDropped(node: Node): void {
    this.#notices.inode(node);
  }

  #put(inode: Inode, node: WorkingNode): void {
    this.#nodes.set(inode, node);
    if (node instanceof WorkingDirectory) this.#directories.add(node);
  }

  #newNode(inode: Inode): WorkingNode {
    if (inode === this.tree.root) return new ArtifactRoot(this);
    return inode.kind === 'dir' ? new WorkingDirectory(this, inode) : new WorkingNode(this, inode);
  }

  #invalidate(what: Invalidation): void {
    switch (what.type) {
      case 'entry':
        this.#entryChanged(what.parent, what.name);
        break;
      case 'inode':
        this.#inodeChanged(this.#nodes.get(what.inode));
        break;
      case 'all':
        this.#allChanged();
    }
  }

  #entryChanged(parent: Inode, name: string): void {
    const node = this.#nodes.get(parent);
    if (node === undefined) return;
    this.#missing.forget(node, name);
    this.#notices.entry(node, name);
    // For a name it does not know the kernel does nothing, and would keep the listing without the new one.
    this.#inodeChanged(node);
  }

  #inodeChanged(node: WorkingNode | undefined): void {
    if (node === undefined) return;
    if (node instanceof WorkingDirectory) node.changedAround();
    if (node instanceof ArtifactRoot) this.accessChanged();
    this.#notices.inode(node);
    if (this.kernelKeepsWrites && node.kind === 'file') this.#renew(node);
  }

  /**
   * A kernel that keeps writes believes itself about size and times of the files it knows, so it gets to know another
   * one under the same names. Not when programs write to it and the size is right: who opens the file must share what is
   * not written back yet, and the times come with it.
   */
  #renew(node: WorkingNode): void {
    const { inode } = node;
    if (node.id === 0 || (inode.openForWriting > 0 && node.agreedSize === inode.size)) return;
    this.#nodes.delete(inode);
    this.#former.add(node);
    for (const { parent, name } of node.places()) this.#notices.entry(parent, name);
  }

  #nodesOf(inode: Inode): Node[] {
    const known = this.#nodes.get(inode);
    const former = [...this.#former].filter((node) => node.inode === inode);
    return known === undefined ? former : [known, ...former];
  }

  /** Also without its write cache the kernel keeps what is written to a mapping. */
  async #settleAll(): Promise<void> {
    // No name leads to a former node.
    const former = [...this.#former].filter(({ inode }) => inode.openForWriting > 0);
    for (const node of former) this.#notices.inode(node);
    const known = [...this.tree.writers].map((inode) => this.#nodes.get(inode));
    await this.#notices.written(known.filter((node) => node !== undefined));
    if (former.length > 0) await this.#notices.told();
  }

  /**
   * Directories at once, since what was listed before is no longer true. The rest in turns: of what changes or comes
   * meanwhile the kernel knows.
   */
  #allChanged(): void {
    let checks = this.#nodes.size;
    for (const directory of this.#directories) {
      checks += this.#missing.of(directory).size;
      this.#inodeChanged(directory);
    }
    this.#notices.each(this.#nodes.values(), (node) => {
      if (node.kind === 'dir' || node.revision === node.inode.revision) return;
      node.revision = node.inode.revision;
      this.#inodeChanged(node);
    });
    if (checks > limits.kernelChecksMax && this.#notices.everyEntry(() => this.#missing.clear())) return;
    this.#notices.each(this.#nodes.values(), (node) => {
      for (const place of node.places()) this.#checkPlace(node, place);
    });
    for (const directory of this.#directories) this.#checkMissing(directory);
  }

  #checkMissing(directory: WorkingDirectory): void {
    const names = this.#missing.of(directory);
    if (names.size === 0) return;
    // Names that come to be missing from now on are not among them, and are missing as things are now.
    this.#notices.each([...names], (name) => {
      if (this.#stillMissing(directory, name)) return;
      this.#missing.forget(directory, name);
      this.#notices.entryNow(directory, name);
    });
  }

  /**
   * A name that still means the same node is left alone: to invalidate it would take the directory away under those
   * who work in it. What cannot be answered at once is invalidated.
   */
  #checkPlace(node: WorkingNode, { parent, name }: Place): void {
    if (!(parent instanceof WorkingDirectory)) return;
    // The artifact's own name is its collection's matter.
    if (parent.owner !== this) return;
    if (!this.#stillThere(parent, name, node)) this.#notices.entryNow(parent, name);
  }

  #stillThere(parent: WorkingDirectory, name: string, node: WorkingNode): boolean {
    try {
      return this.tree.lookup(parent.inode, name) === node.inode;
    } catch {
      return false; // The kernel asks again and gets the error itself.
    }
  }

  #stillMissing(parent: WorkingDirectory, name: string): boolean {
    try {
      return this.tree.lookup(parent.inode, name) === undefined;
    } catch {
      return false;
    }
  }
}
