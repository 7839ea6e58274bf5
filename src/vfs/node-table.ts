import { randomInt } from 'node:crypto';
import { ArtifactError } from '../model/errors.js';
import { type NodeId, rootNodeId } from './file-system.js';
import { ForgottenNodes } from './forgotten-nodes.js';
import type { Node } from './node.js';

/**
 * The nodes the kernel knows, by id. Ids count up; one is used again only for the same file.
 * INVARIANT: a node is in the table exactly while its `lookups` is above 0, and then `id` is its key.
 * INVARIANT: the root is in the table for ever.
 */
export class NodeTable {
  /** Another one in every mount: ids begin anew then, and a handle of an older mount must not lead to another file. */
  readonly generation = randomInt(1, 2 ** 32);
  readonly forgotten = new ForgottenNodes();
  readonly #nodes = new Map<NodeId, Node>();
  #next: NodeId = rootNodeId;

  constructor(root: Node) {
    this.remember(root);
  }

  get size(): number {
    return this.#nodes.size;
  }

  find(id: NodeId): Node | undefined {
    return this.#nodes.get(id);
  }

  get(id: NodeId): Node {
    const node = this.#nodes.get(id);
    if (node === undefined) throw new ArtifactError('Stale', `node ${id} is not known any more`);
    return node;
  }

  /** One more look-up by the kernel. */
  remember(node: Node): void {
    if (node.lookups++ > 0) return;
    node.id = this.forgotten.take(node) ?? this.#next++;
    this.#nodes.set(node.id, node);
    node.onKnown();
  }

  forget(id: NodeId, count: number): void {
    if (id === rootNodeId) return;
    const node = this.#nodes.get(id);
    if (node === undefined) return;
    node.lookups = Math.max(0, node.lookups - count);
    if (node.lookups > 0) return;
    this.#nodes.delete(id);
    this.forgotten.add(node);
    node.id = 0;
    node.forgetPlaces();
    node.onForgotten();
  }

  /** Those known longest, at most `count`; next time others come first. */
  *oldest(count: number): Iterable<Node> {
    let left = Math.min(count, this.#nodes.size - 1);
    for (const [id, node] of this.#nodes) {
      if (left <= 0) return;
      this.#nodes.delete(id);
      this.#nodes.set(id, node);
      if (id === rootNodeId) continue;
      left--;
      yield node;
    }
  }

  /** Throws when an invariant is broken; for tests. */
  checkInvariants(): void {
    for (const [id, node] of this.#nodes) {
      if (node.id !== id || node.lookups <= 0) {
        throw new ArtifactError('Internal', `node ${id}: id ${node.id}, ${node.lookups} look-ups`);
      }
    }
    if (!this.#nodes.has(rootNodeId)) throw new ArtifactError('Internal', 'the root is not known');
  }
}
