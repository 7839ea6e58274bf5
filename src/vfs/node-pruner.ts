import { limits } from '../model/limits.js';
import type { PrunableNode } from './file-system.js';
import type { KernelNotices } from './kernel-notices.js';
import type { NodeTable } from './node-table.js';

/**
 * Bounds the nodes the kernel knows. It forgets a file when it wants the memory itself, which may be at many millions;
 * until then each costs us about a kilobyte. So above the limit it is asked to let go of those it has known longest and
 * does not use.
 */
export class NodePruner {
  readonly #nodes: NodeTable;
  readonly #notices: KernelNotices;
  readonly #countMax: number;
  readonly #step: number;
  /** At so many nodes the kernel is asked next. */
  #nextAt: number;

  constructor(nodes: NodeTable, notices: KernelNotices, countMax: number = limits.kernelNodesMax) {
    this.#nodes = nodes;
    this.#notices = notices;
    this.#countMax = countMax;
    this.#step = Math.max(1, countMax >> 4);
    this.#nextAt = countMax;
  }

  /** After each node that the kernel came to know. */
  check(): void {
    const { size } = this.#nodes;
    // What was asked for goes some time later, or stays because it is in use: only what came since is made up for.
    this.#nextAt = size <= this.#countMax ? this.#countMax : Math.min(this.#nextAt, size + this.#step);
    if (size <= this.#nextAt) return;
    this.#nextAt = size + this.#step;
    this.#notices.later(() => this.#ask(this.#step + 1));
  }

  #ask(count: number): void {
    const asked: PrunableNode[] = [];
    for (const node of this.#nodes.oldest(count)) {
      const { place, id } = node;
      if (place === null || place.parent.id === 0 || node.opens > 0) continue;
      asked.push({ id, parent: place.parent.id, name: place.name, isDirectory: node.kind === 'dir' });
    }
    this.#notices.pruneNow(asked);
  }
}
