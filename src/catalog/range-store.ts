import { compareNames, type Entry } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { LoopTurn } from '../util/loop-turn.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { Mutex, Semaphore } from '../util/semaphore.js';
import { SharedWork } from '../util/shared-work.js';
import { type Database, transaction } from '../util/sqlite.js';
import type { RangeRef, TreeChange, TreeReader } from '../workspace/trees.js';
import { encodeEntry } from './entry-row.js';
import { RangeCopier } from './range-copy.js';
import { RangeReader } from './range-reader.js';
import { directoriesPerRange } from './schema.js';

/** A range whose rows are all in the catalog. */
export interface LoadedRange {
  readonly id: number;
  readonly sha256: string;
  readonly entries: number;
  /** Higher is later; orders eviction. */
  used: number;
}

/**
 * The ranges of trees in catalog.db, fetched when they are wanted. Reads of loaded ranges are synchronous; writing
 * and removing rows is cut into turns, so that requests are answered in between.
 *
 * INVARIANT: `#loaded` holds exactly the rows of `ranges` whose sha256 is not null, and their entries and directories
 * are complete. All other rows belong to the load that runs, or are being removed.
 * INVARIANT: `#entries` is the sum of entries of `#loaded`; above `entriesMax` only until the eviction that follows
 * the load, and with a single range.
 */
export class RangeStore {
  readonly reader: RangeReader;
  readonly #db: Database;
  readonly #source: TreeReader;
  readonly #entriesMax: number;
  readonly #failure: (error: unknown) => ArtifactError;
  readonly #loaded = new Map<string, LoadedRange>();
  readonly #loading = new SharedWork<void>();
  /** One writer at a time: two would take two turns out of each round of the event loop. */
  readonly #writer = new Mutex();
  readonly #fetches = new Semaphore(limits.catalogLoadsMax);
  readonly #sql: ReturnType<typeof prepare>;
  readonly #copier: RangeCopier;
  #background: Promise<void> = Promise.resolve();
  #entries = 0;
  #clock = 0;
  #closed = false;

