import { newCommitId } from '../../model/ids.js';
import { transaction } from '../../util/sqlite.js';
import type { StageUses } from '../../workspace/commit-types.js';
import type { Manifest } from '../../workspace/records.js';
import type { StageSnapshot } from '../stage-db/stage-database.js';
import type { StageBase } from '../stage-db/stage-rows.js';
import type { TreeCore } from '../tree/tree-core.js';

/** A stage at the moment a commit began. Later changes carry a higher generation. */
export interface Seal {
  readonly s: number;
  readonly stageId: string;
  readonly commitId: string;
  readonly sealed: number;
  readonly base: StageBase | null;
  readonly uses: StageUses;
  readonly inoPrefixes: readonly number[];
  readonly manifest: Manifest | null;
  /** To be disposed. */
  readonly snapshot: StageSnapshot;
  /** Paths of files that are open for writing. */
  readonly openFiles: readonly string[];
}

/** In a moment in which no write runs. undefined: nothing is staged. */
export function seal(core: TreeCore): Seal | undefined {
  const { stage, db } = core;
  if (stage.row === null) return undefined;
  const commitId = newCommitId();
  const sealed = stage.gen;
  const state = stage.save();
  try {
    transaction(db.db, () => stage.update({ sealed, gen: sealed + 1, commitId }));
  } catch (error) {
    stage.restore(state);
    throw error;
  }
  const { s, stageId, base, uses, inoPrefixes, manifest } = stage.row;
  const snapshot = db.snapshot();
  return {
    s,
    stageId,
    commitId,
    sealed,
    base,
    uses,
    inoPrefixes,
    manifest,
    snapshot,
    openFiles: openFiles(core),
  };
}

/** The commit did not take place: what was sealed is the stage again. Its rows in `sealed` go before the next commit's come. */
export function unseal(core: TreeCore): void {
  const { stage, db } = core;
  const { row } = stage;
  if (row === null || row.sealed === null) return;
  const state = stage.save();
  try {
    transaction(db.db, () => {
      if (row.commitId !== null) db.intents.remove(row.commitId);
      stage.update({ sealed: null, commitId: null });
    });
  } catch (error) {
    stage.restore(state);
    throw error;
  }
}

export function openFiles(core: TreeCore): string[] {
  const open = [...core.writers].filter((node) => node.hasName && core.table.get(node.ino) === node);
  return open.map((node) => core.pathOf(node)).sort();
}
