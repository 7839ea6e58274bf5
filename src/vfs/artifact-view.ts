import type { Artifact, Inode, Invalidation, WorkingTree } from '../artifacts/ports.js';
import type { Clock } from '../model/entry.js';
import type { KernelNotices } from './kernel-notices.js';
import type { Node, Place } from './node.js';
import { artifactControl } from './nodes/artifact-control.js';
import { type ArtifactOwner, ArtifactRoot } from './nodes/artifact-root.js';
import { WorkingNode } from './nodes/working.js';
import { WorkingDirectory } from './nodes/working-directory.js';
import type { Realm } from './realm.js';
import { type InoKey, inoKey, workingSpace } from './shown-ino.js';

/**
 * One artifact's working view as the kernel knows it: a node for each inode, and what the kernel must be told when
 * the tree changes around it.
 * INVARIANT: each node is here once, under its inode, and retains that inode while the kernel knows it.
 */
export class ArtifactView implements ArtifactOwner {
  readonly artifact: Artifact;
  readonly tree: WorkingTree;
  readonly inos: InoKey;
  readonly realm: Realm;
  readonly #nodes = new Map<Inode, Node>();
  readonly #notices: KernelNotices;
  readonly #clock: Clock;
  readonly #unused: () => void;
  readonly #unsubscribe: () => void;
  #control: Node | null = null;

  constructor(
    artifact: Artifact,
    realm: Realm,
    options: { notices: KernelNotices; clock: Clock; unused: () => void },
  ) {
    this.artifact = artifact;
    this.tree = artifact.tree;
    this.inos = inoKey(artifact.id, workingSpace);
    this.realm = realm;
    this.#notices = options.notices;
    this.#clock = options.clock;
    this.#unused = options.unused;
    this.#unsubscribe = artifact.onInvalidate((what) => this.#invalidate(what));
  }

  get root(): Node {
    return this.nodeOf(this.tree.root);
  }

  nodeOf(inode: Inode): Node {
    let node = this.#nodes.get(inode);
    if (node === undefined) {
      node = this.#newNode(inode);
      this.#nodes.set(inode, node);
    }
    return node;
  }

  knownNode(inode: Inode): Node | undefined {
    return this.#nodes.get(inode);
  }

  control(): Node {
    this.#control ??= artifactControl(this.artifact, this.realm, this.#clock);
    return this.#control;
  }

  known(inode: Inode, node: Node): void {
    this.#nodes.set(inode, node);
    this.tree.retain(inode);
  }

  forgotten(inode: Inode, node: Node): void {
    if (this.#nodes.get(inode) === node) this.#nodes.delete(inode);
    this.tree.release(inode);
    if (this.#nodes.size > 0) return;
    this.#unsubscribe();
    this.#unused();
  }

  #newNode(inode: Inode): Node {
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
        for (const node of this.#nodes.values()) {
          this.#inodeChanged(node);
          for (const place of node.places()) this.#notices.later(() => this.#checkPlace(node, place));
        }
    }
  }

  #entryChanged(parent: Inode, name: string): void {
    const node = this.#nodes.get(parent);
    if (node === undefined) return;
    if (node instanceof WorkingDirectory) node.changes++;
    this.#notices.entry(node, name);
    // For a name it does not know the kernel does nothing, and would keep the listing without the new one.
    this.#notices.inode(node);
  }

  #inodeChanged(node: Node | undefined): void {
    if (node === undefined) return;
    if (node instanceof WorkingDirectory) node.changes++;
    this.#notices.inode(node);
  }

  /**
   * A name that still means the same node is left alone: to invalidate it would take the directory away under those
   * who work in it. What cannot be answered at once is invalidated.
   */
  #checkPlace(node: Node, { parent, name }: Place): void {
    if (!(parent instanceof WorkingDirectory) || !(node instanceof WorkingNode)) return;
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
}
