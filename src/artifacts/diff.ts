import type { VersionTree } from '../catalog/ports.js';
import { compareEntries, type Entry, joinPath } from '../model/entry.js';
import { LoopTurn } from '../util/loop-turn.js';
import { isSameThing } from '../workspace/entry-compare.js';
import type { ChangeSummary } from '../workspace/records.js';
import type { PathChange } from '../workspace/trees.js';
import type { StagedPath } from './ports.js';

export interface DiffResult {
  readonly changes: StagedPath[];
  readonly summary: ChangeSummary;
}

/** One side of a comparison: entries in tree order. */
export type Side = AsyncIterable<Entry>;

/**
 * Compares two sorted lists of entries. Directories of which only names or times changed are left out; so are files
 * of which nothing but times changed.
 */
export async function diff(from: Side, to: Side, limit: number): Promise<DiffResult> {
  const changes: StagedPath[] = [];
  const summary = { added: 0, changed: 0, removed: 0 };
  const emit = (change: 'added' | 'changed' | 'removed', entry: Entry) => {
    summary[change]++;
    if (changes.length < limit)
      changes.push({ path: joinPath(entry.dir, entry.name), change, kind: entry.kind, size: entry.size });
  };
  const left = from[Symbol.asyncIterator]();
  const right = to[Symbol.asyncIterator]();
  const turn = new LoopTurn();
  let a = await left.next();
  let b = await right.next();
  while (!(a.done && b.done)) {
    const order = a.done ? 1 : b.done ? -1 : compareEntries(a.value, b.value);
    if (order < 0 && !a.done) emit('removed', a.value);
    else if (order > 0 && !b.done) emit('added', b.value);
    else if (!a.done && !b.done && !isSameThing(a.value, b.value)) emit('changed', b.value);
    if (order <= 0) a = await left.next();
    if (order >= 0) b = await right.next();
    if (turn.isOver) await turn.next();
  }
  return { changes, summary };
}

export const walkAll = (tree: VersionTree | null): Side => (tree === null ? nothing() : tree.walk(''));

/** The base with the stage's changes: what the working view has, in tree order. */
export async function* applied(base: Side, changes: readonly PathChange[]): AsyncGenerator<Entry, void> {
  let next = 0;
  for await (const entry of base) {
    for (; ; next++) {
      const change = changes[next];
      if (change === undefined || compareEntries(change, entry) >= 0) break;
      if (change.after !== null) yield change.after;
    }
    const change = changes[next];
    if (change === undefined || compareEntries(change, entry) !== 0) yield entry;
    else {
      next++;
      if (change.after !== null) yield change.after;
    }
  }
  for (; next < changes.length; next++) {
    const after = changes[next]?.after;
    if (after) yield after;
  }
}

async function* nothing(): AsyncGenerator<Entry, void> {}
