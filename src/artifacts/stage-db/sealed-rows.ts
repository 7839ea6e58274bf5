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
  /** The staging files its bytes were sent from. */
  readonly files: readonly number[];
}

interface Columns {
  ino: number;
  path: string;
  was: string | null;
  nlink: number;
  extents: string | null;
  sha256: string | null;
  files: string | null;
}

type Values = [number, number, string, string | null, number, string | null, string | null, string | null];

const rowsReadAtOnce = 500;

export class SealedRows {
  readonly #put: Statement<Values>;
  readonly #one: Statement<[number, number], Columns>;
  readonly #page: Statement<[number, number, number], Columns>;
  readonly #moved: Statement<[number, number, number], { ino: number; was: string; path: string }>;
  readonly #paths: Statement<[number], { path: string }>;
  readonly #delete: Statement<[number]>;

  constructor(db: Database) {
    this.#put = db.prepare(
      'INSERT OR REPLACE INTO sealed (s, ino, path, was, nlink, extents, sha256, files) VALUES (?, ?, ?, ?, ?, ?, ?, ?)',
    );
    this.#one = db.prepare('SELECT * FROM sealed WHERE s = ? AND ino = ?');
    this.#page = db.prepare('SELECT * FROM sealed WHERE s = ? AND ino >= ? ORDER BY ino LIMIT ?');
    this.#moved = db.prepare(
      'SELECT ino, was, path FROM sealed WHERE s = ? AND ino > ? AND was IS NOT NULL ORDER BY ino LIMIT ?',
    );
    this.#paths = db.prepare('SELECT path FROM sealed WHERE s = ?');
    this.#delete = db.prepare('DELETE FROM sealed WHERE s = ?');
  }

  put(s: number, row: SealedRow): void {
    const extents = row.extents === null ? null : JSON.stringify(row.extents);
    const files = row.files.length === 0 ? null : JSON.stringify(row.files);
    this.#put.run(s, row.ino, row.path, row.was, row.nlink, extents, row.sha256, files);
  }

  get(s: number, ino: Ino): SealedRow | undefined {
    const row = this.#one.get(s, ino);
    return row === undefined ? undefined : rowOf(row);
  }

  /**
   * Rows of those of `inos`, ascending, that have one. Read in order, a few at a time, however many have none: the rows
   * must not change meanwhile.
   */
  *of(s: number, inos: ArrayLike<Ino>): Iterable<SealedRow> {
    let next = 0;
    for (let wanted = inos[0]; wanted !== undefined; wanted = inos[next]) {
      const rows = this.#page.all(s, wanted, rowsReadAtOnce);
      for (const row of rows) {
        while ((inos[next] ?? Number.POSITIVE_INFINITY) < row.ino) next++;
        if (inos[next] === row.ino) yield rowOf(row);
      }
      if (rows.length < rowsReadAtOnce) return;
      const last = rows.at(-1)?.ino ?? 0;
      while ((inos[next] ?? Number.POSITIVE_INFINITY) <= last) next++;
    }
  }

  /** Where what had a place in the base is now. Read a few at a time: the rows must not change meanwhile. */
  *moved(s: number): Iterable<{ was: string; path: string }> {
    let after = -1;
    for (;;) {
      const rows = this.#moved.all(s, after, rowsReadAtOnce);
      yield* rows;
      if (rows.length < rowsReadAtOnce) return;
      after = rows.at(-1)?.ino ?? after;
    }
  }

  paths(s: number): Set<string> {
    return new Set(this.#paths.all(s).map(({ path }) => path));
  }

  deleteAll(s: number): void {
    this.#delete.run(s);
  }
}

function rowOf({ ino, path, was, nlink, sha256, ...row }: Columns): SealedRow {
  const extents = row.extents === null ? null : (JSON.parse(row.extents) as Extent[]);
  const files = row.files === null ? [] : (JSON.parse(row.files) as number[]);
  return { ino, path, was, nlink, extents, sha256, files };
}
