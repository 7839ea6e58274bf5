import { LoopTurn } from '../util/loop-turn.js';
import { type Database, transaction } from '../util/sqlite.js';
import type { TreeChange } from '../workspace/trees.js';
import { encodeEntry } from './entry-row.js';
import { directoriesPerRange } from './schema.js';

const rowsCopiedAtOnce = 1000;

/** Makes the rows of a range from those of the one it was before a commit of a few changes. */
export class RangeCopier {
  readonly #db: Database;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database) {
    this.#db = db;
    this.#sql = prepare(db);
  }

  /** Every change is in a directory that the range has. */
  fits(range: number, changes: readonly TreeChange[]): boolean {
    return changes.every(({ dir }) => this.#sql.directory.get(range, dir) !== undefined);
  }

  /**
   * Copies `from` to `to`, which has no rows yet, and applies `changes`. Answers how many entries there are; 0 when a
   * directory has lost its last one, so that the directories would have to be numbered anew.
   */
  async copy(from: number, to: number, changes: readonly TreeChange[]): Promise<number> {
    this.#sql.directories.run(to, from);
    const turn = new LoopTurn();
    const [first, shift] = [from * directoriesPerRange, (to - from) * directoriesPerRange];
    for (let last = { bucket: first, name: '' }; ; ) {
      const { bucket, name } = last;
      const end = first + directoriesPerRange - 1;
      const { changes: copied } = this.#sql.entries.run(shift, bucket, name, end, rowsCopiedAtOnce);
      const reached = this.#sql.last.get(to * directoriesPerRange, (to + 1) * directoriesPerRange - 1);
      if (copied < rowsCopiedAtOnce || reached === undefined) break;
      last = { bucket: reached.bucket - shift, name: reached.name };
      if (turn.isOver) await turn.next();
    }
    return transaction(this.#db, () => this.#apply(to, changes));
  }

  #apply(range: number, changes: readonly TreeChange[]): number {
    const touched = new Set<number>();
    for (const { dir, name, after } of changes) {
      const bucket = range * directoriesPerRange + (this.#sql.directory.get(range, dir) ?? 0);
      if (after === null) this.#sql.remove.run(bucket, name);
      else this.#sql.put.run(bucket, name, encodeEntry(after));
      touched.add(bucket);
    }
    for (const bucket of touched) if (this.#sql.count.get(bucket, bucket) === 0) return 0;
    return this.#sql.count.get(range * directoriesPerRange, (range + 1) * directoriesPerRange - 1) ?? 0;
  }
}

function prepare(db: Database) {
  return {
    directory: db
      .prepare<[number, string], number>('SELECT directory FROM directories WHERE range = ? AND path = ?')
      .pluck(),
    directories: db.prepare<[number, number]>(
      'INSERT INTO directories SELECT ?, path, directory FROM directories WHERE range = ?',
    ),
    entries: db.prepare<[number, number, string, number, number]>(
      `INSERT INTO entries SELECT bucket + ?, name, body FROM entries
       WHERE (bucket, name) > (?, ?) AND bucket <= ? ORDER BY bucket, name LIMIT ?`,
    ),
    last: db.prepare<[number, number], { bucket: number; name: string }>(
      'SELECT bucket, name FROM entries WHERE bucket BETWEEN ? AND ? ORDER BY bucket DESC, name DESC LIMIT 1',
    ),
    put: db.prepare<[number, string, string]>('INSERT OR REPLACE INTO entries VALUES (?, ?, ?)'),
    remove: db.prepare<[number, string]>('DELETE FROM entries WHERE bucket = ? AND name = ?'),
    count: db
      .prepare<[number, number], number>('SELECT count(*) FROM entries WHERE bucket BETWEEN ? AND ?')
      .pluck(),
  };
}
