import { type Database, type Statement, transaction } from '../../util/sqlite.js';

/** Numbers taken from the database at a time; what a killed daemon had not handed out is skipped. */
const reserveCount = 256;

/** Numbers of staging files: never used twice, not even after a crash. */
export class FileNumbers {
  readonly #db: Database;
  readonly #advance: Statement<[string, number], { value: number }>;
  #next = 1;
  #end = 1;

  constructor(db: Database) {
    this.#db = db;
    this.#advance = prepareAdvance(db);
  }

  next(): number {
    if (this.#next === this.#end) {
      this.#end = transaction(this.#db, () => this.#reserve()) + 1;
      this.#next = this.#end - reserveCount;
    }
    return this.#next++;
  }

  #reserve(): number {
    return this.#advance.get('staging-file', reserveCount)?.value ?? 0;
  }
}

/** Adds to the named counter and answers its new value. */
export function prepareAdvance(db: Database): Statement<[string, number], { value: number }> {
  return db.prepare(
    `INSERT INTO counter (name, value) VALUES (?, ?)
     ON CONFLICT DO UPDATE SET value = value + excluded.value RETURNING value`,
  );
}
