import { setImmediate as nextTurn } from 'node:timers/promises';
import { limits } from '../model/limits.js';

const itemsSortedAtOnce = 1000;

/**
 * What one long job holds of the event loop, which it shares with every request: after each step it asks `isOver` and,
 * if so, waits for `next`. By time, because steps differ: a count that is right for one is a second of another.
 */
export class LoopTurn {
  #began = performance.now();

  get isOver(): boolean {
    return performance.now() - this.#began > limits.loopHoldMsMax;
  }

  /** Lets everything else run first. */
  async next(): Promise<void> {
    await nextTurn();
    this.#began = performance.now();
  }

  /** Calls `step` with each item. */
  async each<T>(items: Iterable<T>, step: (item: T) => void): Promise<void> {
    for (const item of items) {
      step(item);
      if (this.isOver) await this.next();
    }
  }

  /** As `toSorted`: equal items stay in their order. */
  async sorted<T>(items: readonly T[], compare: (a: T, b: T) => number): Promise<T[]> {
    let runs: T[][] = [];
    for (let from = 0; from < items.length; from += itemsSortedAtOnce) {
      runs.push(items.slice(from, from + itemsSortedAtOnce).sort(compare));
      if (this.isOver) await this.next();
    }
    while (runs.length > 1) {
      const merged: T[][] = [];
      for (let at = 0; at < runs.length; at += 2)
        merged.push(await this.#merge(runs[at] ?? [], runs[at + 1] ?? [], compare));
      runs = merged;
    }
    return runs[0] ?? [];
  }

  async #merge<T>(left: readonly T[], right: readonly T[], compare: (a: T, b: T) => number): Promise<T[]> {
    const merged: T[] = [];
    let at = 0;
    for (const item of left) {
      for (let other = right[at]; at < right.length && compare(item, other as T) > 0; other = right[++at])
        merged.push(other as T);
      merged.push(item);
      if (this.isOver) await this.next();
    }
    for (; at < right.length; at++) merged.push(right[at] as T);
    return merged;
  }
}
