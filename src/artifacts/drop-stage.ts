import type { Catalog, VersionTree } from '../catalog/ports.js';
import type { Ino } from '../model/entry.js';
import { transaction } from '../util/sqlite.js';
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
  return withEntries(core, next, pathInBase, (entries) => {
    // Something may have been staged, or another refresh have come, while entries were fetched.
    if (stage.exists || (stage.base?.seq ?? 0) >= base.seq) return false;
    stage.follow(base);
    core.base = next;
    rebaseNodes(core, pathInBase, entries);
    return true;
  });
}

/** The working view is the newest version again; open files without a name there go on reading what they have. */
export async function dropStage(tree: ArtifactTree, catalog: Catalog): Promise<void> {
  const { core, content } = tree;
  const { stage } = core;
  if (!stage.exists) return;
  // A new artifact that is not linked has its own first version at most.
  const base = latestBase(catalog, stage.artifactId);
  const next = base === null ? null : await catalog.tree(stage.artifactId, base.tree);
  await content.quiet(() =>
    withEntries(
      core,
      next,
      (node) => node.base,
      (entries) => {
        const nodes = new Map(core.table.all().map((node) => [node.ino, node]));
        const paths = new Map([...nodes.values()].map((node) => [node, node.base]));
        const files = stagedFiles(core);
        deleteRows(core, base);
        switchNodes(core, next, paths, entries);
        for (const [ino, numbers] of files) dropFiles(tree, ino, nodes.get(ino), numbers);
      },
    ),
  );
}

const pathInBase = (node: Node) => (node.hasName ? node.base : undefined);

function dropFiles(tree: ArtifactTree, ino: Ino, node: Node | undefined, files: readonly number[]): void {
  const { cleaner } = tree.content;
  if (node === undefined) cleaner.dropUnread(ino, files);
  // Without a name but held: the files go with the inode.
  else if (node.hasName || node.holds === 0) cleaner.drop(node, files);
}

/** Maps of nodes in memory are read while their rows are there: open files go on reading. */
function stagedFiles(core: TreeCore): (readonly [Ino, readonly number[]])[] {
  for (const node of core.table.all()) if (node.staged && node.kind === 'file') void node.map;
  return core.db.inodes.stagingFilesByInode(core.stage.s);
}

function deleteRows(core: TreeCore, base: StageBase | null): void {
  const { db, stage } = core;
  const state = stage.save();
  try {
    transaction(db.db, () => {
      db.inodes.deleteAll(stage.s);
      db.dirents.deleteAll(stage.s);
      db.sealed.deleteAll(stage.s);
      if (stage.isNew)
        stage.update({ base, manifest: typeOnly(stage.row?.manifest), conflicts: [], gen: stage.gen + 1 });
      else stage.remove(base);
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

function switchNodes(
  core: TreeCore,
  next: VersionTree | null,
  paths: ReadonlyMap<Node, string | null>,
  entries: Parameters<typeof rebaseNodes>[2],
): void {
  core.base = next;
  for (const node of paths.keys()) node.staged = next === null && node === core.root;
  rebaseNodes(core, (node) => paths.get(node) ?? null, entries);
}
