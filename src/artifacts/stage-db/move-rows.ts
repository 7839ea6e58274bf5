import type { Database, Statement } from '../../util/sqlite.js';

/**
 * A committed artifact that is given a name in another collection: linked there first, then unlinked where it was. One
 * that is restored had none: `fromId` is '', and `fromName` the path it had once.
 */
export interface MoveRow {
  readonly artifactId: string;
  readonly fromId: string;
  readonly fromName: string;
  readonly toId: string;
  readonly toName: string;
  /** The `commitId`s of the two records; null in rows of earlier builds. */
  readonly linkId: string | null;
  readonly unlinkId: string | null;
}

export class MoveRows {
  readonly #put: Statement<[string, string, string, string, string, string | null, string | null]>;
  readonly #all: Statement<[], MoveRow>;
  readonly #delete: Statement<[string]>;

  constructor(db: Database) {
    this.#put = db.prepare(
      `INSERT OR REPLACE INTO move (artifact_id, from_id, from_name, to_id, to_name, link_id, unlink_id)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#all = db.prepare(
      `SELECT artifact_id AS artifactId, from_id AS fromId, from_name AS fromName, to_id AS toId, to_name AS toName,
              link_id AS linkId, unlink_id AS unlinkId
       FROM move`,
    );
    this.#delete = db.prepare('DELETE FROM move WHERE artifact_id = ?');
  }

  put(row: MoveRow): void {
    const { artifactId, fromId, fromName, toId, toName, linkId, unlinkId } = row;
    this.#put.run(artifactId, fromId, fromName, toId, toName, linkId, unlinkId);
  }

  all(): MoveRow[] {
    return this.#all.all();
  }

  delete(artifactId: string): void {
    this.#delete.run(artifactId);
  }
}
