import { type StageUses, usesNothing } from '../../workspace/commit-types.js';
import { stageOfObject } from '../../workspace/keys.js';
import type { StageBase } from '../stage-db/stage-rows.js';
import type { Entries } from '../tree/rebase-nodes.js';
import type { TreeCore } from '../tree/tree-core.js';
import type { Kept } from './kept.js';

/** What a stage was when its commit was published. */
export interface Before {
  readonly stageId: string;
  readonly base: StageBase | null;
  readonly uses: StageUses;
}

/**
 * Where kept files have bytes from that no known file of the new version has: there, others' content may have taken their
 * place. May name a version too many, never one too few: all bytes of a stage are of its base, of itself, or of what it
 * used before. Without commits of others, the new version has everything.
 */
export function usesOf(core: TreeCore, kept: Kept, entries: Entries, before: Before): StageUses {
  const objects = storedObjects(core, kept);
  if (objects.size === 0) return usesNothing;
  for (const entry of entries.values())
    for (const { object } of entry?.extents ?? []) if (object !== null) objects.delete(object);
  const wroteThem = new Set([...objects].map(stageOfObject));
  const stages = [before.stageId, ...before.uses.stages].filter((stageId) => wroteThem.delete(stageId));
  if (wroteThem.size === 0) return { versions: [], stages };
  const base = before.base === null ? [] : [before.base.version];
  return { versions: [...new Set([...before.uses.versions, ...base])], stages };
}

function storedObjects(core: TreeCore, kept: Kept): Set<string> {
  const { db, stage } = core;
  const objects = new Set<string>();
  for (const ino of kept.inodes.keys()) {
    const row = db.inodes.get(stage.s, ino);
    if (row?.kind !== 'file') continue;
    for (const { source } of db.inodes.extents(stage.s, row))
      if (source.type === 'object') objects.add(source.object);
  }
  return objects;
}
