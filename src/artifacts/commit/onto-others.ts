import { type Entry, type Ino, joinPath, rootIno, splitPath } from '../../model/entry.js';
import type { InodeRow } from '../stage-db/inode-row.js';
import { Node } from '../tree/node.js';
import type { Entries } from '../tree/rebase-nodes.js';
import type { TreeCore } from '../tree/tree-core.js';
import type { GoneNames } from './gone-names.js';
import type { Kept } from './kept.js';
import type { Places } from './places.js';

/**
 * What stays staged on top of a version into which others' commits went too. A file or directory may be somewhere else
 * there than the staged names have it, or nowhere. Two names would then mean one inode that is not linked twice, or a
 * directory would be in two places: so the staged one gets a number of its own, and its path is a conflict that the
 * next commit must decide.
 */

/** Paths in the new version that the functions below ask for. */
export function neededPaths(core: TreeCore, kept: Kept, places: Places): Set<string> {
  const { db, stage } = core;
  const paths = new Set<string>();
  const bases = new Map<Ino, string | null>();
  for (const ino of kept.inodes.keys()) {
    const base = places.pathOf(ino, db.inodes.get(stage.s, ino)?.base ?? null);
    bases.set(ino, base);
    if (base !== null) paths.add(base);
  }
  for (const { parent, name } of kept.names) {
    const base = bases.get(parent);
    if (base != null) paths.add(joinPath(base, name));
  }
  return paths;
}

/** A staged inode that the new version has not got in its place. */
export interface Lost {
  readonly row: InodeRow;
  readonly path: string;
  /** Its new number. */
  readonly ino: Ino;
  /** The other directory that is in its place, which it becomes. */
  readonly directory: Entry | null;
}

/** Inside a transaction, which hands out numbers. Those without a staged name keep theirs: other names lead to them. */
export function findLost(core: TreeCore, kept: Kept, places: Places, entries: Entries): Map<Ino, Lost> {
  const { db, stage } = core;
  const lost = new Map<Ino, Lost>();
  const taken = new Set<Ino>();
  for (const [ino, isNamed] of kept.inodes) {
    const row = ino === rootIno ? undefined : db.inodes.get(stage.s, ino);
    const path = row === undefined ? null : places.pathOf(ino, row.base);
    if (row === undefined || path === null || !isNamed) continue;
    const entry = entries.get(path);
    if (entry?.ino === ino && entry.kind === row.kind) continue;
    const becomes =
      row.kind === 'dir' && entry?.kind === 'dir' && !kept.inodes.has(entry.ino) && !taken.has(entry.ino);
    const directory = becomes ? entry : null;
    if (directory !== null) taken.add(directory.ino);
    lost.set(ino, { row, path, directory, ino: directory?.ino ?? stage.nextIno() });
  }
  return lost;
}

/** The kept names with the new numbers. */
export function renumber(kept: Kept, lost: ReadonlyMap<Ino, Lost>): Kept {
  if (lost.size === 0) return kept;
  const now = (ino: Ino): Ino => lost.get(ino)?.ino ?? ino;
  return {
    inodes: new Map([...kept.inodes].map(([ino, isNamed]) => [now(ino), isNamed])),
    names: kept.names.map(({ parent, name, ino, gen }) => ({
      parent: now(parent),
      name,
      ino: ino === null ? null : now(ino),
      gen,
    })),
  };
}

/**
 * Files of the new version that a kept name takes one of several names of, though they are not staged: what was under
 * that name here is another file now, with a number of its own. Their count of names is the stage's from now on.
 */
export function stageHidden(core: TreeCore, kept: Kept, entries: Entries): Set<Ino> {
  const { db, stage } = core;
  const hidden = new Map<Ino, { entry: Entry; names: number }>();
  for (const { parent, name, ino } of kept.names) {
    const dir = db.inodes.get(stage.s, parent)?.base ?? null;
    const entry = dir === null ? undefined : entries.get(joinPath(dir, name));
    if (entry === undefined || entry.kind === 'dir' || entry.ino === ino || kept.inodes.has(entry.ino))
      continue;
    const names = (hidden.get(entry.ino)?.names ?? 0) + 1;
    hidden.set(entry.ino, { entry, names });
  }
  const staged = new Set<Ino>();
  for (const [ino, { entry, names }] of hidden) {
    if (names >= entry.nlink) continue;
    const node = Node.fromEntry(entry);
    node.gen = stage.gen;
    node.nlink = entry.nlink - names;
    db.inodes.put(stage.s, node);
    core.loose.add(ino);
    staged.add(ino);
  }
  return staged;
}

/** Others may have added and removed names, too: counts every link of the kept inodes anew. */
export function recountLinks(core: TreeCore, kept: Kept, entries: Entries, gone: GoneNames): void {
  const { db, stage } = core;
  const { s } = stage;
  const rows = new Map<Ino, InodeRow>();
  const links = new Map<Ino, number>();
  const entryOf = (ino: Ino, { base }: InodeRow): Entry | undefined => {
    const entry = base === null ? undefined : entries.get(base);
    return entry?.ino === ino ? entry : gone.stray(ino);
  };
  for (const ino of kept.inodes.keys()) {
    const row = db.inodes.get(s, ino);
    if (row === undefined) continue;
    rows.set(ino, row);
    links.set(ino, entryOf(ino, row)?.nlink ?? (row.kind === 'dir' ? 2 : 0));
  }
  const add = (ino: Ino, count: number): void => {
    const known = links.get(ino);
    if (known !== undefined) links.set(ino, known + count);
  };
  const shown = new Set<string>();
  for (const { kind, base } of rows.values()) if (kind === 'dir' && base !== null) shown.add(base);
  const hidden = new Set<string>();
  for (const { parent, name, ino } of kept.names) {
    const dir = rows.get(parent)?.base ?? null;
    const path = joinPath(dir ?? '', name);
    const before = dir === null ? undefined : entries.get(path);
    const child = ino === null ? undefined : rows.get(ino);
    if (before?.kind === 'dir') {
      add(parent, -1);
      hidden.add(path);
    }
    if (child?.kind === 'dir') add(parent, 1);
    if (before?.ino === ino) continue;
    if (before !== undefined && before.kind !== 'dir') add(before.ino, -1);
    if (child !== undefined && child.kind !== 'dir') add(child.ino, 1);
  }
  for (const path of hidden)
    for (const entry of gone.below(path)) if (isGone(entry.dir, hidden, shown)) add(entry.ino, -1);
  // Where the only name of a file is, its row says.
  for (const [ino, row] of rows) {
    const entry = row.kind === 'dir' ? undefined : entryOf(ino, row);
    if (entry?.nlink === 1 && isGone(entry.dir, hidden, shown)) add(ino, -1);
  }
  for (const [ino, nlink] of links) db.inodes.putLinks(s, ino, nlink, rows.get(ino)?.base_nlink ?? 0);
}

/** Whether a directory of the new version is nowhere: `hidden` by a kept name, with none from it upwards `shown`. */
function isGone(path: string, hidden: ReadonlySet<string>, shown: ReadonlySet<string>): boolean {
  for (let at = path; at !== ''; at = splitPath(at).dir) {
    if (shown.has(at)) return false;
    if (hidden.has(at)) return true;
  }
  return false;
}
