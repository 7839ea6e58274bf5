import { constants } from 'node:os';
import { Refusal } from '../fuse/protocol/refusal.js';
import { ArtifactError } from '../model/errors.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import {
  type FileSystem,
  type NodeEntry,
  type NodeId,
  type RequestContext,
  rootNodeId,
} from '../vfs/file-system.js';

/** A node under one of its names. Whoever holds it must release it. */
export interface HeldNode {
  readonly nodeId: NodeId;
}

/** INVARIANT: stands for one look-up of `nodeId`, which is given back when it is neither in the table nor held. */
class KnownNode implements HeldNode {
  readonly nodeId: NodeId;
  parent: KnownNode | null;
  name: string;
  /** Until when the name may be believed, in ms of the table's clock. */
  untilMs: number;
  holds = 0;
  inTable = true;
  readonly children = new Map<string, KnownNode>();
  /** Goes up when a name in it may have changed: an answer that was asked for before is not kept. */
  changes = 0;

  constructor(nodeId: NodeId, parent: KnownNode | null, name: string, untilMs: number) {
    this.nodeId = nodeId;
    this.parent = parent;
    this.name = name;
    this.untilMs = untilMs;
  }
}

/** Callers have their nodes from the table. */
const known = (held: HeldNode): KnownNode => held as KnownNode;

/** A name that is not there costs no stack trace. */
const noSuchName = new ArtifactError('NotFound', 'no such file or directory');

/**
 * libfuse names files by path where the file system wants node numbers. This finds the node of a path by looking up
 * name after name, and remembers the nodes used last for as long as the file system said that a name may be believed.
 *
 * INVARIANT: a node in the table is a child of one that is in it, or the root, or hidden.
 */
export class PathTable {
  readonly #fileSystem: FileSystem;
  readonly #sizeMax: number;
  readonly #now: () => number;
  readonly #root = new KnownNode(rootNodeId, null, '', Number.POSITIVE_INFINITY);
  readonly #byId = new Map<NodeId, Set<KnownNode>>([[rootNodeId, new Set([this.#root])]]);
  /** From the one used longest ago; children before their parents. */
  readonly #order = new Set<KnownNode>();
  /** Removed but still open, by the name that libfuse gave. */
  readonly #hidden = new Map<string, KnownNode>();

  constructor(fileSystem: FileSystem, sizeMax: number, now: () => number = () => performance.now()) {
    this.#fileSystem = fileSystem;
    this.#sizeMax = sizeMax;
    this.#now = now;
  }

  /** Nodes remembered, without the root. */
  get size(): number {
    return this.#order.size + this.#hidden.size;
  }

