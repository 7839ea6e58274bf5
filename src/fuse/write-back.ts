import { join } from 'node:path';
import type { KernelNotifier, NodeId } from '../vfs/file-system.js';
import type { Native } from './native.js';

/**
 * Makes the kernel send what it keeps of files that programs write: by fsync, through our own mount, which sends large
 * pieces and then the times. Where a file cannot be opened so (its name or mode is against it), invalidating it makes the
 * kernel send the bytes page by page, and the times later.
 *
 * INVARIANT: one file at a time. An fsync holds a thread of libuv's pool until we have answered its writes, which may
 * need another one.
 */
export class WriteBack {
  readonly #native: Native;
  readonly #mountPoint: string;
  readonly #pathOf: (node: NodeId) => string | undefined;
  readonly #notifier: KernelNotifier;
  #last: Promise<void> = Promise.resolve();
  /** What begins after the last; callers that come meanwhile share it. */
  #next: { readonly wanted: Set<NodeId>; readonly done: Promise<void> } | null = null;

  constructor(
    native: Native,
    mountPoint: string,
    pathOf: (node: NodeId) => string | undefined,
    notifier: KernelNotifier,
  ) {
    this.#native = native;
    this.#mountPoint = mountPoint;
    this.#pathOf = pathOf;
    this.#notifier = notifier;
  }

  run(nodes: readonly NodeId[]): Promise<void> {
    if (this.#next === null) {
      const wanted = new Set<NodeId>();
      const done = this.#last.then(() => {
        this.#next = null;
        return this.#writeBack(wanted);
      });
      this.#next = { wanted, done };
      this.#last = done;
    }
    for (const node of nodes) this.#next.wanted.add(node);
    return this.#next.done;
  }

  /** Resolves when all that was asked for so far is done: until then a file of the mount is open. */
  idle(): Promise<void> {
    return this.#last;
  }

  async #writeBack(nodes: ReadonlySet<NodeId>): Promise<void> {
    for (const node of nodes) {
      if (!(await this.#sync(node))) this.#notifier.invalidateInode(node, 0, 0);
    }
    await this.#notifier.drain?.();
  }

  async #sync(node: NodeId): Promise<boolean> {
    const path = this.#pathOf(node);
    if (!path?.startsWith('/')) return false;
    return (await this.#native.syncFile(join(this.#mountPoint, path))) === 0;
  }
}
