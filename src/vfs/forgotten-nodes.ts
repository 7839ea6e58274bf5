import { limits } from '../model/limits.js';
import type { NodeId } from './file-system.js';
import type { Node } from './node.js';

/** What is remembered of a node that the kernel has forgotten. */
export interface ForgottenNode {
  readonly id: NodeId;
  readonly ino: bigint;
  readonly places: readonly { readonly parent: NodeId; readonly name: string }[];
}

/**
 * Where nodes were when the kernel forgot them. Whoever keeps a file handle (an NFS server, open_by_handle_at) may ask
 * for one long after, by its id; and a file that is looked up again gets the id it had, so that its handle stays. Those
 * forgotten longest ago are dropped when there are too many.
 * INVARIANT: `#byIno` holds for each inode number the entry of `#byId` that was added last, if it is still there.
 */
export class ForgottenNodes {
  readonly #byId = new Map<NodeId, ForgottenNode>();
  readonly #byIno = new Map<bigint, ForgottenNode>();

  get size(): number {
    return this.#byId.size;
  }

  get(id: NodeId): ForgottenNode | undefined {
    return this.#byId.get(id);
  }

  /** The id under which a node that is not known now was known last. */
  idOf(node: Node): NodeId | undefined {
    return this.#byIno.get(node.ino)?.id;
  }

  /** Before the node loses its id and places. */
  add(node: Node): void {
    if (node.isGone) return;
    const places = this.#placesOf(node);
    if (places.length === 0) return;
    const forgotten = { id: node.id, ino: node.ino, places };
    this.#byId.set(node.id, forgotten);
    this.#byIno.set(node.ino, forgotten);
    if (this.#byId.size > limits.forgottenNodesMax) this.#dropOldest(limits.forgottenNodesMax >> 4);
  }

  /** The node is known again: answers the id it had. */
  take(node: Node): NodeId | undefined {
    const forgotten = this.#byIno.get(node.ino);
    if (forgotten === undefined) return undefined;
    this.#drop(forgotten);
    return forgotten.id;
  }

  /** Not by adding one to the other: an array that grows has room for 17. */
  #placesOf(node: Node): ForgottenNode['places'] {
    const places = node.places().map(({ parent, name }) => ({
      parent: parent.id === 0 ? (this.idOf(parent) ?? 0) : parent.id,
      name,
    }));
    const isKnown = ({ parent }: { parent: NodeId }): boolean => parent !== 0;
    return places.every(isKnown) ? places : places.filter(isKnown);
  }

  /** Many at a time: the way to the oldest leads past all that were removed since the map was last rebuilt. */
  #dropOldest(count: number): void {
    let left = count;
    for (const oldest of this.#byId.values()) {
      if (left-- <= 0) return;
      this.#drop(oldest);
    }
  }

  #drop(forgotten: ForgottenNode): void {
    this.#byId.delete(forgotten.id);
    if (this.#byIno.get(forgotten.ino) === forgotten) this.#byIno.delete(forgotten.ino);
  }
}
