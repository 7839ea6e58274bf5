import { createRequire } from 'node:module';
import { Worker } from 'node:worker_threads';
import { limits } from '../model/limits.js';
import { type Deferred, deferred } from './deferred.js';
import type { Database, Statement } from './sqlite.js';

/** Text, so that the same program runs from sources and from the built package. */
const workerSource = `
const { parentPort, workerData } = require('node:worker_threads');
const Database = require(workerData.sqlite);
const db = new Database(workerData.path, { fileMustExist: true });
db.pragma('synchronous = NORMAL');
db.pragma('wal_autocheckpoint = 0');
parentPort.on('message', () => {
  try {
    db.pragma('wal_checkpoint(PASSIVE)');
  } finally {
    parentPort.postMessage(null);
  }
});
`;

/**
 * Moves what a database's log has gathered into the database, from a thread of its own: a checkpoint syncs both files,
 * and whoever writes to the database must not wait for the disk. It stops no reader and no writer.
 *
 * While somebody writes all the time the log is never moved whole, and so cannot begin anew: the writer's own
 * checkpoint, which has to come later (`walBytesMax` of `openDatabase`), then finds little left to do.
 */
export class Checkpointer implements Disposable {
  readonly #path: string;
  readonly #changes: Statement<[], number>;
  #timer: NodeJS.Timeout | undefined;
  #worker: Worker | null = null;
  /** Of a checkpoint under way. */
  #running: Deferred<void> | null = null;
  #changesMoved = 0;
  #changesSeen = 0;

  /** `db` is the connection that writes; it stays the caller's. */
  constructor(db: Database) {
    this.#path = db.name;
    this.#changes = db.prepare<[], number>('SELECT total_changes()').pluck();
    this.#lookIn(limits.checkpointIntervalMs);
  }

  #lookIn(ms: number): void {
    this.#timer = setTimeout(() => this.#look(), ms).unref();
  }

  /** Where nobody writes it is looked less often: an idle daemon is asleep. */
  #look(): void {
    const changes = this.#changes.get() ?? 0;
    this.#lookIn(changes === this.#changesSeen ? limits.checkpointIdleMs : limits.checkpointIntervalMs);
    this.#changesSeen = changes;
    if (this.#running !== null) return;
    if (changes - this.#changesMoved < limits.checkpointChangesMin) return;
    this.#changesMoved = changes;
    this.#running = deferred();
    this.#thread().postMessage(null);
  }

  /** Resolves when the thread moves nothing: nobody else can meanwhile. */
  async idle(): Promise<void> {
    await this.#running?.promise;
  }

  #ended(): void {
    this.#running?.resolve();
    this.#running = null;
  }

  #thread(): Worker {
    if (this.#worker !== null) return this.#worker;
    const sqlite = createRequire(import.meta.url).resolve('better-sqlite3');
    const worker = new Worker(workerSource, { eval: true, workerData: { path: this.#path, sqlite } });
    worker.unref();
    // What fails here is tried again, and in the end by the writer, who tells.
    worker.on('message', () => this.#ended());
    worker.on('error', () => {
      this.#worker = null;
      this.#ended();
    });
    this.#worker = worker;
    return worker;
  }

  /** Before the database is closed. */
  [Symbol.dispose](): void {
    clearTimeout(this.#timer);
    this.#ended();
    void this.#worker?.terminate();
  }
}
