import type { Artifact, Inode, WorkingTree } from '../../artifacts/ports.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import type { Node } from '../node.js';
import type { InoKey } from '../shown-ino.js';

/** The artifact whose working view a node belongs to; it keeps one node per inode. */
export interface WorkingOwner {
  readonly artifact: Artifact;
  readonly tree: WorkingTree;
  readonly inos: InoKey;
  nodeOf(inode: Inode): Node;
  knownNode(inode: Inode): Node | undefined;
  /** Names lead to another node of the same inode now, as soon as the kernel has heard of it. */
  isFormer(node: Node): boolean;
  /** The kernel took the name it had for the inode's node here. */
  nameMoved(inode: Inode, parent: Node, name: string): void;
  /** The kernel took the name away; the inode may have others. */
  nameRemoved(inode: Inode, parent: Node, name: string): void;
  known(inode: Inode, node: Node): void;
  forgotten(inode: Inode, node: Node): void;
  /** Offsets of writes are the kernel's own, which knows the size better. */
  readonly kernelKeepsWrites: boolean;
  /** What programs have written to the file so far is in the tree when it resolves, its times perhaps not. */
  settle(inode: Inode): MaybePromise<void>;
  /** The size of the file, as the tree has it now, is what the kernel knows under this node. */
  sizeAgreed(inode: Inode, node: Node): void;
  /** By something of which the kernel does not know that it changes them. */
  attributesChanged(inode: Inode): void;
  /**
   * Runs `change`, which gives a name or takes it away: the kernel counts the names of the node that it knows there,
   * and is told of others of the same inode.
   */
  countingNames(parent: Inode, name: string, change: () => MaybePromise<void>): MaybePromise<void>;
  /** The kernel is told to read the directory's listing again. */
  listingDropped(node: Node): void;
}
