import type { Database, Statement } from '../../util/sqlite.js';

/** A committed artifact that moves between collections: linked in the new one first, then unlinked in the old. */
export interface MoveRow {
  readonly artifactId: string;
  readonly fromId: string;
  readonly fromName: string;
  readonly toId: string;
  readonly toName: string;
}

export class MoveRows {
  readonly #put: Statement<[string, string, string, string, string]>;
  readonly #all: Statement<[], MoveRow>;
  readonly #delete: Statement<[string]>;

  constructor(db: Database) {
    this.#put = db.prepare(
      'INSERT OR REPLACE INTO move (artifact_id, from_id, from_name, to_id, to_name) VALUES (?, ?, ?, ?, ?)',
    );
    this.#all = db.prepare(
      `SELECT artifact_id AS artifactId, from_id AS fromId, from_name AS fromName, to_id AS toId, to_name AS toName
       FROM move`,
    );
    this.#delete = db.prepare('DELETE FROM move WHERE artifact_id = ?');
  }

  put(row: MoveRow): void {
    this.#put.run(row.artifactId, row.fromId, row.fromName, row.toId, row.toName);
  }

  all(): MoveRow[] {
    return this.#all.all();
  }

  delete(artifactId: string): void {
    this.#delete.run(artifactId);
  }
}
