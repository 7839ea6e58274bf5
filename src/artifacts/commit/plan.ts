import type { VersionTree } from '../../catalog/ports.js';
import type { ExtentMap } from '../../content/extent-map.js';
import type { UploadRequest, UploadResult } from '../../content/ports.js';
import { hasTooManyExtents } from '../../content/upload-plan.js';
import { compareEntries, type Entry, type Ino, joinPath, rootIno, splitPath } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { LoopTurn } from '../../util/loop-turn.js';
import type { TreeChange } from '../../workspace/trees.js';
import type { DirentReader } from '../stage-db/dirent-rows.js';
import type { InodeRow } from '../stage-db/inode-row.js';
import type { InodeReader } from '../stage-db/inode-rows.js';
import type { SealedRow } from '../stage-db/sealed-rows.js';
import { entryOfRow, isSameEntry, storedExtents } from './entries.js';
import { PathMap } from './path-map.js';

/** Staged rows as they were at one moment. */
export interface StageView {
  readonly s: number;
  readonly inodes: InodeReader;
  readonly dirents: DirentReader;
  readonly base: VersionTree | null;
  /** Removed entries are in the changes: a comparison shows them, a commit does not need them. */
  readonly showsRemoved?: boolean;
}

/** What the working view has in one place: a staged inode, an entry of the base that is elsewhere there, or nothing. */
type After = StagedInode | Entry | Gone;

class StagedInode {
  /** Its first path if it has several. */
  readonly path: string;
  readonly row: InodeRow;
  readonly map: ExtentMap | null;

  constructor(path: string, row: InodeRow, map: ExtentMap | null) {
    this.path = path;
    this.row = row;
    this.map = map;
  }
}

/** An entry of the base that is not there any more; undefined: which one it was is not asked. */
class Gone {
  readonly before: Entry | undefined;

  constructor(before: Entry | undefined) {
    this.before = before;
  }
}

const gone = new Gone(undefined);

/** An entry of the base in another directory. What is published is made when it is asked for: there may be many. */
class Moved implements TreeChange {
  readonly dir: string;
  readonly entry: Entry;
  readonly before: Entry | null;

  constructor(dir: string, entry: Entry, before: Entry | null) {
    this.dir = dir;
    this.entry = entry;
    this.before = before;
  }

  get name(): string {
    return this.entry.name;
  }
  get after(): Entry {
    return { ...this.entry, dir: this.dir };
  }
}

/**
 * The difference between the base version and a state of the stage, path by path.
 *
 * Staged names form a tree that hangs on the root, so one walk over it meets every change. A directory that shows the
 * base's directory of its own path differs from it only in its staged names. One that shows another (it was renamed)
 * or none (it is new) is listed in full, and what the base has at its path counts as gone unless listed.
 */
export class CommitPlan {
  readonly #view: StageView;
  /** By path. A path that is missing here is as in the base. */
  readonly #after = new PathMap<After>();
  readonly #staged = new Map<Ino, StagedInode>();
  /** The directory last looked for in the base, and whether it is there. */
  #lastDir = { dir: '', isThere: true };
  /** Staged directories that show a directory of the base: its path -> their path. */
  readonly #shown = new Map<string, string>();
  /** Staged files with several names in the base: some of their names may not be staged. */
  readonly #hardLinked: ReadonlyMap<Ino, InodeRow>;
  readonly #turn = new LoopTurn();

  private constructor(view: StageView) {
    this.#view = view;
    this.#hardLinked = new Map(view.inodes.hardLinked(view.s).map((row) => [row.ino, row]));
  }

