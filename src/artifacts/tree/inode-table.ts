import type { Ino } from '../../model/entry.js';
import { limits } from '../../model/limits.js';
import type { Node } from './node.js';

/**
 * The inodes in memory, one object per ino. One that nobody holds may leave when there are too many; a directory is
 * held by its children in memory, so that every node's way to the root is made of nodes of this table.
 */
export class InodeTable {
  readonly #nodes = new Map<Ino, Node>();
  /** Nodes nobody holds, longest unused first. */
  readonly #idle = new Set<Node>();
  readonly #idleMax: number;

  constructor(idleMax: number = limits.inodesIdleMax) {
    this.#idleMax = idleMax;
  }

  get size(): number {
    return this.#nodes.size;
  }

  get(ino: Ino): Node | undefined {
    const node = this.#nodes.get(ino);
    if (node !== undefined && node.holds === 0) {
      this.#idle.delete(node);
      this.#idle.add(node);
    }
    return node;
  }

  add(node: Node): void {
    this.#nodes.set(node.ino, node);
    if (node.holds === 0) this.#idle.add(node);
    this.#evict();
  }

  remove(node: Node): void {
    this.#idle.delete(node);
    if (this.#nodes.get(node.ino) === node) this.#nodes.delete(node.ino);
    this.locate(node, null, node.name);
  }

  hold(node: Node): void {
    if (node.holds++ === 0) this.#idle.delete(node);
  }

  /** True when nobody holds the node any more. */
  drop(node: Node): boolean {
    if (--node.holds > 0) return false;
    node.holds = 0;
    if (this.#nodes.get(node.ino) === node) this.#idle.add(node);
    this.#evict();
    return true;
  }

  /** Says where a name of the node is; a node is held by those whose parent it is. */
  locate(node: Node, parent: Node | null, name: string): void {
    node.name = name;
    const old = node.parent;
    if (old === parent) return;
    node.parent = parent;
    if (parent !== null) this.hold(parent);
    if (old !== null) this.drop(old);
  }

  /** The node stays what it is to those who hold it. */
  renumber(node: Node, ino: Ino): void {
    if (this.#nodes.get(node.ino) === node) this.#nodes.delete(node.ino);
    node.ino = ino;
    this.#nodes.set(ino, node);
  }

  all(): Node[] {
    return [...this.#nodes.values()];
  }

  /** Forgets what nobody holds. */
  clearIdle(): void {
    this.#evict(0);
  }

  /** Many at a time: the way to the oldest leads past all that were removed since the set was last rebuilt. */
  #evict(idleMax = this.#idleMax): void {
    if (this.#idle.size <= idleMax) return;
    const kept = idleMax - (idleMax >> 4);
    for (const node of this.#idle) {
      if (this.#idle.size <= kept) return;
      this.#idle.delete(node);
      this.#nodes.delete(node.ino);
      const { parent } = node;
      node.parent = null;
      if (parent !== null) this.drop(parent);
    }
  }
}
