import type { Ino } from '../../model/entry.js';
import type { TreeCore } from '../tree/tree-core.js';

interface KeptName {
  readonly parent: Ino;
  readonly name: string;
  readonly ino: Ino | null;
  readonly gen: number;
}

/** What stays of a stage whose generations up to `sealed` were published. */
export interface Kept {
  /** Changed inodes and the directories that lead to a change; true when a staged name leads to the inode. */
  readonly inodes: ReadonlyMap<Ino, boolean>;
  readonly names: readonly KeptName[];
}

const nothing: Kept = { inodes: new Map(), names: [] };

export function findKept(core: TreeCore, sealed: number): Kept {
  const { db, stage } = core;
  const { s } = stage;
  const open = db.inodes.changedSince(s, sealed);
  if (open.length === 0 && !db.dirents.changedSince(s, sealed)) return nothing;
  const all = db.dirents.all(s);
  const parents = new Map<Ino, Ino[]>();
  for (const { parent, ino, gen } of all) {
    if (gen > sealed) open.push(parent);
    if (ino === null) continue;
    const known = parents.get(ino);
    if (known === undefined) parents.set(ino, [parent]);
    else known.push(parent);
  }
  const inodes = new Map<Ino, boolean>();
  for (let ino = open.pop(); ino !== undefined; ino = open.pop()) {
    if (inodes.has(ino)) continue;
    inodes.set(ino, parents.has(ino));
    open.push(...(parents.get(ino) ?? []));
  }
  const names = all.filter(({ ino, gen }) => gen > sealed || (ino !== null && inodes.has(ino)));
  return { inodes, names };
}

/** Deletes all other rows of a stage of which something stays. Inside a transaction. */
export function deletePublished(core: TreeCore, kept: Kept): void {
  const { db, stage } = core;
  const { s } = stage;
  db.dirents.deleteAll(s);
  for (const { parent, name, ino, gen } of kept.names) db.dirents.put(s, parent, name, ino, gen);
  for (const { ino, logged } of db.inodes.numbers(s)) {
    if (!kept.inodes.has(ino)) db.inodes.delete(s, ino, logged);
  }
}
