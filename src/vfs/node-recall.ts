import { ArtifactError } from '../model/errors.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { type NodeId, rootNodeId } from './file-system.js';
import type { ForgottenNode } from './forgotten-nodes.js';
import type { Node } from './node.js';
import type { NodeTable } from './node-table.js';

/**
 * Nodes by their ids alone, as the kernel asks for them on behalf of a file handle (NFS, open_by_handle_at). All throw
 * `Stale` for what is not to be found any more.
 */
export class NodeRecall {
  readonly #nodes: NodeTable;

  constructor(nodes: NodeTable) {
    this.#nodes = nodes;
  }

  /** The node of an id that the kernel may have forgotten: one more look-up. */
  node(id: NodeId): MaybePromise<Node> {
    const known = this.#nodes.find(id);
    if (known !== undefined) {
      this.#nodes.remember(known);
      return known;
    }
    const forgotten = this.#nodes.forgotten.get(id);
    if (forgotten === undefined) throw new ArtifactError('Stale', `node ${id} is not known any more`);
    return this.#findAgain(forgotten, 0);
  }

  /** Looks where it was. Another file there is no answer. */
  #findAgain(forgotten: ForgottenNode, from: number): MaybePromise<Node> {
    const place = forgotten.places[from];
    if (place === undefined) throw new ArtifactError('Stale', `node ${forgotten.id} is not where it was`);
    return this.#through(place.parent, (parent) => {
      const found = parent.kind === 'dir' ? parent.lookup(place.name) : undefined;
      return chain(found, (node) => {
        if (node?.ino !== forgotten.ino) return this.#findAgain(forgotten, from + 1);
        this.#nodes.remember(node);
        node.seenAt(parent, place.name);
        return node;
      });
    });
  }

  /** The directory in which the node was seen last: one more look-up of it. */
  parent(id: NodeId): MaybePromise<Node> {
    return this.#through(id, (node) => {
      const parent = id === rootNodeId ? node : node.place?.parent;
      const parentId =
        parent === undefined || parent.id > 0 ? parent?.id : this.#nodes.forgotten.idOf(parent);
      if (parentId === undefined) throw new ArtifactError('Stale', `the parent of node ${id} is not known`);
      return this.node(parentId);
    });
  }

  /** Recalls a node for as long as `use` takes. */
  #through<T>(id: NodeId, use: (node: Node) => MaybePromise<T>): MaybePromise<T> {
    return chain(this.node(id), (node) => {
      const letGo = (): void => this.#nodes.forget(node.id, 1);
      let used: MaybePromise<T>;
      try {
        used = use(node);
      } catch (error) {
        letGo();
        throw error;
      }
      if (used instanceof Promise) return used.finally(letGo);
      letGo();
      return used;
    });
  }
}