  /** `failure` gives errors of SQLite their code. */
  constructor(
    db: Database,
    source: TreeReader,
    entriesMax: number,
    failure: (error: unknown) => ArtifactError,
  ) {
    this.#db = db;
    this.#failure = failure;
    this.#source = source;
    this.#entriesMax = entriesMax;
    this.#sql = prepare(db);
    this.#copier = new RangeCopier(db);
    this.reader = new RangeReader(db);
    for (const range of this.#sql.complete.all()) {
      this.#loaded.set(range.sha256, range);
      this.#entries += range.entries;
      this.#clock = Math.max(this.#clock, range.used);
    }
    // A process that died while writing or removing left rows that nobody can see.
    for (const { id } of this.#sql.incomplete.all()) this.#inBackground(() => this.#remove(id));
    this.#inBackground(() => this.#evict());
  }

  get entries(): number {
    return this.#entries;
  }

  get ranges(): number {
    return this.#loaded.size;
  }

  /** Calls `read` with the range: at once when it is loaded, otherwise when it was fetched. */
  with<T>(artifactId: string, ref: RangeRef, read: (range: LoadedRange) => T): MaybePromise<T> {
    const range = this.#loaded.get(ref.sha256);
    if (range === undefined) return this.#loadThen(artifactId, ref, read);
    range.used = ++this.#clock;
    return this.#read(range, read);
  }

  has(ref: RangeRef): boolean {
    return this.#loaded.has(ref.sha256);
  }

  /** Fetches a range that will probably be wanted, where it pushes out no other. Failures are left to who wants it. */
  prefetch(artifactId: string, ref: RangeRef): void {
    if (this.#loaded.has(ref.sha256) || this.#loading.size >= limits.catalogLoadsMax) return;
    if (this.#entries + ref.entries > this.#entriesMax) return;
    this.#load(artifactId, ref).catch(() => undefined);
  }

  /**
   * Makes a range from one that is loaded, of which it has `changes`: nothing is fetched, and nothing decoded. Where that
   * is not simple it stays to be fetched.
   */
  async derive(ref: RangeRef, base: RangeRef, changes: readonly TreeChange[]): Promise<void> {
    const from = this.#loaded.get(base.sha256);
    if (from === undefined || !this.#copier.fits(from.id, changes)) return;
    await this.#writer.run(async () => {
      // Others had the writer meanwhile.
      if (this.#closed || !this.#loaded.has(base.sha256) || this.#loaded.has(ref.sha256)) return;
      let id = 0;
      try {
        id = Number(this.#sql.insertRange.run(ref.entries).lastInsertRowid);
        const count = await this.#copier.copy(from.id, id, changes);
        this.#checkOpen();
        if (count === ref.entries) this.#publish(ref, id);
        else this.#inBackground(() => this.#remove(id));
      } catch {
        // A full disk, say: whoever wants the range fetches it, and is told.
        if (id !== 0 && !this.#closed) this.#inBackground(() => this.#remove(id));
      }
    });
    if (this.#entries > this.#entriesMax) this.#inBackground(() => this.#evict());
  }

  /** Resolves when nothing is being loaded or removed any more. */
  async settled(): Promise<void> {
    await this.#loading.settled();
    await this.#background;
  }

  /** Loads in flight reject with `Interrupted`. The database may be closed afterwards. */
  close(): void {
    this.#closed = true;
    transaction(this.#db, () => {
      for (const range of this.#loaded.values()) this.#sql.setUsed.run(range.used, range.id);
    });
  }

  async #loadThen<T>(artifactId: string, ref: RangeRef, read: (range: LoadedRange) => T): Promise<T> {
    for (;;) {
      await this.#load(artifactId, ref);
      // With a small limit another load may have pushed it out again before it was our turn.
      const range = this.#loaded.get(ref.sha256);
      if (range !== undefined) return this.#read(range, read);
    }
  }

  #read<T>(range: LoadedRange, read: (range: LoadedRange) => T): T {
    try {
      return read(range);
    } catch (error) {
      throw this.#failure(error);
    }
  }

  /** Everybody who wants the range shares one fetch. */
  #load(artifactId: string, ref: RangeRef): Promise<void> {
    return this.#loading.run(ref.sha256, () => this.#fetches.run(() => this.#fetch(artifactId, ref)));
  }

  async #fetch(artifactId: string, ref: RangeRef): Promise<void> {
    this.#checkOpen();
    const entries = await this.#source.range(artifactId, ref);
    if (entries.length !== ref.entries) throw corruptRange(ref, `holds ${entries.length} entries`);
    await this.#writer.run(() => (this.#loaded.has(ref.sha256) ? undefined : this.#write(ref, entries)));
    if (this.#entries > this.#entriesMax) this.#inBackground(() => this.#evict());
  }

  async #write(ref: RangeRef, entries: readonly Entry[]): Promise<void> {
    this.#checkOpen();
    const id = Number(this.#sql.insertRange.run(entries.length).lastInsertRowid);
    try {
      const cursor: WriteCursor = { next: 0, directory: 0 };
      const turn = new LoopTurn();
      while (cursor.next < entries.length) {
        this.#writeTurn(id, ref, entries, cursor, turn);
        await turn.next();
        this.#checkOpen();
      }
      this.#publish(ref, id);
    } catch (error) {
      if (!this.#closed) this.#inBackground(() => this.#remove(id));
      throw this.#failure(error);
    }
  }

  /** All rows of the range are there. */
  #publish(ref: RangeRef, id: number): void {
    const used = ++this.#clock;
    this.#sql.publish.run(ref.sha256, used, id);
    this.#loaded.set(ref.sha256, { id, sha256: ref.sha256, entries: ref.entries, used });
    this.#entries += ref.entries;
  }

  /** Writes entries in one transaction until the time of a turn is used up. */
  #writeTurn(
    id: number,
    ref: RangeRef,
    entries: readonly Entry[],
    cursor: WriteCursor,
    turn: LoopTurn,
  ): void {
    const base = id * directoriesPerRange;
    transaction(this.#db, () => {
      for (; cursor.next < entries.length; cursor.next++) {
        const entry = entries[cursor.next];
        if (entry === undefined || (cursor.next % 32 === 31 && turn.isOver)) break;
        this.#checkOrder(ref, entries[cursor.next - 1], entry);
        if (entries[cursor.next - 1]?.dir !== entry.dir) {
          this.#sql.insertDirectory.run(id, entry.dir, ++cursor.directory);
        }
        this.#sql.insertEntry.run(base + cursor.directory, entry.name, encodeEntry(entry));
      }
    });
  }

  #checkOrder(ref: RangeRef, before: Entry | undefined, entry: Entry): void {
    if (before === undefined) return;
    const order = compareNames(before.dir, entry.dir) || compareNames(before.name, entry.name);
    if (order >= 0) throw corruptRange(ref, `is out of order at '${entry.dir}/${entry.name}'`);
  }

