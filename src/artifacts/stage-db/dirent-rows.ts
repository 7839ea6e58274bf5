import type { Ino } from '../../model/entry.js';
import type { Database, Statement } from '../../util/sqlite.js';

/** A staged name; ino null: the base version's name is removed. */
export interface DirentRow {
  name: string;
  ino: number | null;
  gen: number;
}

/** With the directory it is in. */
export interface StagedName extends DirentRow {
  parent: number;
}

const rowsReadAtOnce = 500;

/** Reads staged names; a snapshot has one over a connection of its own. */
export class DirentReader {
  readonly #one: Statement<[number, number, string], DirentRow>;
  readonly #after: Statement<[number, number, string, number], DirentRow>;

  constructor(db: Database) {
    this.#one = db.prepare('SELECT name, ino, gen FROM dirent WHERE s = ? AND parent = ? AND name = ?');
    this.#after = db.prepare(
      'SELECT name, ino, gen FROM dirent WHERE s = ? AND parent = ? AND name > ? ORDER BY name LIMIT ?',
    );
  }

  get(s: number, parent: Ino, name: string): DirentRow | undefined {
    return this.#one.get(s, parent, name);
  }

  /** In name order. */
  after(s: number, parent: Ino, after: string, limit: number): DirentRow[] {
    return this.#after.all(s, parent, after, limit);
  }

  /** In name order, read a few at a time: for a snapshot, which does not change meanwhile. */
  *each(s: number, parent: Ino): Iterable<DirentRow> {
    let after = '';
    for (;;) {
      const rows = this.after(s, parent, after, rowsReadAtOnce);
      yield* rows;
      if (rows.length < rowsReadAtOnce) return;
      after = rows.at(-1)?.name ?? '';
    }
  }
}

/** Writes staged names. Callers hold a transaction. */
export class DirentRows extends DirentReader {
  readonly #put: Statement<[number, number, string, number | null, number]>;
  readonly #delete: Statement<[number, number, string]>;
  readonly #deleteOf: Statement<[number, number]>;
  readonly #deleteAll: Statement<[number]>;
  readonly #child: Statement<[number, number], { ino: number }>;
  readonly #changedSince: Statement<[number, number], StagedName>;
  readonly #namesOf: Statement<[number, string], StagedName>;
  /** The name last found to have no row: to make a file it is looked up three times, by the kernel and by two layers. */
  #missing: { readonly s: number; readonly parent: Ino; readonly name: string } | null = null;

  constructor(db: Database) {
    super(db);
    this.#put = db.prepare(
      'INSERT OR REPLACE INTO dirent (s, parent, name, ino, gen) VALUES (?, ?, ?, ?, ?)',
    );
    this.#delete = db.prepare('DELETE FROM dirent WHERE s = ? AND parent = ? AND name = ?');
    this.#deleteOf = db.prepare('DELETE FROM dirent WHERE s = ? AND parent = ?');
    this.#deleteAll = db.prepare('DELETE FROM dirent WHERE s = ?');
    this.#child = db.prepare('SELECT ino FROM dirent WHERE s = ? AND parent = ? AND ino IS NOT NULL LIMIT 1');
    this.#changedSince = db.prepare('SELECT parent, name, ino, gen FROM dirent WHERE s = ? AND gen > ?');
    this.#namesOf = db.prepare(
      'SELECT parent, name, ino, gen FROM dirent WHERE s = ? AND ino IN (SELECT value FROM json_each(?))',
    );
  }

  override get(s: number, parent: Ino, name: string): DirentRow | undefined {
    const missing = this.#missing;
    if (missing?.name === name && missing.parent === parent && missing.s === s) return undefined;
    const row = super.get(s, parent, name);
    if (row === undefined) this.#missing = { s, parent, name };
    return row;
  }

  put(s: number, parent: Ino, name: string, ino: Ino | null, gen: number): void {
    this.#missing = null;
    this.#put.run(s, parent, name, ino, gen);
  }

  delete(s: number, parent: Ino, name: string): void {
    this.#delete.run(s, parent, name);
  }

  /** All staged names in a directory that is being removed. */
  deleteOf(s: number, parent: Ino): void {
    this.#deleteOf.run(s, parent);
  }

  deleteAll(s: number): void {
    this.#deleteAll.run(s);
  }

  hasChild(s: number, parent: Ino): boolean {
    return this.#child.get(s, parent) !== undefined;
  }

  changedSince(s: number, gen: number): StagedName[] {
    return this.#changedSince.all(s, gen);
  }

  /** The staged names of these inodes; looks through all names. */
  namesOf(s: number, inos: readonly Ino[]): StagedName[] {
    return this.#namesOf.all(s, JSON.stringify(inos));
  }
}
