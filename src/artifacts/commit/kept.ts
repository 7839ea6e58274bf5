import { type Ino, rootIno } from '../../model/entry.js';
import type { StagedName } from '../stage-db/dirent-rows.js';
import type { TreeCore } from '../tree/tree-core.js';

/** What stays of a stage whose generations up to `sealed` were published. */
export interface Kept {
  /** Changed inodes and the directories that lead to a change; true when a staged name leads to the inode. */
  readonly inodes: ReadonlyMap<Ino, boolean>;
  readonly names: readonly Readonly<StagedName>[];
}

/** The time it takes is that of what stays, not of what was published. */
export function findKept(core: TreeCore, sealed: number): Kept {
  const { db, stage } = core;
  const { s } = stage;
  const changed = db.dirents.changedSince(s, sealed);
  const names = new Map(changed.map((each) => [keyOf(each), each]));
  const inodes = new Map<Ino, boolean>();
  let open = new Set([...db.inodes.changedSince(s, sealed), ...changed.map(({ parent }) => parent)]);
  while (open.size > 0) {
    for (const ino of open) inodes.set(ino, false);
    const leading = namesOf(core, [...open]);
    for (const each of leading) {
      names.set(keyOf(each), each);
      if (each.ino !== null) inodes.set(each.ino, true);
    }
    open = new Set(leading.map(({ parent }) => parent).filter((parent) => !inodes.has(parent)));
  }
  return { inodes, names: [...names.values()] };
}

const keyOf = ({ parent, name }: StagedName) => `${parent}/${name}`;

/** The staged names of inodes: of one that has a single name memory knows it. */
function namesOf(core: TreeCore, inos: readonly Ino[]): StagedName[] {
  const { db, stage, table } = core;
  const names: StagedName[] = [];
  const unknown: Ino[] = [];
  for (const ino of inos) {
    if (ino === rootIno) continue;
    const node = table.get(ino);
    const parent = node?.kind === 'dir' || node?.nlink === 1 ? node.parent : null;
    const row = parent === null ? undefined : db.dirents.get(stage.s, parent.ino, node?.name ?? '');
    if (parent === null || row?.ino !== ino) unknown.push(ino);
    else names.push({ ...row, parent: parent.ino });
  }
  if (unknown.length > 0) names.push(...db.dirents.namesOf(stage.s, unknown));
  return names;
}
