import type { VersionTree } from '../../catalog/ports.js';
import { type Entry, joinPath, splitPath } from '../../model/entry.js';
import { isSameThing, isSameTime } from '../../workspace/entry-compare.js';
import type { TreeCore } from '../tree/tree-core.js';
import type { Places } from './places.js';

/** Something staged after the seal, where somebody else's commit may have changed what it was staged on. */
interface Candidate {
  /** In the old base; null: there was nothing. */
  readonly was: string | null;
  /** In the new version. */
  readonly path: string;
  /** Here the name is gone. */
  readonly isRemoved: boolean;
}

/**
 * Paths that were changed here after a commit had sealed the stage, and by others whose versions that commit was put
 * on top of. The commit knows nothing of the former, and the next one will have the latter in its base: only now both
 * can be seen.
 */
export async function lateConflicts(core: TreeCore, next: VersionTree, places: Places): Promise<string[]> {
  const sealedPaths = core.db.sealed.paths(core.stage.s);
  const conflicts = new Set<string>();
  for (const { was, path, isRemoved } of candidates(core, places)) {
    // What the commit itself put there was compared with the others' by the commit.
    if (sealedPaths.has(path)) continue;
    const before = was === null ? undefined : await at(core.base, was);
    const after = await at(next, path);
    // There, too.
    if (isRemoved && after === undefined) continue;
    // So is a further name of a file of the commit, of which the sealed rows tell one path.
    if (after !== undefined && after.kind !== 'dir' && places.row(after.ino) !== undefined) continue;
    if (!isUnchanged(before, after)) conflicts.add(path);
  }
  return [...conflicts].sort();
}

function candidates(core: TreeCore, places: Places): Candidate[] {
  const { db, stage } = core;
  const { s } = stage;
  const sealed = stage.sealed ?? 0;
  const found: Candidate[] = [];
  for (const ino of db.inodes.changedSince(s, sealed)) {
    const row = db.inodes.get(s, ino);
    // Directories differ by what is in them, and that by itself.
    if (row === undefined || row.base === null || row.kind === 'dir') continue;
    const path = places.pathOf(ino, row.base);
    if (path !== null) found.push({ was: row.base, path, isRemoved: false });
  }
  for (const { parent, name, ino } of db.dirents.changedSince(s, sealed)) {
    const directory = db.inodes.get(s, parent);
    if (directory === undefined) continue;
    const path = places.pathOf(parent, directory.base);
    if (path === null) continue;
    const was = directory.base === null ? null : joinPath(directory.base, name);
    found.push({ was, path: joinPath(path, name), isRemoved: ino === null });
  }
  return found;
}

async function at(tree: VersionTree | null, path: string): Promise<Entry | undefined> {
  const { dir, name } = splitPath(path);
  return tree?.lookup(dir, name);
}

function isUnchanged(before: Entry | undefined, after: Entry | undefined): boolean {
  if (before === undefined || after === undefined) return before === after;
  if (before.kind === 'dir') return after.kind === 'dir' && before.ino === after.ino;
  return isSameThing(before, after) && isSameTime(before.mtime, after.mtime);
}
