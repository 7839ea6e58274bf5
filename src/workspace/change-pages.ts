import { compareEntries } from '../model/entry.js';
import type { TreeChange, TreeChanges } from './trees.js';

/** A list is one page. */
export async function* pagesOf(changes: TreeChanges): AsyncGenerator<readonly TreeChange[], void> {
  if (isList(changes)) yield changes;
  else yield* changes;
}

/** For who needs all of them at once. */
export async function listOf(changes: TreeChanges): Promise<readonly TreeChange[]> {
  if (isList(changes)) return changes;
  const list: TreeChange[] = [];
  for await (const page of changes) for (const change of page) list.push(change);
  return list;
}

export const isList = (changes: TreeChanges): changes is readonly TreeChange[] => Array.isArray(changes);

/** Changes that are read one by one; some are known before they are taken. */
export class ChangeQueue {
  readonly #pages: AsyncIterator<readonly TreeChange[], void>;
  #known: readonly TreeChange[] = [];
  #next = 0;
  #isWhole = false;

  constructor(changes: TreeChanges) {
    this.#pages = pagesOf(changes)[Symbol.asyncIterator]();
  }

  /** Fewer than `changesKnownMin` are known, and there may be more: `fill` before the next is looked at. */
  get isLow(): boolean {
    return !this.#isWhole && this.#known.length - this.#next < changesKnownMin;
  }

  async fill(): Promise<void> {
    while (this.isLow) {
      const { done, value } = await this.#pages.next();
      if (done) this.#isWhole = true;
      else if (this.#next === this.#known.length) this.#setKnown(value);
      else this.#setKnown([...this.#known.slice(this.#next), ...value]);
    }
  }

  get first(): TreeChange | undefined {
    return this.#known[this.#next];
  }

  take(): void {
    this.#next++;
  }

  /** From the next on. */
  known(index: number): TreeChange | undefined {
    return this.#known[this.#next + index];
  }

  /** How many of the known ones are not after `key`, where `from` of them are not. */
  knownUpTo(key: { readonly dir: string; readonly name: string }, from = 0): number {
    let low = from;
    let high = this.#known.length - this.#next;
    while (low < high) {
      const middle = (low + high) >>> 1;
      const change = this.known(middle);
      if (change !== undefined && compareEntries(change, key) <= 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }

  #setKnown(changes: readonly TreeChange[]): void {
    this.#known = changes;
    this.#next = 0;
  }
}

/** So that the ranges they fall into are asked for a little before. */
const changesKnownMin = 2048;
