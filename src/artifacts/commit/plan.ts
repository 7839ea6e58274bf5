import type { VersionTree } from '../../catalog/ports.js';
import type { ExtentMap } from '../../content/extent-map.js';
import type { UploadRequest, UploadResult } from '../../content/ports.js';
import { hasTooManyExtents } from '../../content/upload/upload-plan.js';
import { compareEntries, type Entry, type Ino, joinPath, rootIno, splitPath } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { LoopTurn } from '../../util/loop-turn.js';
import { chain, isPromise, type MaybePromise } from '../../util/maybe-promise.js';
import type { TreeChange, TreeChanges } from '../../workspace/trees.js';
import type { DirentReader } from '../stage-db/dirent-rows.js';
import type { InodeRow } from '../stage-db/inode-row.js';
import type { InodeReader } from '../stage-db/inode-rows.js';
import type { SealedRow } from '../stage-db/sealed-rows.js';
import { entryOfRow, isSameEntry, storedExtents } from './entries.js';
import { merged, type Placed, type Source } from './merged.js';
import { PathMap } from './path-map.js';

/** Staged rows as they were at one moment. */
export interface StageView {
  readonly s: number;
  readonly inodes: InodeReader;
  readonly dirents: DirentReader;
  readonly base: VersionTree | null;
}

/** What the working view has in one place: a staged inode, an entry of the base that is elsewhere there, or nothing. */
type After = StagedInode | Entry | Gone | null;

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

/** Nothing, where the base has this. */
class Gone {
  readonly before: Entry;

  constructor(before: Entry) {
    this.before = before;
  }
}

/** A directory of the base with all that is in it, shown somewhere else; but for these names of it, which are staged. */
interface Moved {
  readonly from: string;
  readonly to: string;
  readonly hidden: ReadonlySet<string>;
}

/**
 * The difference between the base version and a state of the stage, path by path.
 *
 * Staged names form a tree that hangs on the root, so one walk over it meets every change. A directory that shows the
 * base's directory of its own path differs from it only in its staged names. One that shows another (it was renamed)
 * or none (it is new) has nothing at its path but what is listed there.
 *
 * What is staged is held here. What moved or went with a directory, which may be a million files, is read from the base
 * when the changes are.
 */
export class CommitPlan {
  readonly #view: StageView;
  /** By path. */
  readonly #after = new PathMap<StagedInode | null>();
  readonly #moved: Moved[] = [];
  /** Directories of the base below which only is what `#after` and `#moved` say. */
  readonly #gone: string[] = [];
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
      const { dir, name } = splitPath(path);
      const before = await this.#baseAt(dir, name);
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
      places.push({ dir, name, request });
      if (this.#turn.isOver) await this.#turn.next();
    }
    return (await this.#turn.sorted(places, compareEntries)).map(({ request }) => request);
  }