  /** Everything that it needs of the staged rows is read here. */
  static async make(view: StageView): Promise<CommitPlan> {
    const plan = new CommitPlan(view);
    const root = view.inodes.get(view.s, rootIno);
    if (root !== undefined) {
      plan.#meet('', root);
      await plan.#visit('', root, false);
    }
    if (plan.#hardLinked.size > 0) await plan.#visitUnstagedLinks();
    return plan;
  }

  /** Files that have bytes which are only here, in path order. */
  async requests(): Promise<UploadRequest[]> {
    const places: { dir: string; name: string; request: UploadRequest }[] = [];
    for (const { path, row, map } of this.#staged.values()) {
      if (map === null) continue;
      const extents = map.pieces(0, row.size);
      if (!map.hasLocal() && !hasTooManyExtents(extents, row.size)) continue;
      const before = await this.#before(path);
      const request: UploadRequest = {
        ino: row.ino,
        path,
        size: row.size,
        extents,
        ...(before?.kind === 'file'
          ? {
              base: {
                size: before.size,
                extents: before.extents ?? [],
                ...(before.sha256 === undefined ? {} : { sha256: before.sha256 }),
              },
            }
          : {}),
      };
      places.push({ ...splitPath(path), request });
      if (this.#turn.isOver) await this.#turn.next();
    }
    return (await this.#turn.sorted(places, compareEntries)).map(({ request }) => request);
  }

  /** The changes in tree order, once all bytes are in the store. Only once: what they are made of is let go. */
  async changes(uploads: ReadonlyMap<Ino, UploadResult>): Promise<TreeChange[]> {
    const changes: TreeChange[] = [];
    for await (const { dir, name, value } of this.#after.drain(this.#turn)) {
      const change = await this.#change(dir, name, value, uploads);
      if (change !== undefined) changes.push(change);
      if (this.#turn.isOver) await this.#turn.next();
    }
    return changes;
  }

  /** undefined: what is there is what was there. */
  async #change(
    dir: string,
    name: string,
    after: After,
    uploads: ReadonlyMap<Ino, UploadResult>,
  ): Promise<TreeChange | undefined> {
    if (after instanceof Gone) return { dir, name, before: after.before, after: null };
    const before = (await this.#baseAt(dir, name)) ?? null;
    if (!(after instanceof StagedInode))
      return before !== null && isSameEntry(before, after) ? undefined : new Moved(dir, after, before);
    const { row, map } = after;
    const entry = entryOfRow(row, dir, name, map === null ? undefined : contentOf(row, map, uploads));
    return before !== null && isSameEntry(before, entry) ? undefined : { dir, name, before, after: entry };
  }

  /** The artifact's own directory, when it is not as in the base. */
  root(): Entry | undefined {
    const root = this.#staged.get(rootIno);
    if (root === undefined) return undefined;
    const entry = entryOfRow(root.row, '', '');
    const { base } = this.#view;
    return base !== null && isSameEntry(base.root, entry) ? undefined : entry;
  }

  *sealed(uploads: ReadonlyMap<Ino, UploadResult>): Iterable<SealedRow> {
    for (const { path, row, map } of this.#staged.values()) {
      const content = map === null ? null : contentOf(row, map, uploads);
      yield {
        ino: row.ino,
        path,
        was: row.base,
        nlink: row.nlink,
        extents: content?.extents ?? null,
        sha256: content?.sha256 ?? null,
        files: map?.localFiles() ?? [],
      };
    }
  }

  /** The staging files that the sealed files are made of, by inode. */
  *localFiles(): Iterable<readonly [Ino, readonly number[]]> {
    for (const { row, map } of this.#staged.values()) if (map?.hasLocal()) yield [row.ino, map.localFiles()];
  }

  /** `isMoved`: a directory above is not where the base has it, so nothing here is as in the base. */
  async #visit(path: string, directory: InodeRow, isMoved: boolean): Promise<void> {
    const { s, inodes, dirents, base } = this.#view;
    const isListed = isMoved || directory.base !== path;
    const shown = isListed ? directory.base : null;
    const hidden = new Set<string>();
    for (const { name, ino } of dirents.each(s, directory.ino)) {
      if (this.#turn.isOver) await this.#turn.next();
      if (shown !== null) hidden.add(name);
      const childPath = joinPath(path, name);
      const row = ino === null ? null : inodes.get(s, ino);
      if (row === undefined) throw new ArtifactError('Corrupt', `stage.db: no inode ${ino} for ${childPath}`);
      if (!isListed && row?.base !== childPath) await this.#removeBelow(childPath);
      if (row === null) {
        const before = await this.#before(childPath);
        if (before !== undefined) this.#goes(before);
        continue;
      }
      this.#meet(childPath, row);
      if (row.kind === 'dir') await this.#visit(childPath, row, isListed);
    }
    if (shown !== null && base !== null) await this.#listBase(base, shown, path, hidden);
  }

  #meet(path: string, row: InodeRow): void {
    let staged = this.#staged.get(row.ino);
    const isNew = staged === undefined;
    staged ??= new StagedInode(path, row, this.#extents(row));
    const { dir, name } = splitPath(path);
    if (path !== '') this.#after.set(dir, name, staged);
    if (!isNew) return;
    this.#staged.set(row.ino, staged);
    if (row.kind === 'dir' && row.base !== null) this.#shown.set(row.base, path);
  }

  #extents(row: InodeRow): ExtentMap | null {
    return row.kind === 'file' ? this.#view.inodes.extents(this.#view.s, row) : null;
  }

  #goes(before: Entry): void {
    const { dir, name } = before;
    if (this.#after.has(dir, name)) return;
    this.#after.set(dir, name, this.#view.showsRemoved === true ? new Gone(before) : gone);
  }

  /** What the base has at and below `path` is not there, as far as nothing else says so. */
  async #removeBelow(path: string): Promise<void> {
    const { base } = this.#view;
    const entry = await this.#before(path);
    if (base === null || entry?.kind !== 'dir') return;
    for await (const below of base.walk(path)) {
      this.#goes(below);
      if (this.#turn.isOver) await this.#turn.next();
    }
  }

  /** The base's directory `from` is shown at `path`; `hidden` names of it are staged. */
  async #listBase(base: VersionTree, from: string, path: string, hidden: ReadonlySet<string>): Promise<void> {
    let after: string | null = null;
    for (;;) {
      const entries: Entry[] = await base.list(from, after, listPage);
      for (const entry of entries) {
        if (hidden.has(entry.name)) continue;
        this.#meetEntry(path, entry);
        // Nothing is staged in a directory that is not staged itself.
        if (entry.kind === 'dir')
          await this.#walkBase(base, joinPath(from, entry.name), joinPath(path, entry.name));
      }
      if (entries.length < listPage) return;
      after = entries.at(-1)?.name ?? null;
      if (this.#turn.isOver) await this.#turn.next();
    }
  }

  async #walkBase(base: VersionTree, from: string, path: string): Promise<void> {
    let last = { from, to: path };
    for await (const entry of base.walk(from)) {
      // One text for all that are in one directory.
      if (entry.dir !== last.from) last = { from: entry.dir, to: path + entry.dir.slice(from.length) };
      this.#meetEntry(last.to, entry);
      if (this.#turn.isOver) await this.#turn.next();
    }
  }

  #meetEntry(dir: string, entry: Entry): void {
    const row = this.#hardLinked.get(entry.ino);
    if (row !== undefined) this.#meet(joinPath(dir, entry.name), row);
    else this.#after.set(dir, entry.name, entry);
  }

  /** Names of staged files that are not staged themselves are only found by looking through the whole base. */
  async #visitUnstagedLinks(): Promise<void> {
    const { base, s, dirents } = this.#view;
    if (base === null) return;
    for await (const entry of base.walk('')) {
      if (this.#turn.isOver) await this.#turn.next();
      const row = this.#hardLinked.get(entry.ino);
      if (row === undefined || entry.kind === 'dir') continue;
      const dir = await this.#shownAt(base, entry.dir);
      if (dir === null) continue;
      const path = joinPath(dir, entry.name);
      const parent = await this.#inoOfShown(base, entry.dir);
      if (dirents.get(s, parent, entry.name) === undefined) this.#meet(path, row);
    }
  }

  /** Where the base's directory is in this state; null: nowhere. */
  async #shownAt(base: VersionTree, dir: string): Promise<string | null> {
    const known = this.#shown.get(dir);
    if (known !== undefined) return known;
    if (dir === '') return '';
    const { dir: above, name } = splitPath(dir);
    const parent = await this.#shownAt(base, above);
    if (parent === null) return null;
    // A staged name hides it; were it this very directory, it would be among the staged ones.
    const hidden = this.#view.dirents.get(this.#view.s, await this.#inoOfShown(base, above), name);
    return hidden === undefined ? joinPath(parent, name) : null;
  }

  /** A directory of the base has the same number wherever it is. */
  async #inoOfShown(base: VersionTree, dir: string): Promise<Ino> {
    if (dir === '') return rootIno;
    const { dir: above, name } = splitPath(dir);
    return (await base.lookup(above, name))?.ino ?? 0;
  }

  async #before(path: string): Promise<Entry | undefined> {
    const { base } = this.#view;
    if (base === null || path === '') return base?.root;
    const { dir, name } = splitPath(path);
    return this.#baseAt(dir, name);
  }

  async #baseAt(dir: string, name: string): Promise<Entry | undefined> {
    const { base } = this.#view;
    if (base === null) return undefined;
    // Many names of one new directory: none of them is looked for.
    if (dir !== this.#lastDir.dir) {
      const { dir: above, name: last } = splitPath(dir);
      const isThere = dir === '' || (await base.lookup(above, last))?.kind === 'dir';
      this.#lastDir = { dir, isThere };
    }
    return this.#lastDir.isThere ? base.lookup(dir, name) : undefined;
  }
}

const listPage = 1000;

function contentOf(
  row: InodeRow,
  map: ExtentMap,
  uploads: ReadonlyMap<Ino, UploadResult>,
): { extents: UploadResult['extents']; sha256: string | undefined } {
  const uploaded = uploads.get(row.ino);
  if (uploaded !== undefined) return { extents: uploaded.extents, sha256: uploaded.sha256 };
  return { extents: storedExtents(map, row.size), sha256: row.sha256 ?? undefined };
}
