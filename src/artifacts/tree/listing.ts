import { compareNames, type Entry } from '../../model/entry.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { DirectoryItem } from '../ports.js';
import type { DirentRow } from '../stage-db/dirent-rows.js';
import type { Node } from './node.js';
import type { TreeCore } from './tree-core.js';

/** Names read at least at a time, so that a directory of removed names is passed in few steps. */
const pageMin = 256;

/** Names of the working view in order: staged ones and those of the base that no staged one hides. */
export function list(
  core: TreeCore,
  parent: Node,
  after: string | null,
  limit: number,
): MaybePromise<DirectoryItem[]> {
  const items: DirectoryItem[] = [];
  return more(core, parent, after ?? '', limit, items);
}

export function isEmpty(core: TreeCore, directory: Node): MaybePromise<boolean> {
  if (directory.staged && core.db.dirents.hasChild(core.stage.s, directory.ino)) return false;
  if (directory.base === null || core.base === null) return true;
  return chain(list(core, directory, null, 1), (items) => items.length === 0);
}

function more(
  core: TreeCore,
  parent: Node,
  after: string,
  limit: number,
  items: DirectoryItem[],
): MaybePromise<DirectoryItem[]> {
  const page = Math.max(limit - items.length, pageMin);
  const { base } = core;
  const dir = parent.base;
  if (base === null || dir === null || !parent.hasName) {
    return step(core, parent, stagedPage(core, parent, after, page), [], page, limit, items);
  }
  return chain(base.list(dir, after === '' ? null : after, page), (entries) => {
    // Fetching may have taken a while: the names must come from what is the base now.
    if (core.base !== base || parent.base !== dir) return more(core, parent, after, limit, items);
    return step(core, parent, stagedPage(core, parent, after, page), entries, page, limit, items);
  });
}

/** Takes a page, and goes on: one of removed names only is not the end. */
function step(
  core: TreeCore,
  parent: Node,
  staged: readonly DirentRow[],
  entries: readonly Entry[],
  page: number,
  limit: number,
  items: DirectoryItem[],
): MaybePromise<DirectoryItem[]> {
  const horizon = horizonOf(staged, entries, page);
  merge(core, parent, staged, entries, horizon, limit, items);
  return horizon === null || items.length >= limit ? items : more(core, parent, horizon, limit, items);
}

function stagedPage(core: TreeCore, parent: Node, after: string, page: number): DirentRow[] {
  return parent.staged ? core.db.dirents.after(core.stage.s, parent.ino, after, page) : [];
}

/** The last name up to which both pages are complete; null when both lists have ended. */
function horizonOf(staged: readonly DirentRow[], entries: readonly Entry[], page: number): string | null {
  const ends = [
    staged.length < page ? undefined : staged.at(-1)?.name,
    entries.length < page ? undefined : entries.at(-1)?.name,
  ].filter((name) => name !== undefined);
  return ends.sort(compareNames)[0] ?? null;
}

function merge(
  core: TreeCore,
  parent: Node,
  staged: readonly DirentRow[],
  entries: readonly Entry[],
  horizon: string | null,
  limit: number,
  items: DirectoryItem[],
): void {
  let s = 0;
  let e = 0;
  while (items.length < limit) {
    const row = staged[s];
    const entry = entries[e];
    const order = row === undefined ? 1 : entry === undefined ? -1 : compareNames(row.name, entry.name);
    const name = order <= 0 ? row?.name : entry?.name;
    if (name === undefined || (horizon !== null && compareNames(name, horizon) > 0)) return;
    if (order <= 0 && row !== undefined) {
      s++;
      if (order === 0) e++;
      if (row.ino !== null) items.push({ name, inode: core.nodeOfRow(row.ino, parent, name) });
    } else if (entry !== undefined) {
      e++;
      items.push({ name, inode: core.nodeOfEntry(entry, parent) });
    }
  }
}
