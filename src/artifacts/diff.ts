import type { VersionTree } from '../catalog/ports.js';
import { compareEntries, type Entry, entryPath } from '../model/entry.js';
import { LoopTurn } from '../util/loop-turn.js';
import { ChangeQueue, pagesOf } from '../workspace/change-pages.js';
import { isSameThing } from '../workspace/entry-compare.js';
import type { ChangeSummary } from '../workspace/records.js';
import type { TreeChanges } from '../workspace/trees.js';
import type { StagedPath } from './ports.js';

export interface DiffResult {
  readonly changes: StagedPath[];
  readonly summary: ChangeSummary;
}

/** One side of a comparison: entries in tree order. */
export type Side = AsyncIterable<Entry>;

/** The artifact's own directory, which is in no list: before and after. */
export type Roots = readonly [before: Entry | undefined, after: Entry | undefined];

/**
 * Compares two sorted lists of entries. Directories of which only names or times changed are left out; so are files
 * of which nothing but times changed. The artifact's own directory is `.`, and is there only with other rights or attributes.
 */
export async function diff(from: Side, to: Side, roots: Roots, limit: number): Promise<DiffResult> {
  const found = new Differences(limit, roots);
  const left = from[Symbol.asyncIterator]();
  const right = to[Symbol.asyncIterator]();
  const turn = new LoopTurn();
  let a = await left.next();
  let b = await right.next();
  while (!(a.done && b.done)) {
    const order = a.done ? 1 : b.done ? -1 : compareEntries(a.value, b.value);
    found.add(order > 0 || a.done ? null : a.value, order < 0 || b.done ? null : b.value);
    if (order <= 0) a = await left.next();
    if (order >= 0) b = await right.next();
    if (turn.isOver) await turn.next();
  }
  return found;
}

/** The same of two versions: what they share is not looked at. */
export function diffTrees(
  from: VersionTree | null,
  to: VersionTree | null,
  limit: number,
): Promise<DiffResult> {
  const roots: Roots = [from?.root, to?.root];
  if (from === null || to === null) return diff(walkAll(from), walkAll(to), roots, limit);
  return diff(from.walkUnlike(to), to.walkUnlike(from), roots, limit);
}

/** The same for what a stage changes of its base. */
export async function diffOfChanges(changes: TreeChanges, roots: Roots, limit: number): Promise<DiffResult> {
  const found = new Differences(limit, roots);
  const turn = new LoopTurn();
  for await (const page of pagesOf(changes))
    await turn.each(page, ({ before, after }) => found.add(before ?? null, after));
  return found;
}

class Differences implements DiffResult {
  readonly changes: StagedPath[] = [];
  readonly summary = { added: 0, changed: 0, removed: 0 };
  readonly #limit: number;

  constructor(limit: number, [before, after]: Roots) {
    this.#limit = limit;
    if (before !== undefined && after !== undefined) this.add(before, after);
  }

  add(before: Entry | null, after: Entry | null): void {
    const entry = after ?? before;
    if (entry === null || (before !== null && after !== null && isSameThing(before, after))) return;
    const change = before === null ? 'added' : after === null ? 'removed' : 'changed';
    this.summary[change]++;
    if (this.changes.length < this.#limit)
      this.changes.push({ path: entryPath(entry) || '.', change, kind: entry.kind, size: entry.size });
  }
}

export const walkAll = (tree: VersionTree | null): Side => (tree === null ? nothing() : tree.walk(''));

/** The base with the stage's changes: what the working view has, in tree order. */
export async function* applied(base: Side, changes: TreeChanges): AsyncGenerator<Entry, void> {
  const queue = new ChangeQueue(changes);
  for await (const entry of base) {
    for (let order = -1; order < 0; ) {
      if (queue.isLow) await queue.fill();
      const { first } = queue;
      order = first === undefined ? 1 : compareEntries(first, entry);
      if (order > 0) yield entry;
      else queue.take();
      if (order <= 0 && first?.after) yield first.after;
    }
  }
  for (await queue.fill(); queue.first !== undefined; await queue.fill()) {
    const { after } = queue.first;
    queue.take();
    if (after !== null) yield after;
  }
}

async function* nothing(): AsyncGenerator<Entry, void> {}
