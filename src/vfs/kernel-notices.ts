import { LoopTurn } from '../util/loop-turn.js';
import type { KernelLocalFiles, KernelNotifier, PrunableNode } from './file-system.js';
import type { Node } from './node.js';

/**
 * What the kernel has to be told, in order, and never from inside a request: the kernel may hold a lock that the
 * notice needs until the request is answered.
 */
export class KernelNotices {
  #notifier: KernelNotifier | null = null;
  /** Answers true when it has to go on in another turn. */
  #queue: ((turn: LoopTurn) => boolean)[] = [];
  #scheduled = false;
  #waiting: (() => void)[] = [];

  attach(notifier: KernelNotifier): void {
    this.#notifier = notifier;
  }

  /** The kernel keeps what programs write, and says itself what size and times a file has. */
  get keepsWrites(): boolean {
    return this.#notifier?.keepsWrites === true;
  }

  /** Where the kernel reads local files by itself. */
  get localFiles(): KernelLocalFiles | undefined {
    return this.#notifier?.localFiles;
  }

  /** The name in `parent` may mean something else now. */
  entry(parent: Node, name: string): void {
    this.#add(() => this.entryNow(parent, name));
  }

  /** Attributes, content or listing of the node are not what they were. What the kernel keeps of writes comes in first. */
  inode(node: Node): void {
    this.#add(() => {
      if (node.id !== 0) this.#notifier?.invalidateInode(node.id, 0, 0);
    });
  }

  /** The same for attributes only: what is cached of the bytes stays. */
  attributes(node: Node): void {
    this.#add(() => {
      if (node.id !== 0) this.#notifier?.invalidateInode(node.id, -1, 0);
    });
  }

  /** Resolves when what programs have written to these files has come in. */
  async written(nodes: readonly Node[]): Promise<void> {
    const ids = nodes.map(({ id }) => id).filter((id) => id !== 0);
    if (ids.length > 0) await this.#notifier?.writeBack?.(ids);
  }

  /**
   * No name of the mount may mean what it did; false where the kernel cannot be told so in one word. `told` runs with the notice:
   * what the kernel asks for later, it knows later.
   */
  everyEntry(told: () => void): boolean {
    if (this.#notifier?.invalidateEveryEntry === undefined) return false;
    this.#add(() => {
      this.#notifier?.invalidateEveryEntry?.();
      told();
    });
    return true;
  }

  /** Runs `check` in its turn, which may call `entryNow`. */
  later(check: () => void): void {
    this.#add(check);
  }

  /** Runs `step`, which may call `entryNow`, with each item in as many turns as it takes, before later notices. */
  each<T>(items: Iterable<T>, step: (item: T) => void): void {
    const rest = items[Symbol.iterator]();
    this.#enqueue((turn) => {
      for (let next = rest.next(); !next.done; next = rest.next()) {
        step(next.value);
        if (turn.isOver) return true;
      }
      return false;
    });
  }

  /** Only from `later`: the kernel may forget those of these nodes that nobody uses. */
  pruneNow(nodes: readonly PrunableNode[]): void {
    if (nodes.length > 0) this.#notifier?.prune?.(nodes);
  }

  /** Only from `later` and `each`. */
  entryNow(parent: Node, name: string): void {
    if (parent.id !== 0) this.#notifier?.invalidateEntry(parent.id, name);
  }

  /** Resolves when the kernel has taken every notice that was added so far. */
  async told(): Promise<void> {
    if (this.#queue.length > 0) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    await this.#notifier?.drain?.();
  }

  #add(notice: () => void): void {
    this.#enqueue(() => {
      notice();
      return false;
    });
  }

  #enqueue(notice: (turn: LoopTurn) => boolean): void {
    this.#queue.push(notice);
    if (this.#scheduled) return;
    this.#scheduled = true;
    setImmediate(() => this.#turn());
  }

  #turn(): void {
    // The kernel's requests are answered between.
    const turn = new LoopTurn();
    const queue = this.#queue;
    let sent = 0;
    while (sent < queue.length && !turn.isOver) if (queue[sent]?.(turn) !== true) sent++;
    this.#queue = queue.slice(sent);
    if (this.#queue.length > 0) {
      setImmediate(() => this.#turn());
      return;
    }
    this.#scheduled = false;
    const waiting = this.#waiting;
    this.#waiting = [];
    for (const resolve of waiting) resolve();
  }
}
