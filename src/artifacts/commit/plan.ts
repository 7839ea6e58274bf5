import type { VersionTree } from '../../catalog/ports.js';
import type { ExtentMap } from '../../content/extent-map.js';
import type { UploadRequest, UploadResult } from '../../content/ports.js';
import { hasTooManyExtents } from '../../content/upload-plan.js';
import { compareEntries, type Entry, type Ino, joinPath, rootIno, splitPath } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { LoopTurn } from '../../util/loop-turn.js';
import type { PathChange } from '../../workspace/trees.js';
import type { DirentReader } from '../stage-db/dirent-rows.js';
import type { InodeRow } from '../stage-db/inode-row.js';
import type { InodeReader } from '../stage-db/inode-rows.js';
import type { SealedRow } from '../stage-db/sealed-rows.js';
import { entryOfRow, isSameEntry, storedExtents } from './entries.js';

/** Staged rows as they were at one moment. */
export interface StageView {
  readonly s: number;
  readonly inodes: InodeReader;
  readonly dirents: DirentReader;
  readonly base: VersionTree | null;
}

/** What the working view has in one place: a staged inode, or an entry of the base that is elsewhere there. */
type After = { readonly row: InodeRow } | { readonly entry: Entry };

/**
 * The difference between the base version and a state of the stage, path by path.
 *
 * Staged names form a tree that hangs on the root, so one walk over it meets every change. A directory that shows the
 * base's directory of its own path differs from it only in its staged names. One that shows another (it was renamed)
 * or none (it is new) is listed in full, and what the base has at its path counts as gone unless listed.
 */
export class CommitPlan {
  readonly #view: StageView;
  /** By path; null: nothing is there. A path that is missing here is as in the base. */
  readonly #after = new Map<string, After | null>();
  /** Path of each staged inode, its first one if it has several. */
  readonly #staged = new Map<Ino, { path: string; row: InodeRow; map: ExtentMap | null }>();
  /** Staged directories that show a directory of the base: its path -> their path. */
  readonly #shown = new Map<string, string>();
  /** Staged files with several names in the base: some of their names may not be staged. */
  readonly #hardLinked: ReadonlyMap<Ino, InodeRow>;
  readonly #turn = new LoopTurn();

  private constructor(view: StageView) {
    this.#view = view;
    this.#hardLinked = new Map(view.inodes.hardLinked(view.s).map((row) => [row.ino, row]));
  }

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

  /** The changes in tree order, once all bytes are in the store. */
  async changes(uploads: ReadonlyMap<Ino, UploadResult>): Promise<PathChange[]> {
    const changes: PathChange[] = [];
    for (const [path, after] of this.#after) {
      if (path === '') continue;
      const { dir, name } = splitPath(path);
      const before = (await this.#before(path)) ?? null;
      const entry = after === null ? null : this.#entry(after, dir, name, uploads);
      if (this.#turn.isOver) await this.#turn.next();
      if (before === null && entry === null) continue;
      if (before !== null && entry !== null && isSameEntry(before, entry)) continue;
      changes.push({ dir, name, before, after: entry });
    }
    return this.#turn.sorted(changes, compareEntries);
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
        if (!this.#after.has(childPath)) this.#after.set(childPath, null);
        continue;
      }
      this.#meet(childPath, row);
      if (row.kind === 'dir') await this.#visit(childPath, row, isListed);
    }
    if (shown !== null && base !== null) await this.#listBase(base, shown, path, hidden);
  }

  #meet(path: string, row: InodeRow): void {
    this.#after.set(path, { row });
    if (this.#staged.has(row.ino)) return;
    const map = row.kind === 'file' ? this.#view.inodes.extents(this.#view.s, row) : null;
    this.#staged.set(row.ino, { path, row, map });
    if (row.kind === 'dir' && row.base !== null) this.#shown.set(row.base, path);
  }

  /** What the base has at and below `path` is not there, as far as nothing else says so. */
  async #removeBelow(path: string): Promise<void> {
    const { base } = this.#view;
    const entry = await this.#before(path);
    if (base === null || entry?.kind !== 'dir') return;
    for await (const below of base.walk(path)) {
      const belowPath = joinPath(below.dir, below.name);
      if (!this.#after.has(belowPath)) this.#after.set(belowPath, null);
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
        this.#meetEntry(joinPath(path, entry.name), entry);
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
    for await (const entry of base.walk(from)) {
      this.#meetEntry(joinPath(path + entry.dir.slice(from.length), entry.name), entry);
      if (this.#turn.isOver) await this.#turn.next();
    }
  }

  #meetEntry(path: string, entry: Entry): void {
    const row = this.#hardLinked.get(entry.ino);
    if (row !== undefined) this.#meet(path, row);
    else this.#after.set(path, { entry });
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
    return base.lookup(dir, name);
  }

  #entry(after: After, dir: string, name: string, uploads: ReadonlyMap<Ino, UploadResult>): Entry {
    if ('entry' in after) return { ...after.entry, dir, name };
    const { row } = after;
    const map = this.#staged.get(row.ino)?.map ?? null;
    return entryOfRow(row, dir, name, map === null ? undefined : contentOf(row, map, uploads));
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
