import type { Catalog } from '../catalog/ports.js';
import { ExtentMap } from '../content/extent-map.js';
import type { Ino } from '../model/entry.js';
import { newStageId } from '../model/ids.js';
import { LoopTurn } from '../util/loop-turn.js';
import { transaction } from '../util/sqlite.js';
import { usesNothing } from '../workspace/commit-types.js';
import type { Manifest } from '../workspace/records.js';
import type { StageBase } from './stage-db/stage-rows.js';
import type { Node } from './tree/node.js';
import { rebaseNodes, withEntries } from './tree/rebase-nodes.js';
import type { TreeCore } from './tree/tree-core.js';
import type { ArtifactTree } from './tree/working-tree.js';

/** What a stage begun now would be built on. */
export function latestBase(catalog: Catalog, artifactId: string): StageBase | null {
  const state = catalog.artifact(artifactId);
  if (state === undefined || state.latest === null) return null;
  const { version, tree } = state.latest;
  return { seq: state.headSeq, hash: state.headHash, version, tree };
}

/** Moves an artifact with nothing staged to the newest version; false when something is staged, or it is there. */
export async function followLog(tree: ArtifactTree, catalog: Catalog): Promise<boolean> {
  const { core } = tree;
  const { stage } = core;
  const base = latestBase(catalog, stage.artifactId);
  if (stage.exists || base === null) return false;
  if (stage.base?.version === base.version) {
    stage.follow(base);
    return false;
  }
  const next = await catalog.tree(stage.artifactId, base.tree);
  return withEntries(core, next, pathInBase, (entries, paths) => {
    // Something may have been staged, or another refresh have come, while entries were fetched.
    if (stage.exists || (stage.base?.seq ?? 0) >= base.seq) return false;
    stage.follow(base);
    core.base = next;
    rebaseNodes(core, paths, entries);
    return true;
  });
}

/** A stage that is no more. Its rows and staging files are still there, for `removeDropped`. */
export interface Dropped {
  readonly s: number;
  /** Inodes in use that have no name any more: their staging files go when they are not. */
  readonly held: ReadonlySet<Ino>;
}

/**
 * The working view is the newest version again; open files without a name there go on reading what they have. null:
 * nothing was staged.
 */
export async function dropStage(tree: ArtifactTree, catalog: Catalog): Promise<Dropped | null> {
  const { core, content } = tree;
  const { stage } = core;
  if (!stage.exists) return null;
  // A new artifact that is not linked has its own first version at most.
  const base = latestBase(catalog, stage.artifactId);
  const next = base === null ? null : await catalog.tree(stage.artifactId, base.tree);
  return content.quiet(() =>
    withEntries(
      core,
      next,
      (node) => node.base,
      (entries, paths) => {
        const { s } = stage;
        leaveStage(core, base);
        core.base = next;
        const files: Node[] = [];
        for (const node of paths.keys()) {
          if (node.kind === 'file' && node.staged && node.holds > 0) files.push(node);
          node.staged = next === null && node === core.root;
        }
        rebaseNodes(core, paths, entries);
        return { s, held: leaveNameless(files) };
      },
    ),
  );
}

/** Answers those whose bytes somebody uses. */
function leaveNameless(files: readonly Node[]): Set<Ino> {
  const held = new Set<Ino>();
  for (const node of files) {
    if (node.hasName) continue;
    node.isDiscarded = true;
    if (node.isInUse) held.add(node.ino);
    else {
      // Its rows tell what is to be removed.
      node.map = new ExtentMap();
      node.file = 0;
    }
  }
  return held;
}

/** A few at a time; what a killed daemon leaves of it is removed at the next start. */
export async function removeDropped(tree: ArtifactTree, { s, held }: Dropped): Promise<void> {
  const { core, content } = tree;
  await new LoopTurn().each(core.db.inodes.eachStagingFiles(s), ([ino, files]) => {
    if (!held.has(ino)) content.dropSealed(ino, files);
    // Read by some until they are done, but nothing sends it any more.
    else for (const file of files) core.uploader.forget(file);
  });
  content.settled.forget();
  content.cleaner.slabs.close();
  await core.db.deleteRows(s);
}

const pathInBase = (node: Node) => (node.hasName ? node.base : undefined);

/** All rows in one turn would hold up everything else: they are left behind. */
function leaveStage(core: TreeCore, base: StageBase | null): void {
  const { db, stage } = core;
  const state = stage.save();
  try {
    transaction(db.db, () => {
      if (stage.isNew) {
        stage.update({
          // The old one may have been abandoned, and nothing of it is left.
          stageId: newStageId(),
          base,
          uses: usesNothing,
          manifest: typeOnly(stage.row?.manifest),
          conflicts: [],
          gen: stage.gen + 1,
        });
        stage.leaveRows();
      } else stage.remove(base);
      if (base === null) resetNewRoot(core);
    });
  } catch (error) {
    stage.restore(state);
    throw error;
  }
}

/** The directory of an artifact without versions is only in the stage, which stays for it. */
function resetNewRoot(core: TreeCore): void {
  const { root, stage, db } = core;
  root.nlink = 2;
  root.gen = stage.gen;
  db.inodes.put(stage.s, root);
}

/** A new collection stays one: what it is was said when it was made. */
function typeOnly(manifest: Manifest | null | undefined): Manifest | null {
  const type = manifest?.['type'];
  return type === undefined ? null : { type };
}
