import type { MaybePromise } from '../../util/maybe-promise.js';
import { type Database, type Statement, transaction } from '../../util/sqlite.js';
import type { Intent, IntentJournal } from '../../workspace/commit-types.js';

interface IntentRow {
  commit_id: string;
  artifact_id: string;
  stage_id: string;
  base_seq: number;
  state: Intent['state'];
  seq: number | null;
  body: string | null;
}

/** Commit intents in stage.db. */
export class StageIntentJournal implements IntentJournal {
  readonly #db: Database;
  readonly #sync: () => Promise<void>;
  readonly #save: Statement<[string, string, string, number, string, number | null, string | null]>;
  readonly #all: Statement<[], IntentRow>;
  readonly #remove: Statement<[string]>;

  /** `sync` puts everything committed so far on stable storage. */
  constructor(db: Database, sync: () => Promise<void>) {
    this.#db = db;
    this.#sync = sync;
    this.#save = db.prepare(
      `INSERT OR REPLACE INTO intent (commit_id, artifact_id, stage_id, base_seq, state, seq, body)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#all = db.prepare('SELECT * FROM intent ORDER BY commit_id');
    this.#remove = db.prepare('DELETE FROM intent WHERE commit_id = ?');
  }

  save(intent: Intent): MaybePromise<void> {
    const { commitId, artifactId, stageId, baseSeq, state, seq, body } = intent;
    transaction(this.#db, () => {
      this.#save.run(commitId, artifactId, stageId, baseSeq, state, seq ?? null, body ?? null);
    });
    return state === 'prepared' ? undefined : this.#sync();
  }

  pending(artifactId?: string): Intent[] {
    return this.#all
      .all()
      .filter((row) => artifactId === undefined || row.artifact_id === artifactId)
      .map(intentOf);
  }

  find(commitId: string): Intent | undefined {
    return this.pending().find((intent) => intent.commitId === commitId);
  }

  /** Inside a transaction as part of it. */
  remove(commitId: string): void {
    transaction(this.#db, () => {
      this.#remove.run(commitId);
    });
  }
}

function intentOf(row: IntentRow): Intent {
  return {
    commitId: row.commit_id,
    artifactId: row.artifact_id,
    stageId: row.stage_id,
    baseSeq: row.base_seq,
    state: row.state,
    ...(row.seq === null ? {} : { seq: row.seq }),
    ...(row.body === null ? {} : { body: row.body }),
  };
}
