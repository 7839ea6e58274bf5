import type { WorkspaceArtifact } from '../../../src/artifacts/artifact.js';
import { CommitPlan } from '../../../src/artifacts/commit/plan.js';
import { applied, walkAll } from '../../../src/artifacts/diff.js';
import type { Artifact } from '../../../src/artifacts/ports.js';
import type { InodeRow } from '../../../src/artifacts/stage-db/inode-row.js';
import { Stage } from '../../../src/artifacts/tree/stage.js';
import type { TreeCore } from '../../../src/artifacts/tree/tree-core.js';
import { ArtifactTree } from '../../../src/artifacts/tree/working-tree.js';
import { type Entry, type Ino, rootIno } from '../../../src/model/entry.js';
import { linesOfEntries } from './observe.js';

const coreOf = (artifact: Artifact): TreeCore => (artifact as WorkspaceArtifact).tree.core;

/** Nothing that nobody holds is in memory any more. */
export const forgetIdle = (artifact: Artifact): void => coreOf(artifact).table.clearIdle();

/** Paths of what is in memory because somebody holds it. */
export function nodesInUse(artifact: Artifact): string[] {
  const core = coreOf(artifact);
  core.table.clearIdle();
  return core.table.all().map((node) => core.pathOf(node));
}

/** Sends all small files that are in memory, as if each was closed long ago. */
export function sendAhead(artifact: Artifact): Promise<void> {
  const { core, content } = (artifact as WorkspaceArtifact).tree;
  for (const node of core.table.all()) content.settled.closed(node);
  return content.settled.offer(0, 1);
}

/** The working view as the next daemon would find it: by the base and the rows of stage.db only. */
export function asAfterRestart(artifact: Artifact): { tree: ArtifactTree } {
  const { db, stage, base, staging, uploader, reader, clock } = coreOf(artifact);
  const anew = new Stage(db, artifact.id, stage.base, stage.place);
  return { tree: new ArtifactTree({ db, stage: anew, base, staging, uploader, reader, clock }) };
}

/** What a commit would publish now, in the words of the model, but for bytes of files. */
export async function describePlanned(artifact: Artifact): Promise<string[]> {
  const { db, stage, base } = coreOf(artifact);
  const { inodes, dirents } = db;
  const plan = await CommitPlan.make({ s: stage.s, inodes, dirents, base });
  const uploads = new Map((await plan.requests()).map(({ ino }) => [ino, { ino, extents: [] }]));
  const root = plan.root() ?? base?.root;
  const entries: Entry[] = root === undefined ? [] : [root];
  for await (const entry of applied(walkAll(base), await plan.changes(uploads))) entries.push(entry);
  return linesOfEntries(entries, async () => '');
}

/**
 * Throws when rows of stage.db do not hang together, or nodes in memory are not what the rows say: what is staged must be
 * found by names, by who commits and by the next daemon.
 */
export function checkStage(artifact: Artifact): void {
  const core = coreOf(artifact);
  const { s } = core.stage;
  const rows = new Map<Ino, InodeRow>();
  for (const row of core.db.db.prepare<[number], InodeRow>('SELECT * FROM inode WHERE s = ?').all(s))
    rows.set(row.ino, row);
  const linked = checkNames(core, rows);
  for (const row of rows.values()) {
    const isLoose = row.kind !== 'dir' && row.base !== null && row.base_nlink > 1;
    if (isLoose && !core.loose.has(row.ino)) throw new Error(`inode ${row.ino} is not among the loose ones`);
    if (!linked.has(row.ino) && !isLoose) throw new Error(`no staged name leads to inode ${row.ino}`);
  }
  for (const node of core.table.all()) {
    const row = rows.get(node.ino);
    if (node.staged !== (row !== undefined))
      throw new Error(`inode ${node.ino} ('${core.pathOf(node)}') ${row ? 'has' : 'has no'} row`);
    if (row === undefined) continue;
    const seen = [node.kind, node.nlink, node.size, node.gen, node.base, node.baseNlink, node.mode];
    const stored = [row.kind, row.nlink, row.size, row.gen, row.base, row.base_nlink, row.mode];
    if (JSON.stringify(seen) !== JSON.stringify(stored))
      throw new Error(`inode ${node.ino} is ${JSON.stringify(seen)}, its row says ${JSON.stringify(stored)}`);
    if (JSON.stringify(node.map.toJSON()) !== JSON.stringify(core.db.inodes.extents(s, row).toJSON()))
      throw new Error(`inode ${node.ino} has bytes elsewhere than its row says`);
  }
}

interface NameRow {
  readonly parent: Ino;
  readonly name: string;
  readonly ino: Ino | null;
}

/** Answers the inodes that staged names lead to from the root on. */
function checkNames(core: TreeCore, rows: ReadonlyMap<Ino, InodeRow>): Set<Ino> {
  const names = core.db.db
    .prepare<[number], NameRow>('SELECT parent, name, ino FROM dirent WHERE s = ?')
    .all(core.stage.s);
  for (const { parent, name, ino } of names) {
    if (rows.get(parent)?.kind !== 'dir') throw new Error(`'${name}' is in no staged directory ${parent}`);
    if (ino !== null && !rows.has(ino)) throw new Error(`'${name}' in ${parent} leads to no inode ${ino}`);
  }
  const linked = new Set<Ino>(rows.has(rootIno) ? [rootIno] : []);
  for (const from of linked)
    for (const { parent, ino } of names) if (parent === from && ino !== null) linked.add(ino);
  return linked;
}
