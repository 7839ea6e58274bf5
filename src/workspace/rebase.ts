import { compareNames, type Entry } from '../model/entry.js';
import { fixLinks } from './rebase-links.js';
import { type RebaseInput, TreeMerge } from './tree-merge.js';
import type { PathChange } from './trees.js';

export interface Rebased {
  /** Against `head`, in tree order, without the root. */
  readonly changes: readonly PathChange[];
  readonly root: Entry;
  /** Paths that both sides changed in ways that do not go together; with 'mine' or 'theirs' these were decided so. */
  readonly conflicts: readonly string[];
}

/** Applies my changes to a tree that somebody else has published meanwhile, by the rules of doc/FORMAT.md "Conflicts". */
export async function rebase(input: RebaseInput): Promise<Rebased> {
  const merge = new TreeMerge(input);
  await merge.load();
  await merge.decidePaths();
  if (input.onConflict === 'mine') await merge.structureAsMine();
  else if (input.onConflict === 'theirs') await merge.structureAsTheirs();
  else await merge.findStructureConflicts();
  if (input.onConflict !== 'fail' || merge.conflicts.size === 0) {
    await merge.renumberStrays();
    await fixLinks(merge);
  }
  return { ...merge.result(), conflicts: [...merge.conflicts].sort(compareNames) };
}
