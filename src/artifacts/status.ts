import { compareNames, type Entry, type Ino, joinPath, rootIno } from '../model/entry.js';
import { LoopTurn } from '../util/loop-turn.js';
import { isSameThing, isSameTime } from '../workspace/entry-compare.js';
import { entryOfRow, storedExtents } from './commit/entries.js';
import type { StageView } from './commit/plan.js';
import type { StagedPath } from './ports.js';
import type { InodeRow } from './stage-db/inode-row.js';

export interface StagedSummary {
  /** In path order, at most the limit. */
  readonly staged: readonly StagedPath[];
  readonly stagedCount: number;
  /** Sizes of added and changed files. */
  readonly stagedBytes: number;
  /** Bytes that are only in this machine. */
  readonly localBytes: number;
}

interface Visit {
  readonly path: string;
  readonly row: InodeRow;
}

/**
 * What is staged, as a user says it: a renamed directory is one line, however much is in it, and a removed one too.
 * Directories of which only names or times changed are left out. The artifact's own directory is `.`.
 */
export async function stagedSummary(view: StageView, limit: number): Promise<StagedSummary> {
  const root = view.inodes.get(view.s, rootIno);
  if (root === undefined) return { staged: [], stagedCount: 0, stagedBytes: 0, localBytes: 0 };
  const scan = new StatusScan(view);
  await scan.run({ path: '', row: root });
  return scan.summary(limit);
}

class StatusScan {
  readonly #view: StageView;
  readonly #found: StagedPath[] = [];
  /** Base paths of what is somewhere else now: their old names are no removals. */
  readonly #movedFrom = new Set<string>();
  readonly #removed: { path: string; basePath: string; entry: Entry }[] = [];
  readonly #counted = new Set<Ino>();
  #stagedBytes = 0;
  #localBytes = 0;
  readonly #turn = new LoopTurn();

  constructor(view: StageView) {
    this.#view = view;
  }

  async run(root: Visit): Promise<void> {
    const before = this.#view.base?.root;
    if (before !== undefined && !this.#isSame(before, root.row))
      this.#found.push({ path: '.', change: 'changed', kind: 'dir', size: 0 });
    const open = [root];
    for (let visit = open.pop(); visit !== undefined; visit = open.pop()) {
      for (const { name, ino } of this.#view.dirents.each(this.#view.s, visit.row.ino)) {
        const row = ino === null ? undefined : this.#view.inodes.get(this.#view.s, ino);
        const path = joinPath(visit.path, name);
        const basePath = visit.row.base === null ? null : joinPath(visit.row.base, name);
        const before =
          basePath === null ? undefined : await this.#view.base?.lookup(visit.row.base ?? '', name);
        if (row !== undefined) {
          await this.#staged(path, basePath, before, row);
          if (row.kind === 'dir') open.push({ path, row });
        } else if (before !== undefined && basePath !== null) {
          this.#removed.push({ path, basePath, entry: before });
        }
        if (this.#turn.isOver) await this.#turn.next();
      }
    }
  }

  async summary(limit: number): Promise<StagedSummary> {
    await this.#turn.each(this.#removed, ({ path, basePath, entry }) => {
      if (!this.#movedFrom.has(basePath))
        this.#found.push({ path, change: 'removed', kind: entry.kind, size: entry.size });
    });
    const staged =
      limit === 0 ? [] : await this.#turn.sorted(this.#found, (a, b) => compareNames(a.path, b.path));
    return {
      staged: staged.slice(0, limit),
      stagedCount: this.#found.length,
      stagedBytes: this.#stagedBytes,
      localBytes: this.#localBytes,
    };
  }

  async #staged(
    path: string,
    basePath: string | null,
    before: Entry | undefined,
    row: InodeRow,
  ): Promise<void> {
    const { kind } = row;
    const size = kind === 'file' ? row.size : 0;
    if (row.base !== null && row.base !== basePath) {
      // A file that has several names keeps the old one.
      if (row.base_nlink === 1 || kind === 'dir') this.#movedFrom.add(row.base);
      this.#found.push({ path, change: 'renamed', kind, size, from: row.base });
    } else if (row.base === null) {
      const change = before === undefined || before.kind !== kind ? 'added' : 'changed';
      this.#found.push({ path, change, kind, size });
    } else {
      if (before !== undefined && this.#isSame(before, row)) return;
      this.#found.push({ path, change: 'changed', kind, size });
    }
    if (kind === 'file' && !this.#counted.has(row.ino)) {
      this.#counted.add(row.ino);
      this.#stagedBytes += size;
      this.#localBytes += this.#view.inodes.extents(this.#view.s, row).localBytes();
    }
  }

  #isSame(before: Entry, row: InodeRow): boolean {
    if (row.kind !== 'file') return isSameThing(before, entryOfRow(row, before.dir, before.name));
    const map = this.#view.inodes.extents(this.#view.s, row);
    if (map.hasLocal()) return false;
    const content = { extents: storedExtents(map, row.size), sha256: row.sha256 ?? undefined };
    const after = entryOfRow(row, before.dir, before.name, content);
    return isSameThing(before, after) && isSameTime(before.mtime, after.mtime);
  }
}
