import type { VersionTree } from '../../catalog/ports.js';
import type { ContentReader, Staging, Uploader } from '../../content/ports.js';
import { type Clock, type Entry, type Ino, joinPath, rootIno } from '../../model/entry.js';
import { ArtifactError, isCode } from '../../model/errors.js';
import { crashPoint } from '../../util/crash-point.js';
import { isPromise, type MaybePromise } from '../../util/maybe-promise.js';
import { transaction } from '../../util/sqlite.js';
import type { CreateInit } from '../ports.js';
import type { InodeRow } from '../stage-db/inode-row.js';
import type { StageDatabase } from '../stage-db/stage-database.js';
import { Change, type ChangeHost } from './change.js';
import { InodeTable } from './inode-table.js';
import { Node } from './node.js';
import type { Stage } from './stage.js';

export interface TreeParts {
  readonly db: StageDatabase;
  readonly stage: Stage;
  readonly base: VersionTree | null;
  readonly staging: Staging;
  readonly uploader: Uploader;
  readonly reader: ContentReader;
  readonly clock: Clock;
  /** Owner and mode of the root of an artifact without versions. */
  readonly newRoot?: CreateInit;
}

/** Bound on how often an operation waits for ranges of the base that leave memory again before it runs. */
const fetchRoundsMax = 100;

/**
 * The state that all operations of one working view share: names of the base version overlaid by staged ones,
 * inodes in memory, and the way to change them. Names are settled asynchronously where the base must be fetched; a
 * change itself runs in one turn of the event loop, so nothing can come between its checks and its transaction.
 */
export class TreeCore implements ChangeHost {
  readonly db: StageDatabase;
  readonly stage: Stage;
  readonly table = new InodeTable();
  readonly staging: Staging;
  readonly uploader: Uploader;
  readonly reader: ContentReader;
  readonly clock: Clock;
  readonly root: Node;
  /** Replaced, with `stage.base`, by `switchBase` only. */
  base: VersionTree | null;
  /** Staged files that may have names which are not staged: of several names in the base any may be staged, or none. */
  readonly loose = new Set<Ino>();
  /** INVARIANT: the nodes with `openForWriting` above 0. */
  readonly writers = new Set<Node>();
  /** Failures of changes for which the disk had no room. */
  readonly #refused = new WeakSet<object>();
  /** Called with an inode that has no name and no holder left. */
  dispose: (node: Node) => void = () => {};

  constructor(parts: TreeParts) {
    this.db = parts.db;
    this.stage = parts.stage;
    this.base = parts.base;
    this.staging = parts.staging;
    this.uploader = parts.uploader;
    this.reader = parts.reader;
    this.clock = parts.clock;
    for (const { ino } of this.stage.exists ? this.db.inodes.hardLinked(this.stage.s) : [])
      this.loose.add(ino);
    this.root = this.#loadRoot(parts);
    this.table.hold(this.root);
    this.table.add(this.root);
  }

  /**
   * Answers `operation`, as soon as changes are admitted. When the disk has no room for a change of it, it runs once more after the
   * log, cached blocks and removed files have given up theirs: nothing that it waits for may wait for it.
   */
  changing<T>(operation: () => MaybePromise<T>): MaybePromise<T> {
    const admitted = this.db.admitChange();
    return isPromise(admitted) ? this.#changingLater(admitted, operation) : this.#withRoom(operation);
  }