  /** The changes, once all bytes are in the store. As many as others can use one by one are a list. */
  async changes(uploads: ReadonlyMap<Ino, UploadResult>): Promise<TreeChanges> {
    const list: TreeChange[] = [];
    for await (const page of this.#changePages(uploads)) {
      list.push(...page);
      if (list.length > limits.changesListedMax)
        return { [Symbol.asyncIterator]: () => this.#changePages(uploads) };
    }
    return list;
  }

  async *#changePages(uploads: ReadonlyMap<Ino, UploadResult>): AsyncGenerator<TreeChange[], void> {
    for await (const page of merged(this.#sources())) {
      const changes: TreeChange[] = [];
      for (const placed of page) {
        const found = this.#change(placed, uploads);
        const change = isPromise(found) ? await found : found;
        if (change !== undefined) changes.push(change);
        if (this.#turn.isOver) await this.#turn.next();
      }
      if (changes.length > 0) yield changes;
    }
  }

  /** What the working view has in each place that may differ from the base. */
  #sources(): Source<After>[] {
    const { base } = this.#view;
    const staged: Source<After> = { from: '', pages: () => this.#after.pages(this.#turn) };
    if (base === null) return [staged];
    const moved = this.#moved.map((each) => ({ from: each.to, pages: () => this.#movedPages(base, each) }));
    const gone = this.#gone.map((from) => ({ from, pages: () => gonePages(base, from) }));
    return [staged, ...moved, ...gone];
  }

  async *#movedPages(base: VersionTree, { from, to, hidden }: Moved): AsyncGenerator<Placed<After>[], void> {
    let last = { from, to, isHidden: false };
    for await (const page of base.walkPages(from)) {
      const shown: Placed<After>[] = [];
      for (const entry of page) {
        // One text for all that are in one directory.
        if (entry.dir !== last.from) {
          const below = entry.dir.slice(from.length);
          last = { from: entry.dir, to: to + below, isHidden: hidden.has(below.split('/', 2)[1] ?? '') };
        }
        if (last.isHidden || (entry.dir === from && hidden.has(entry.name))) continue;
        // Every name of these is in `#after`.
        if (!this.#hardLinked.has(entry.ino)) shown.push({ dir: last.to, name: entry.name, value: entry });
      }
      yield shown;
    }
  }

  /** undefined: what is there is what was there. */
  #change(
    { dir, name, value }: Placed<After>,
    uploads: ReadonlyMap<Ino, UploadResult>,
  ): MaybePromise<TreeChange | undefined> {
    if (value instanceof Gone) return { dir, name, before: value.before, after: null };
    return chain(this.#baseAt(dir, name), (found) => {
      const before = found ?? null;
      if (value === null) return before === null ? undefined : { dir, name, before, after: null };
      const after = value instanceof StagedInode ? entryOf(value, dir, name, uploads) : { ...value, dir };
      return before !== null && isSameEntry(before, after) ? undefined : { dir, name, before, after };
    });
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
      if (!isListed && row?.base !== childPath) await this.#removeBelow(path, name);
      if (row === null) {
        this.#after.set(path, name, null);
        continue;
      }
      this.#meet(childPath, row);
      if (row.kind === 'dir') await this.#visit(childPath, row, isListed);
    }
    if (shown !== null && base !== null) this.#moved.push({ from: shown, to: path, hidden });
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

  /** What the base has below this path is not there, as far as nothing else says so. */
  async #removeBelow(dir: string, name: string): Promise<void> {
    const before = this.#baseAt(dir, name);
    const entry = isPromise(before) ? await before : before;
    if (entry?.kind === 'dir') this.#gone.push(joinPath(dir, name));
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

  #baseAt(dir: string, name: string): MaybePromise<Entry | undefined> {
    const { base } = this.#view;
    if (base === null) return undefined;
    // Many names of one new directory: none of them is looked for.
    if (dir === this.#lastDir.dir) return this.#lastDir.isThere ? base.lookup(dir, name) : undefined;
    const { dir: above, name: last } = splitPath(dir);
    return chain(dir === '' ? base.root : base.lookup(above, last), (directory) => {
      const isThere = directory?.kind === 'dir';
      this.#lastDir = { dir, isThere };
      return isThere ? base.lookup(dir, name) : undefined;
    });
  }
}

async function* gonePages(base: VersionTree, from: string): AsyncGenerator<Placed<After>[], void> {
  for await (const page of base.walkPages(from))
    yield page.map((entry) => ({ dir: entry.dir, name: entry.name, value: new Gone(entry) }));
}

function entryOf(
  { row, map }: StagedInode,
  dir: string,
  name: string,
  uploads: ReadonlyMap<Ino, UploadResult>,
): Entry {
  return entryOfRow(row, dir, name, map === null ? undefined : contentOf(row, map, uploads));
}

function contentOf(
  row: InodeRow,
  map: ExtentMap,
  uploads: ReadonlyMap<Ino, UploadResult>,
): { extents: UploadResult['extents']; sha256: string | undefined } {
  const uploaded = uploads.get(row.ino);
  if (uploaded !== undefined) return { extents: uploaded.extents, sha256: uploaded.sha256 };
  return { extents: storedExtents(map, row.size), sha256: row.sha256 ?? undefined };
}
