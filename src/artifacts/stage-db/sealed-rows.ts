import type { Extent, Ino } from '../../model/entry.js';
import type { Database, Statement } from '../../util/sqlite.js';

/** A staged inode as a commit publishes it. */
export interface SealedRow {
  readonly ino: Ino;
  /** In the new version. */
  readonly path: string;
  /** The base path it had in the stage: a directory's names below it move from there to `path`. */
  readonly was: string | null;
  readonly nlink: number;
  /** Of a file: where all its bytes are now. */
  readonly extents: readonly Extent[] | null;
  readonly sha256: string | null;
}

interface Columns {
  ino: number;
  path: string;
  was: string | null;
  nlink: number;
  extents: string | null;
  sha256: string | null;
}

export class SealedRows {
  readonly #put: Statement<[number, number, string, string | null, number, string | null, string | null]>;
  readonly #all: Statement<[number], Columns>;
  readonly #delete: Statement<[number]>;

  constructor(db: Database) {
    this.#put = db.prepare(
      'INSERT OR REPLACE INTO sealed (s, ino, path, was, nlink, extents, sha256) VALUES (?, ?, ?, ?, ?, ?, ?)',
    );
    this.#all = db.prepare('SELECT * FROM sealed WHERE s = ?');
    this.#delete = db.prepare('DELETE FROM sealed WHERE s = ?');
  }

  put(s: number, row: SealedRow): void {
    const extents = row.extents === null ? null : JSON.stringify(row.extents);
    this.#put.run(s, row.ino, row.path, row.was, row.nlink, extents, row.sha256);
  }

  all(s: number): Map<Ino, SealedRow> {
    const rows = new Map<Ino, SealedRow>();
    for (const row of this.#all.iterate(s)) {
      const extents = row.extents === null ? null : (JSON.parse(row.extents) as Extent[]);
      rows.set(row.ino, { ...row, extents });
    }
    return rows;
  }

  deleteAll(s: number): void {
    this.#delete.run(s);
  }
}