  async #changingLater<T>(admitted: Promise<void>, operation: () => MaybePromise<T>): Promise<T> {
    await admitted;
    return await this.#withRoom(operation);
  }

  #withRoom<T>(operation: () => MaybePromise<T>): MaybePromise<T> {
    const again = (error: unknown): Promise<T> => {
      if (error instanceof ArtifactError && this.#refused.has(error)) return this.#againWithRoom(operation);
      throw error;
    };
    try {
      const done = operation();
      return isPromise(done) ? done.catch(again) : done;
    } catch (error) {
      return again(error);
    }
  }

  async #againWithRoom<T>(operation: () => MaybePromise<T>): Promise<T> {
    await this.db.emptyLog();
    return this.staging.reclaimable ? this.staging.reclaimRows(operation) : operation();
  }

  /** Runs `body` as one transaction over stage.db and the nodes in memory. Throws `NoSpace` while the disk has room for what frees some. */
  change(body: (change: Change) => void): void {
    this.#change(body, false);
  }

  /** The same for a change that frees space: a full disk is what it is there for. */
  changeToFree(body: (change: Change) => void): void {
    try {
      this.#change(body, true);
    } catch (error) {
      if (!isCode(error, 'NoSpace')) throw error;
      this.db.emptyLogNow();
      this.#change(body, true);
    }
  }

  #change(body: (change: Change) => void, frees: boolean): void {
    const change = new Change(this);
    try {
      if (!frees) this.staging.admitRows();
      transaction(this.db.db, () => {
        this.stage.ensure(this.base?.inoPrefixes ?? []);
        body(change);
        change.store();
        crashPoint('stage-change-stored');
      });
      crashPoint('stage-change-committed');
    } catch (error) {
      change.undo();
      if (isCode(error, 'NoSpace')) this.#refused.add(error);
      throw error;
    }
    change.committed();
  }

  /** Answers `run` of what `look` finds; when the base has to be fetched first, looks again afterwards. */
  settled<L, T>(look: () => MaybePromise<L>, run: (found: L) => T, rounds = 0): MaybePromise<T> {
    const found = look();
    if (!isPromise(found)) return run(found);
    if (rounds >= fetchRoundsMax)
      throw new ArtifactError('Internal', 'the base version does not stay in memory');
    return found.then(() => this.settled(look, run, rounds + 1));
  }

  lookup(parent: Node, name: string): MaybePromise<Node | undefined> {
    const staged = this.#stagedName(parent, name);
    if (staged !== undefined) return staged ?? undefined;
    const entry = this.#baseName(parent, name);
    if (!isPromise(entry)) return entry === undefined ? undefined : this.nodeOfEntry(entry, parent);
    const { base } = this;
    const dir = parent.base;
    return entry.then((found) => {
      if (this.base !== base || parent.base !== dir || !parent.hasName) return this.lookup(parent, name);
      const stagedNow = this.#stagedName(parent, name);
      if (stagedNow !== undefined) return stagedNow ?? undefined;
      return found === undefined ? undefined : this.nodeOfEntry(found, parent);
    });
  }

  /** False only when the base version is known not to have the name there. */
  mayBeInBase(parent: Node, name: string): boolean {
    const entry = this.#baseName(parent, name);
    if (!isPromise(entry)) return entry !== undefined;
    entry.catch(() => {});
    return true;
  }

  /** The node of a base entry that is shown under its own name in `parent`. */
  nodeOfEntry(entry: Entry, parent: Node): Node {
    let node = this.#named(entry.ino);
    if (node === undefined) {
      const row = this.loose.has(entry.ino) ? this.#row(entry.ino) : undefined;
      node = row === undefined ? Node.fromEntry(entry) : this.#fromRow(row);
      this.table.locate(node, parent, entry.name);
      this.table.add(node);
    } else if (node.parent === null && node !== this.root) {
      this.table.locate(node, parent, entry.name);
    }
    return node;
  }

  /** The node of a staged name. */
  nodeOfRow(ino: Ino, parent: Node, name: string): Node {
    let node = this.#named(ino);
    if (node === undefined) {
      const row = this.#row(ino);
      if (row === undefined)
        throw new ArtifactError('Corrupt', `stage.db: no inode ${ino} for ${this.pathOf(parent, name)}`);
      node = this.#fromRow(row);
      this.table.locate(node, parent, name);
      this.table.add(node);
    } else if (node.parent === null && node !== this.root) {
      this.table.locate(node, parent, name);
    }
    return node;
  }

  /** Path inside the artifact, of the node or of a name in it; for messages and object names where none is known. */
  pathOf(node: Node, name = ''): string {
    let path = name;
    for (let at = node; at !== this.root; at = at.parent) {
      path = joinPath(at.name === '' ? `inode-${at.ino}` : at.name, path);
      if (at.parent === null) break;
    }
    return path;
  }

  reloadMap(node: Node): void {
    const { s } = this.stage;
    const row = this.#row(node.ino);
    if (row !== undefined) node.setMapLoader(() => this.db.inodes.extents(s, row));
  }

  retain(node: Node): void {
    this.table.hold(node);
  }

  release(node: Node): void {
    this.table.drop(node);
    this.disposeIfUnused(node);
  }

  disposeIfUnused(node: Node): void {
    if (node.nlink > 0 || node.holds > 0) return;
    this.table.remove(node);
    this.dispose(node);
  }

  /** A node that was removed, and that somebody holds, leaves the table when its number comes back with a version. */
  #named(ino: Ino): Node | undefined {
    const node = this.table.get(ino);
    if (node === undefined || node.hasName) return node;
    this.table.remove(node);
    this.disposeIfUnused(node);
    return undefined;
  }

  /** undefined: no staged name; null: staged as removed. */
  #stagedName(parent: Node, name: string): Node | null | undefined {
    if (!parent.staged) return undefined;
    const dirent = this.db.dirents.get(this.stage.s, parent.ino, name);
    if (dirent === undefined) return undefined;
    return dirent.ino === null ? null : this.nodeOfRow(dirent.ino, parent, name);
  }

  #baseName(parent: Node, name: string): MaybePromise<Entry | undefined> {
    if (parent.base === null || this.base === null || !parent.hasName) return undefined;
    return this.base.lookup(parent.base, name);
  }

  #row(ino: Ino): InodeRow | undefined {
    return this.stage.exists ? this.db.inodes.get(this.stage.s, ino) : undefined;
  }

  #fromRow(row: InodeRow): Node {
    const { s } = this.stage;
    return Node.fromRow(row, () => this.db.inodes.extents(s, row));
  }

  #loadRoot(parts: TreeParts): Node {
    const row = this.#row(rootIno);
    if (row !== undefined) return this.#fromRow(row);
    if (this.base !== null) return Node.fromEntry(this.base.root);
    const init = parts.newRoot ?? { kind: 'dir', mode: 0o755, ...ownerOfMount() };
    return Node.created(rootIno, init, this.clock());
  }
}

/** The root collection is nobody's work, so it belongs to whoever mounts it. */
function ownerOfMount(): { uid: number; gid: number } {
  return { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
}
