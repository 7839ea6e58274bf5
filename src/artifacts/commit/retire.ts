import type { VersionTree } from '../../catalog/ports.js';
import { ExtentMap } from '../../content/extent-map.js';
import { type Entry, type Ino, joinPath, rootIno } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { newStageId } from '../../model/ids.js';
import { transaction } from '../../util/sqlite.js';
import { type StageUses, usesNothing } from '../../workspace/commit-types.js';
import type { InodeRow } from '../stage-db/inode-row.js';
import type { SealedRow } from '../stage-db/sealed-rows.js';
import type { StageBase } from '../stage-db/stage-rows.js';
import type { Node } from '../tree/node.js';
import { type Entries, rebaseNodes, withEntries } from '../tree/rebase-nodes.js';
import type { TreeCore } from '../tree/tree-core.js';
import { GoneNames } from './gone-names.js';
import { findKept, type Kept } from './kept.js';
import { lateConflicts } from './late-conflicts.js';
import { findLost, type Lost, neededPaths, recountLinks, renumber, stageHidden } from './onto-others.js';
import { Places } from './places.js';
import { usesOf } from './uses.js';

export interface Published {
  readonly commitId: string;
  readonly base: StageBase;
  readonly tree: VersionTree;
  /** Others committed in between: the new version holds more than the sealed stage. */
  readonly rebased: boolean;
}

/** New numbers of inodes that stay staged, by their old ones. */
export type NewNumbers = ReadonlyMap<Ino, Ino>;

/**
 * After publication: the new version becomes the base, and of the stage stays what changed since the seal. What stays
 * means the same on top of the new base, so nothing that the user sees changes (but for what others committed).
 * One transaction, in one turn of the event loop with the nodes in memory.
 */
export async function retire(core: TreeCore, published: Published): Promise<NewNumbers> {
  const { stage, db } = core;
  const { sealed } = stage;
  if (sealed === null) throw new ArtifactError('Internal', 'a stage that is not sealed cannot be retired');
  const inos = core.table.all().map((node) => node.ino);
  const places = await Places.make(db.sealed, stage.s, inos);
  const gone = new GoneNames(published.tree);
  const work: Work = { core, published, sealed, s: stage.s, places, gone };
  return published.rebased ? retireOntoOthers(work) : retireAlone(work);
}

interface Work {
  readonly core: TreeCore;
  readonly published: Published;
  /** The last generation that was published. */
  readonly sealed: number;
  readonly s: number;
  readonly places: Places;
  readonly gone: GoneNames;
}

function retireAlone(work: Work): NewNumbers {
  const { core, published, places } = work;
  // Read while the rows are there.
  const sealed = core.table.all().map((node) => {
    return { node, row: places.row(node.ino), base: places.pathOf(node.ino, node.base) };
  });
  const { kept } = retireRows(work, null, []);
  core.base = published.tree;
  for (const { node, row, base } of sealed) {
    if (!takeKeptRow(core, node, node.ino, kept)) takeSealed(node, row, base);
    // Removed since the seal: a discard brings it back there.
    else if (!node.hasName) node.base = base;
  }
  return new Map();
}

async function retireOntoOthers(work: Work): Promise<NewNumbers> {
  const { core, published, sealed, places, gone } = work;
  const conflicts = await lateConflicts(core, published.tree, places);
  const pathOf = (node: Node) => (node.hasName ? places.pathOf(node.ino, node.base) : undefined);
  const more = () => neededPaths(core, findKept(core, sealed), places);
  return withEntries(
    core,
    published.tree,
    pathOf,
    (entries, paths) => {
      const { kept, lost, hidden } = retireRows(work, entries, conflicts);
      core.base = published.tree;
      const numbers = new Map([...lost].map(([ino, { ino: now }]) => [ino, now]));
      for (const node of paths.keys()) {
        if (!takeKeptRow(core, node, numbers.get(node.ino) ?? node.ino, kept))
          takeStoredBytes(node, places.row(node.ino));
      }
      rebaseNodes(core, paths, entries);
      for (const ino of hidden) takeHidden(core, ino);
      for (const node of paths.keys()) {
        const now = node.staged ? numbers.get(node.ino) : undefined;
        if (now !== undefined) core.table.renumber(node, now);
      }
      return numbers;
    },
    more,
    (entries) => gone.readMissing(core, findKept(core, sealed), places, entries),
  );
}

/** The transaction. `entries` of the new version when others' changes are in it. */
function retireRows(
  work: Work,
  entries: Entries | null,
  conflicts: readonly string[],
): { kept: Kept; lost: ReadonlyMap<Ino, Lost>; hidden: ReadonlySet<Ino> } {
  const { core, published, sealed, places } = work;
  const { stage, db } = core;
  const state = stage.save();
  const { row } = stage;
  const before = findKept(core, sealed);
  let kept = before;
  let lost: ReadonlyMap<Ino, Lost> = new Map();
  let hidden: ReadonlySet<Ino> = new Set();
  try {
    transaction(db.db, () => {
      if (entries !== null) lost = findLost(core, before, places, entries);
      kept = renumber(before, lost);
      const staged = stagedPaths(work, before);
      // What stays moves to a number of its own: to delete all the rest would hold up everything else.
      stage.leaveRows();
      for (const { parent, name, ino, gen } of kept.names) db.dirents.put(stage.s, parent, name, ino, gen);
      for (const ino of before.inodes.keys()) {
        const mine = lost.get(ino);
        if (mine !== undefined) moveLost(work, mine);
        else moveRow(work, ino, staged, entries);
      }
      if (entries !== null) {
        recountLinks(core, kept, entries, work.gone);
        hidden = stageHidden(core, kept, entries);
      }
      db.intents.remove(published.commitId);
      const paths = [...lost.values()].map(({ path }) => path);
      moveStage(core, published, kept, sealed, {
        conflicts: [...new Set([...conflicts, ...paths])].sort(),
        uses: entries === null || row === null ? usesNothing : usesOf(core, kept, entries, row),
      });
    });
  } catch (error) {
    stage.restore(state);
    throw error;
  }
  return { kept, lost, hidden };
}

