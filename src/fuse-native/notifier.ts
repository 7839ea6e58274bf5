import { setTimeout as sleep } from 'node:timers/promises';
import type { KernelNotifier, NodeId } from '../vfs/file-system.js';
import type { PathTable } from './path-table.js';

/**
 * libfuse 2.9 cannot tell the kernel that what it cached is no longer true. Our own table of names is told; the kernel
 * believes a name for `entryMs`, and nothing else without asking.
 */
export class WaitingNotifier implements KernelNotifier {
  readonly #paths: PathTable;
  readonly #entryMs: number;
  #lastMs = Number.NEGATIVE_INFINITY;

  constructor(paths: PathTable, entryMs: number) {
    this.#paths = paths;
    this.#entryMs = entryMs;
  }

  invalidateEntry(parent: NodeId, name: string): void {
    this.#lastMs = performance.now();
    this.#paths.invalidate(parent, name);
  }

  invalidateEveryEntry(): void {
    this.#lastMs = performance.now();
    this.#paths.invalidateAll();
  }

  invalidateInode(): void {}

  /** Waits until the kernel no longer believes any name that was told of. */
  async drain(): Promise<void> {
    const waitMs = this.#lastMs + this.#entryMs - performance.now();
    if (waitMs > 0) await sleep(waitMs);
  }
}