  /** Drops the ranges used longest ago until the rest fits; the one used last always stays. */
  async #evict(): Promise<void> {
    if (this.#entries <= this.#entriesMax) return;
    const oldestFirst = [...this.#loaded.values()].sort((a, b) => a.used - b.used);
    for (const range of oldestFirst.slice(0, -1)) {
      if (this.#entries <= this.#entriesMax) return;
      this.#sql.hide.run(range.id);
      this.#loaded.delete(range.sha256);
      this.#entries -= range.entries;
      this.reader.forget(range.id);
      await this.#remove(range.id);
      if (this.#closed) return;
    }
  }

  async #remove(id: number): Promise<void> {
    const first = id * directoriesPerRange;
    const turn = new LoopTurn();
    while (!this.#closed) {
      const removed = this.#sql.removeEntries.run(first, first + directoriesPerRange - 1).changes;
      if (removed === 0) break;
      if (turn.isOver) await turn.next();
    }
    if (this.#closed) return;
    transaction(this.#db, () => {
      this.#sql.removeDirectories.run(id);
      this.#sql.removeRange.run(id);
    });
  }

  /**
   * Clean-up that nobody waits for. When it fails (disk full), the rows stay hidden and the next open tries again;
   * whoever writes next is told about the disk.
   */
  #inBackground(work: () => Promise<void>): void {
    this.#background = this.#background
      .then(() => this.#writer.run(async () => (this.#closed ? undefined : await work())))
      .catch(() => undefined);
  }

  #checkOpen(): void {
    if (this.#closed) throw new ArtifactError('Interrupted', 'the catalog was closed');
  }
}

interface WriteCursor {
  next: number;
  directory: number;
}

function corruptRange(ref: RangeRef, what: string): ArtifactError {
  return new ArtifactError('Corrupt', `tree object ${ref.object} at ${ref.offset} ${what}`, {
    object: ref.object,
    offset: ref.offset,
    hint: 'run artifactfs verify',
  });
}

function prepare(db: Database) {
  return {
    complete: db.prepare<[], LoadedRange>(
      'SELECT id, sha256, entries, used FROM ranges WHERE sha256 IS NOT NULL',
    ),
    incomplete: db.prepare<[], { id: number }>('SELECT id FROM ranges WHERE sha256 IS NULL'),
    insertRange: db.prepare<[number]>('INSERT INTO ranges (entries, used) VALUES (?, 0)'),
    publish: db.prepare<[string, number, number]>('UPDATE ranges SET sha256 = ?, used = ? WHERE id = ?'),
    hide: db.prepare<[number]>('UPDATE ranges SET sha256 = NULL WHERE id = ?'),
    setUsed: db.prepare<[number, number]>('UPDATE ranges SET used = ? WHERE id = ?'),
    removeRange: db.prepare<[number]>('DELETE FROM ranges WHERE id = ?'),
    insertDirectory: db.prepare<[number, string, number]>('INSERT INTO directories VALUES (?, ?, ?)'),
    removeDirectories: db.prepare<[number]>('DELETE FROM directories WHERE range = ?'),
    insertEntry: db.prepare<[number, string, string]>('INSERT INTO entries VALUES (?, ?, ?)'),
    removeEntries: db.prepare<[number, number]>('DELETE FROM entries WHERE bucket BETWEEN ? AND ? LIMIT 500'),
  };
}