/** Where in the new version the kept names are that lie in a directory of it. */
function stagedPaths({ core, s, places }: Work, kept: Kept): Set<string> {
  const { db } = core;
  const paths = new Set<string>();
  for (const { parent, name, ino } of kept.names) {
    const dir = ino === null ? null : places.pathOf(parent, db.inodes.get(s, parent)?.base ?? null);
    if (dir !== null) paths.add(joinPath(dir, name));
  }
  return paths;
}

/** Puts a kept row on top of the new base. */
function moveRow(
  { core, sealed, s, places }: Work,
  ino: Ino,
  staged: ReadonlySet<string>,
  entries: Entries | null,
): void {
  const { db, stage } = core;
  const row = db.inodes.get(s, ino);
  if (row === undefined) return;
  const sealedRow = places.row(ino);
  const base = places.pathOf(ino, row.base);
  const entry = base === null ? undefined : entries?.get(base);
  const baseNlink = entry?.nlink ?? sealedRow?.nlink ?? row.base_nlink;
  // Where its name in the base is not staged, it must be found as those are of which any name may be unstaged.
  const isLoose = row.kind !== 'dir' && base !== null && (baseNlink > 1 || !staged.has(base));
  if (isLoose) core.loose.add(ino);
  let moved: InodeRow = { ...row, base, base_nlink: isLoose ? Math.max(2, baseNlink) : baseNlink };
  // A directory that only leads to a change is as the new version has it.
  if (row.gen <= sealed && entry !== undefined) moved = { ...moved, ...attributesOf(entry) };
  const map = row.kind === 'file' ? db.inodes.extents(s, row) : null;
  db.inodes.putRow(stage.s, moved, map === null ? null : contentOnNewBase(row, map, sealedRow, sealed));
}

/** A new inode under the old name, with all bytes that are here; or the directory that is there now. */
function moveLost({ core, s, sealed }: Work, { row, path, ino, directory }: Lost): void {
  const { db, stage } = core;
  const map = row.kind === 'file' ? db.inodes.extents(s, row) : null;
  const base = directory === null ? null : path;
  let moved: InodeRow = { ...row, ino, base, base_nlink: directory?.nlink ?? 0, logged: 0, gen: stage.gen };
  if (directory !== null && row.gen <= sealed) moved = { ...moved, ...attributesOf(directory) };
  if (map !== null) moved.content_gen = stage.gen;
  db.inodes.putRow(stage.s, moved, map === null ? null : { map, file: row.file, sha256: row.sha256 });
}

/** The sealed bytes are in the store now; what was written since stays local. */
function contentOnNewBase(
  row: InodeRow,
  map: ExtentMap,
  sealedRow: SealedRow | undefined,
  sealed: number,
): { map: ExtentMap; file: number; sha256: string | null } {
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
  facts: { conflicts: readonly string[]; uses: StageUses },
): void {
  const { stage } = core;
  const { row } = stage;
  if (row === null) return;
  const keepsManifest = row.manifest !== null && row.manifestGen > sealed;
  if (kept.inodes.size === 0 && !keepsManifest && !row.isNew) {
    stage.remove(published.base);
    return;
  }
  stage.update({
    stageId: newStageId(),
    base: published.base,
    sealed: null,
    commitId: null,
    manifest: keepsManifest ? row.manifest : null,
    ...facts,
  });
}

/** True when the node is still staged, or has no name: then the new version says nothing of it. */
function takeKeptRow(core: TreeCore, node: Node, ino: Ino, kept: Kept): boolean {
  if (!node.hasName) return true;
  if (!kept.inodes.has(ino)) {
    node.staged = false;
    return false;
  }
  const { s } = core.stage;
  const row = core.db.inodes.get(s, ino);
  if (row === undefined) return false;
  node.takeRow(row, () => core.db.inodes.extents(s, row));
  return true;
}

/** A file of the new version that has become staged. */
function takeHidden(core: TreeCore, ino: Ino): void {
  const node = core.table.get(ino);
  const { s } = core.stage;
  const row = core.db.inodes.get(s, ino);
  if (node?.hasName && row !== undefined) node.takeRow(row, () => core.db.inodes.extents(s, row));
}

/** The node is now what the new version has: the same to look at, with its bytes in the store. */
function takeSealed(node: Node, sealedRow: SealedRow | undefined, base: string | null): void {
  node.base = node.ino === rootIno ? '' : base;
  node.baseNlink = node.nlink;
  node.staged = false;
  if (!node.atimeSet) node.atime = node.mtime;
  takeStoredBytes(node, sealedRow);
}

/** The staging files go. Who has a file open whose name others have taken reads on in the store. */
function takeStoredBytes(node: Node, sealedRow: SealedRow | undefined): void {
  node.file = 0;
  node.logged = 0;
  if (node.kind !== 'file' || sealedRow?.extents == null) return;
  node.takeExtents(sealedRow.extents);
  node.sha256 = sealedRow.sha256;
}
