import { type Database, openDatabase, type Statement, syncWal } from '../../util/sqlite.js';
import { FileNumbers } from './counters.js';
import { DirentReader, DirentRows } from './dirent-rows.js';
import { InodeReader, InodeRows } from './inode-rows.js';
import { StageIntentJournal } from './intent-journal.js';
import { MoveRows } from './move-rows.js';
import { stageMigrations } from './schema.js';
import { SealedRows } from './sealed-rows.js';
import { StageRows } from './stage-rows.js';
import { StageUploadJournal } from './upload-journal.js';

/** stage.db with its statements, grouped by table. */
export class StageDatabase implements Disposable {
  readonly path: string;
  readonly db: Database;
  /** For intents: each commit on it is on stable storage, with everything committed before. */
  readonly #durable: Database;
  readonly stages: StageRows;
  readonly inodes: InodeRows;
  readonly dirents: DirentRows;
  readonly sealed: SealedRows;
  readonly moves: MoveRows;
  readonly files: FileNumbers;
  readonly uploads: StageUploadJournal;
  readonly intents: StageIntentJournal;
  readonly #forgetIntent: Statement<[string]>;
  #sync: Promise<void> | null = null;
  #nextSync: Promise<void> | null = null;

  constructor(path: string) {
    this.path = path;
    this.db = openDatabase(path, { migrations: stageMigrations });
    this.#durable = openDatabase(path, { migrations: stageMigrations, synchronous: 'FULL' });
    this.stages = new StageRows(this.db);
    this.inodes = new InodeRows(this.db);
    this.dirents = new DirentRows(this.db);
    this.sealed = new SealedRows(this.db);
    this.moves = new MoveRows(this.db);
    this.files = new FileNumbers(this.db);
    this.uploads = new StageUploadJournal(this.db);
    this.#forgetIntent = this.db.prepare('DELETE FROM intent WHERE commit_id = ?');
    this.intents = new StageIntentJournal(this.#durable);
  }

  /** As part of the caller's transaction, which `intents`, on its own connection, cannot join. */
  forgetIntent(commitId: string): void {
    this.#forgetIntent.run(commitId);
  }

  /** The database as it is now, however it changes afterwards. Holds back checkpoints until it is closed. */
  snapshot(): StageSnapshot {
    return new StageSnapshot(this.path);
  }

  /** Everything committed so far survives power loss when it resolves. Callers that come meanwhile share the next sync. */
  sync(): Promise<void> {
    if (this.#sync === null) {
      this.#sync = syncWal(this.path).finally(() => {
        this.#sync = null;
      });
      return this.#sync;
    }
    this.#nextSync ??= this.#sync
      .catch(() => {})
      .then(() => {
        this.#nextSync = null;
        return this.sync();
      });
    return this.#nextSync;
  }

  [Symbol.dispose](): void {
    this.#durable.close();
    this.db.close();
  }
}

export class StageSnapshot implements Disposable {
  readonly #db: Database;
  readonly inodes: InodeReader;
  readonly dirents: DirentReader;

  constructor(path: string) {
    this.#db = openDatabase(path, { migrations: stageMigrations, readonly: true });
    this.inodes = new InodeReader(this.#db);
    this.dirents = new DirentReader(this.#db);
    // A read transaction sees one state from its first read on.
    this.#db.exec('BEGIN');
    this.#db.prepare('SELECT 1 FROM stage LIMIT 1').get();
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }
}
