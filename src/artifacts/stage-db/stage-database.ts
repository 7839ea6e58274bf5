import { writeFileSync } from 'node:fs';
import { setImmediate as nextTurn } from 'node:timers/promises';
import { limits } from '../../model/limits.js';
import { Checkpointer } from '../../util/checkpointer.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import { type Database, openDatabase, type Statement, syncWal, transaction } from '../../util/sqlite.js';
import { FileNumbers } from './counters.js';
import { DirentReader, DirentRows } from './dirent-rows.js';
import { InodeReader, InodeRows } from './inode-rows.js';
import { StageIntentJournal } from './intent-journal.js';
import { MoveRows } from './move-rows.js';
import { stageMigrations } from './schema.js';
import { SealedRows } from './sealed-rows.js';
import { StageRows } from './stage-rows.js';
import { StageUploadJournal } from './upload-journal.js';

const rowTables = [
  { table: 'inode', key: 'ino' },
  { table: 'extent_log', key: 'ino, n' },
  { table: 'dirent', key: 'parent, name' },
  { table: 'sealed', key: 'ino' },
];

const rowsDeletedAtOnce = 1000;

type DeleteSome = Statement<[number, number, number]>;

/** Changes that are nowhere else: what an older build left stays beside it as `stage.db.schema-<n>`, readable by that build. */
function backUp(db: Database, fromVersion: number): void {
  writeFileSync(`${db.name}.schema-${fromVersion}`, db.serialize(), { mode: 0o600, flush: true });
}

/** stage.db with its statements, grouped by table. */
export class StageDatabase implements Disposable {
  readonly path: string;
  readonly db: Database;
  readonly stages: StageRows;
  readonly inodes: InodeRows;
  readonly dirents: DirentRows;
  readonly sealed: SealedRows;
  readonly moves: MoveRows;
  readonly files: FileNumbers;
  readonly uploads: StageUploadJournal;
  readonly intents: StageIntentJournal;
  readonly #checkpointer: Checkpointer;
  readonly #left: readonly Statement<[], { s: number }>[];
  readonly #deleteSome: readonly DeleteSome[];
  readonly #deleteSealedRows: DeleteSome;
  /** Throws where nothing may be staged any more. A promise while that is not known: nothing may be staged before it resolves. */
  readonly admitChange: () => MaybePromise<void>;
  #sync: Promise<void> | null = null;
  #nextSync: Promise<void> | null = null;

  constructor(path: string, admitChange: () => MaybePromise<void> = () => {}) {
    this.path = path;
    this.admitChange = admitChange;
    const options = { migrations: stageMigrations, walBytesMax: limits.stageWalBytesMax };
    this.db = openDatabase(path, { ...options, beforeMigration: backUp });
    this.#checkpointer = new Checkpointer(this.db);
    this.stages = new StageRows(this.db);
    this.inodes = new InodeRows(this.db);
    this.dirents = new DirentRows(this.db);
    this.sealed = new SealedRows(this.db);
    this.moves = new MoveRows(this.db);
    this.files = new FileNumbers(this.db);
    this.uploads = new StageUploadJournal(this.db);
    // From each number to the next by the key: at a start all that is staged would be looked through.
    this.#left = rowTables.map(({ table }) =>
      this.db.prepare(
        `WITH RECURSIVE number (s) AS
           (SELECT min(s) FROM ${table}
            UNION ALL SELECT (SELECT min(s) FROM ${table} WHERE s > number.s) FROM number WHERE number.s IS NOT NULL)
         SELECT s FROM number WHERE s IS NOT NULL AND s NOT IN (SELECT s FROM stage)`,
      ),
    );
    const deleteSome = ({ table, key }: (typeof rowTables)[number]): DeleteSome =>
      this.db.prepare(
        `DELETE FROM ${table} WHERE s = ? AND (${key}) IN (SELECT ${key} FROM ${table} WHERE s = ? LIMIT ?)`,
      );
    this.#deleteSome = rowTables.map(deleteSome);
    this.#deleteSealedRows = deleteSome({ table: 'sealed', key: 'ino' });
    this.intents = new StageIntentJournal(this.db, () => this.sync());
  }

  /** Numbers under which there are rows, but no stage. */
  leftBehind(): number[] {
    return [...new Set(this.#left.flatMap((statement) => statement.all().map(({ s }) => s)))];
  }

  /** Deletes the rows of a stage that is no more, a few at a time. */
  async deleteRows(s: number): Promise<void> {
    for (const statement of this.#deleteSome) await this.#deleteAll(statement, s);
  }

  /** Deletes what a commit that did not take place has left, a few at a time. */
  deleteSealed(s: number): Promise<void> {
    return this.#deleteAll(this.#deleteSealedRows, s);
  }

  async #deleteAll(statement: DeleteSome, s: number): Promise<void> {
    while (transaction(this.db, () => statement.run(s, s, rowsDeletedAtOnce).changes) > 0) await nextTurn();
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

  /** `emptyLogNow`, when the thread that does it otherwise is out of the way. */
  async emptyLog(): Promise<void> {
    await this.#checkpointer.idle();
    this.emptyLogNow();
  }

  /** Moves the log into the database, unless somebody else is at it, so that it gives its room back to a full disk. */
  emptyLogNow(): void {
    const busyMs = this.db.pragma('busy_timeout', { simple: true }) as number;
    try {
      this.db.pragma('busy_timeout = 0');
      this.db.pragma('wal_checkpoint(TRUNCATE)');
    } catch {
      // Not even for that there is room: whoever tries to write next is told.
    } finally {
      this.db.pragma(`busy_timeout = ${busyMs}`);
    }
  }

  [Symbol.dispose](): void {
    this.#checkpointer[Symbol.dispose]();
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
