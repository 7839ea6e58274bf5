import type { VersionTree } from '../../catalog/ports.js';
import { ExtentMap } from '../../content/extent-map.js';
import { type Entry, type Ino, rootIno } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { newStageId } from '../../model/ids.js';
import { transaction } from '../../util/sqlite.js';
import type { InodeRow } from '../stage-db/inode-row.js';
import type { SealedRow } from '../stage-db/sealed-rows.js';
import type { StageBase } from '../stage-db/stage-rows.js';
import type { Node } from '../tree/node.js';
import { type Entries, rebaseNodes, withEntries } from '../tree/rebase-nodes.js';
import type { TreeCore } from '../tree/tree-core.js';
import { lateConflicts } from './late-conflicts.js';
import { Places } from './places.js';

export interface Published {
  readonly commitId: string;
  readonly base: StageBase;
  readonly tree: VersionTree;
  /** Others committed in between: the new version holds more than the sealed stage. */
  readonly rebased: boolean;
}

/**
 * After publication: the new version becomes the base, and of the stage stays what changed since the seal. What stays
 * means the same on top of the new base, so nothing that the user sees changes (but for what others committed).
 * One transaction, in one turn of the event loop with the nodes in memory.
 */
export async function retire(core: TreeCore, published: Published): Promise<void> {
  const { stage, db } = core;
  if (stage.sealed === null)
    throw new ArtifactError('Internal', 'a stage that is not sealed cannot be retired');
  const rows = db.sealed.all(stage.s);
  const places = new Places(rows);
  if (!published.rebased) {
    const kept = retireRows(core, published, rows, places, new Map());
    core.base = published.tree;
    for (const node of core.table.all()) {
      if (!takeKeptRow(core, node, kept)) takeSealed(node, rows.get(node.ino), places);
    }
    return;
  }
  const conflicts = await lateConflicts(core, published.tree, rows, places);
  const pathOf = (node: Node) => (node.hasName ? places.pathOf(node.ino, node.base) : undefined);
  await withEntries(core, published.tree, pathOf, (entries) => {
    const kept = retireRows(core, published, rows, places, entries, conflicts);
    core.base = published.tree;
    const paths = new Map(core.table.all().map((node) => [node, pathOf(node)]));
    for (const node of paths.keys()) takeKeptRow(core, node, kept);
    rebaseNodes(core, (node) => paths.get(node), entries);
  });
}

/** Inodes that stay staged, and whether a staged name leads to them. */
type Kept = ReadonlyMap<Ino, boolean>;

/** The transaction. Answers the inodes that stay staged. */
function retireRows(
  core: TreeCore,
  published: Published,
  rows: ReadonlyMap<Ino, SealedRow>,
  places: Places,
  entries: Entries,
  conflicts: readonly string[] = [],
): Kept {
  const { stage, db } = core;
  const { s } = stage;
  const sealed = stage.sealed ?? 0;
  const state = stage.save();
  let kept: Kept = new Map();
  try {
    transaction(db.db, () => {
      kept = keepChangedSince(core, sealed);
      for (const [ino, isNamed] of kept) {
        const base = places.pathOf(ino, db.inodes.get(s, ino)?.base ?? null);
        moveRow(core, { ino, isNamed, base }, rows.get(ino), sealed, entries);
      }
      db.sealed.deleteAll(s);
      db.forgetIntent(published.commitId);
      moveStage(core, published, kept, sealed, conflicts);
    });
  } catch (error) {
    stage.restore(state);
    throw error;
  }
  return kept;
}

/** Deletes what was sealed; answers the inodes that stay: changed ones, and the directories that lead to a change. */
function keepChangedSince(core: TreeCore, sealed: number): Kept {
  const { db, stage } = core;
  const { s } = stage;
  const kept = new Map<Ino, boolean>();
  const changed = db.inodes.changedSince(s, sealed);
  if (changed.length === 0 && !db.dirents.changedSince(s, sealed)) {
    db.inodes.deleteAll(s);
    db.dirents.deleteAll(s);
    return kept;
  }
  const dirents = db.dirents.all(s);
  const parents = new Map<Ino, Ino[]>();
  const open = changed;
  for (const { parent, ino, gen } of dirents) {
    if (ino !== null) parents.set(ino, [...(parents.get(ino) ?? []), parent]);
    if (gen > sealed) open.push(parent);
  }
  for (let ino = open.pop(); ino !== undefined; ino = open.pop()) {
    if (kept.has(ino)) continue;
    kept.set(ino, parents.has(ino));
    open.push(...(parents.get(ino) ?? []));
  }
  for (const { parent, name, ino, gen } of dirents) {
    if (gen <= sealed && (ino === null || !kept.has(ino))) db.dirents.delete(s, parent, name);
  }
  for (const { ino, logged } of db.inodes.numbers(s)) if (!kept.has(ino)) db.inodes.delete(s, ino, logged);
  return kept;
}