  /** Finds the node of `path` and keeps it alive while `work` is under way. Throws NotFound, NotDirectory. */
  use<T>(context: RequestContext, path: string, work: (node: NodeId) => MaybePromise<T>): MaybePromise<T> {
    return chain(this.hold(context, path), (node) => this.#using(node, () => work(node.nodeId)));
  }

  /** The same for the directory that `path` is in. */
  useParent<T>(
    context: RequestContext,
    path: string,
    work: (parent: HeldNode, name: string) => MaybePromise<T>,
  ): MaybePromise<T> {
    const names = namesOf(path);
    const name = names.pop();
    if (name === undefined) throw new ArtifactError('Busy', 'the root of the mount has no other name');
    return chain(this.#walk(context, this.#held(this.#root), names, 0), (parent) =>
      this.#using(parent, () => work(parent, name)),
    );
  }

  /** Finds the node of `path`; the caller owns the answer. */
  hold(context: RequestContext, path: string): MaybePromise<HeldNode> {
    const names = namesOf(path);
    const hidden = this.#hidden.get(names.at(-1) ?? '');
    if (hidden !== undefined) return this.#held(hidden);
    return this.#walk(context, this.#held(this.#root), names, 0);
  }

  release(held: HeldNode): void {
    const node = known(held);
    node.holds -= 1;
    this.#forgetUnused(node);
  }

  /** A new name, just made in `parent`. The caller owns the answer. */
  made(parent: HeldNode, name: string, entry: NodeEntry): HeldNode {
    const directory = known(parent);
    directory.changes += 1;
    return this.#learn(directory, name, entry, directory.changes);
  }

  removed(parent: HeldNode, name: string): void {
    const directory = known(parent);
    directory.changes += 1;
    const child = directory.children.get(name);
    if (child !== undefined) this.#drop(child);
  }

  /** `name` in `parent` has become `newName` in `newParent`, and what had that name is gone. */
  moved(parent: HeldNode, name: string, newParent: HeldNode, newName: string): void {
    const from = known(parent);
    const to = known(newParent);
    const source = from.children.get(name);
    const target = to.children.get(newName);
    from.changes += 1;
    to.changes += 1;
    if (source !== undefined && source.nodeId === target?.nodeId) return; // two names of one file: both stay
    if (target !== undefined) this.#drop(target);
    if (source === undefined) return;
    if (!to.inTable) {
      this.#drop(source);
      return;
    }
    from.children.delete(name);
    source.parent = to;
    source.name = newName;
    to.children.set(newName, source);
    this.#touch(source);
  }

  /** `name` was removed but is open; libfuse calls it `hiddenName` until it is closed. `node` is held by the caller. */
  hide(parent: HeldNode, name: string, node: HeldNode, hiddenName: string): void {
    this.unhide(hiddenName);
    this.#hidden.set(hiddenName, this.#held(known(node)));
    this.removed(parent, name);
  }

  /** The file hidden as `name` was closed. false: there is none. */
  unhide(name: string): boolean {
    const node = this.#hidden.get(name);
    if (node === undefined) return false;
    this.#hidden.delete(name);
    this.release(node);
    return true;
  }

  /** The name may mean something else now. */
  invalidate(parent: NodeId, name: string): void {
    for (const directory of this.#byId.get(parent) ?? []) this.removed(directory, name);
  }

  /** Every name may mean something else now. */
  invalidateAll(): void {
    for (const node of [...this.#order]) {
      node.changes += 1;
      this.#drop(node);
    }
    this.#root.changes += 1;
  }

  /** Throws when an invariant is broken; for tests. */
  checkInvariants(): void {
    const nodes = [...this.#byId.values()].flatMap((set) => [...set]);
    if (nodes.length !== this.#order.size + 1) {
      throw new ArtifactError('Internal', `${nodes.length} nodes by id, ${this.#order.size} in order`);
    }
    for (const node of nodes) {
      if (node === this.#root) continue;
      if (!node.inTable || node.parent?.children.get(node.name) !== node || !node.parent.inTable) {
        throw new ArtifactError('Internal', `${node.name}: not where it should be`);
      }
    }
  }

  #using<T>(node: HeldNode, work: () => MaybePromise<T>): MaybePromise<T> {
    let result: MaybePromise<T>;
    try {
      result = work();
    } catch (error) {
      this.release(node);
      throw error;
    }
    if (result instanceof Promise) return result.finally(() => this.release(node));
    this.release(node);
    return result;
  }

  /** Takes over the hold on `from`. */
  #walk(
    context: RequestContext,
    from: KnownNode,
    names: readonly string[],
    first: number,
  ): MaybePromise<KnownNode> {
    let at = from;
    for (let i = first; i < names.length; i++) {
      const directory = at;
      const next = this.#using(directory, () => this.#step(context, directory, names[i] as string));
      if (next instanceof Promise) return next.then((child) => this.#walk(context, child, names, i + 1));
      at = next;
    }
    return at;
  }

  /** The child, held. */
  #step(context: RequestContext, directory: KnownNode, name: string): MaybePromise<KnownNode> {
    const known = directory.children.get(name);
    if (known !== undefined && known.untilMs > this.#now()) {
      this.#touch(known);
      return this.#held(known);
    }
    const { changes } = directory;
    return chain(this.#fileSystem.lookup(context, directory.nodeId, name), (entry) => {
      if (entry !== undefined) return this.#learn(directory, name, entry, changes);
      if (directory.changes === changes) this.removed(directory, name);
      throw noSuchName;
    });
  }

  /** Takes over the look-up that `entry` stands for. The answer is held. */
  #learn(directory: KnownNode, name: string, entry: NodeEntry, changes: number): KnownNode {
    const { nodeId } = entry;
    const untilMs = this.#now() + entry.entrySeconds * 1000;
    const known = directory.children.get(name);
    if (known !== undefined && known.nodeId === nodeId) {
      this.#fileSystem.forget(nodeId, 1);
      if (directory.changes === changes) known.untilMs = untilMs;
      return this.#held(known);
    }
    const node = new KnownNode(nodeId, directory, name, untilMs);
    if (directory.changes !== changes || !directory.inTable) {
      node.inTable = false; // for this one use
      return this.#held(node);
    }
    if (known !== undefined) this.#drop(known);
    directory.children.set(name, node);
    const same = this.#byId.get(nodeId);
    if (same === undefined) this.#byId.set(nodeId, new Set([node]));
    else same.add(node);
    this.#held(node);
    this.#touch(node);
    this.#evict();
    return node;
  }

  #held(node: KnownNode): KnownNode {
    node.holds += 1;
    return node;
  }

  /** From the leaf up, so that a directory is never older than what is in it. */
  #touch(node: KnownNode): void {
    for (let at: KnownNode | null = node; at !== null && at !== this.#root; at = at.parent) {
      this.#order.delete(at);
      this.#order.add(at);
    }
  }

  #evict(): void {
    if (this.#order.size <= this.#sizeMax) return;
    for (const oldest of this.#order) {
      if (this.#order.size <= this.#sizeMax) return;
      if (oldest.holds === 0 && oldest.children.size === 0) this.#drop(oldest);
    }
  }

  #drop(node: KnownNode): void {
    if (!node.inTable || node === this.#root) return;
    for (const child of [...node.children.values()]) this.#drop(child);
    node.inTable = false;
    node.parent?.children.delete(node.name);
    this.#order.delete(node);
    const same = this.#byId.get(node.nodeId);
    same?.delete(node);
    if (same?.size === 0) this.#byId.delete(node.nodeId);
    this.#forgetUnused(node);
  }

  #forgetUnused(node: KnownNode): void {
    if (node.holds === 0 && !node.inTable) this.#fileSystem.forget(node.nodeId, 1);
  }
}

/** Bytes that are no UTF-8 reach us as U+FFFD: which name was meant is not known any more. */
function namesOf(path: string): string[] {
  if (path.includes('\ufffd')) throw new Refusal(constants.errno.EILSEQ, 'a name that is not UTF-8');
  return path.split('/').filter((name) => name !== '');
}