/** Puts a kept row on top of the new base. */
function moveRow(
  core: TreeCore,
  { ino, isNamed, base }: { ino: Ino; isNamed: boolean; base: string | null },
  sealedRow: SealedRow | undefined,
  sealed: number,
  entries: Entries,
): void {
  const { db, stage } = core;
  const row = db.inodes.get(stage.s, ino);
  if (row === undefined) return;
  const baseNlink = sealedRow?.nlink ?? row.base_nlink;
  // Without a staged name it is found by the base's: as one of those files of which any name may be unstaged.
  const isLoose = row.kind !== 'dir' && (baseNlink > 1 || !isNamed);
  if (isLoose) core.loose.add(ino);
  let moved: InodeRow = { ...row, base, base_nlink: isLoose ? Math.max(2, baseNlink) : baseNlink };
  // A directory that only leads to a change is as the new version has it.
  const entry = row.gen <= sealed && base !== null ? entries.get(base) : undefined;
  if (entry !== undefined) moved = { ...moved, ...attributesOf(entry) };
  db.inodes.putRow(stage.s, moved, contentOnNewBase(core, row, sealedRow, sealed));
}

/** The sealed bytes are in the store now; what was written since stays local. */
function contentOnNewBase(
  core: TreeCore,
  row: InodeRow,
  sealedRow: SealedRow | undefined,
  sealed: number,
): { map: ExtentMap; file: number; sha256: string | null } | null {
  if (row.kind !== 'file') return null;
  const map = core.db.inodes.extents(core.stage.s, row);
  const file = row.file_gen > sealed ? row.file : 0;
  if (sealedRow?.extents == null) return { map, file, sha256: row.sha256 };
  const stored = ExtentMap.fromEntryExtents(sealedRow.extents);
  if (row.content_gen <= sealed) return { map: stored, file, sha256: sealedRow.sha256 };
  for (const { start, length, source } of [...map]) {
    if (source.type !== 'local' || !sealedRow.files.includes(source.file)) continue;
    map.punch(start, length);
    for (const piece of stored.pieces(start, length)) map.set(piece.start, piece.length, piece.source);
  }
  return { map, file, sha256: null };
}

function attributesOf(entry: Entry): Partial<InodeRow> {
  const atime = entry.atime ?? entry.mtime;
  return {
    mode: entry.mode,
    uid: entry.uid,
    gid: entry.gid,
    nlink: entry.nlink,
    mtime_s: entry.mtime.s,
    mtime_ns: entry.mtime.ns,
    ctime_s: entry.ctime.s,
    ctime_ns: entry.ctime.ns,
    atime_s: atime.s,
    atime_ns: atime.ns,
    atime_set: entry.atime === undefined ? 0 : 1,
    xattrs: entry.xattrs === undefined ? null : JSON.stringify(entry.xattrs),
  };
}

/** The next stage draws its own id: objects under the old one belong to the committed stage. */
function moveStage(
  core: TreeCore,
  published: Published,
  kept: Kept,
  sealed: number,
  conflicts: readonly string[],
): void {
  const { stage } = core;
  const { row } = stage;
  if (row === null) return;
  const keepsManifest = row.manifest !== null && row.manifestGen > sealed;
  if (kept.size === 0 && !keepsManifest && !row.isNew) {
    stage.remove(published.base);
    return;
  }
  stage.update({
    stageId: newStageId(),
    base: published.base,
    sealed: null,
    commitId: null,
    manifest: keepsManifest ? row.manifest : null,
    conflicts,
  });
}

/** True when the node is still staged, or has no name: then the new version says nothing of it. */
function takeKeptRow(core: TreeCore, node: Node, kept: Kept): boolean {
  if (!node.hasName) return true;
  if (!kept.has(node.ino)) {
    node.staged = false;
    return false;
  }
  const row = core.db.inodes.get(core.stage.s, node.ino);
  if (row === undefined) return false;
  node.takeRow(row, () => core.db.inodes.extents(core.stage.s, row));
  return true;
}

/** The node is now what the new version has: the same to look at, with its bytes in the store. */
function takeSealed(node: Node, sealedRow: SealedRow | undefined, places: Places): void {
  node.base = node.ino === rootIno ? '' : places.pathOf(node.ino, node.base);
  node.baseNlink = node.nlink;
  node.staged = false;
  node.file = 0;
  node.logged = 0;
  if (!node.atimeSet) node.atime = node.mtime;
  if (node.kind !== 'file' || sealedRow?.extents == null) return;
  node.map = ExtentMap.fromEntryExtents(sealedRow.extents);
  node.sha256 = sealedRow.sha256;
}
