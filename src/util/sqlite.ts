import { accessSync, closeSync, constants, fsyncSync, openSync, statfsSync } from 'node:fs';
import { open } from 'node:fs/promises';
import { dirname } from 'node:path';
import BetterSqlite3 from 'better-sqlite3';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { isSqliteError, sqliteFailure } from './sqlite-errors.js';

export type Database = BetterSqlite3.Database;
/** `db.prepare<[string, number], Row>(sql)` types what goes in and what comes out. */
export type Statement<Params extends unknown[], Row = unknown> = BetterSqlite3.Statement<Params, Row>;

export interface DatabaseOptions {
  /**
   * SQL scripts; number n (from 1) takes the schema from `user_version` n - 1 to n. Never edit one that was
   * released: append another.
   */
  readonly migrations: readonly string[];
  /** NORMAL (default): commits survive the process; power loss only after `syncWal`. FULL: both, at each commit. */
  readonly synchronous?: 'NORMAL' | 'FULL';
  /** The file must exist and have the current schema. */
  readonly readonly?: boolean;
  /**
   * No other connection may open the file, not even of this process. Halves the time of short reads: no locks are
   * taken and no shared memory is looked at for each.
   */
  readonly exclusive?: boolean;
  /** Heap for pages of this connection. */
  readonly cacheBytesMax?: number;
  /** Page size of a new database: a power of two from 512 to 65,536; default 4,096. */
  readonly pageBytes?: number;
  /** How long the log grows before a commit moves it into the database, which waits for the disk. Less on a small disk. */
  readonly walBytesMax?: number;
  /** How long to wait for another connection that writes. */
  readonly busyMsMax?: number;
  /** Called inside the lock, before the first migration of a database that has data (for a backup). */
  readonly beforeMigration?: (db: Database, fromVersion: number) => void;
}

/**
 * Opens or creates a database: WAL, foreign keys on, mode 0600, schema migrated in one transaction. ':memory:' works
 * (no WAL). The caller closes it.
 *
 * Throws `UnsupportedFormat` (schema of a newer artifactfs), `Corrupt` (not a database, or a broken one), `NotFound`
 * (no such directory, or no file with `readonly`), `AccessDenied`, `ReadOnly`, `NoSpace`, `Busy`; all name the path.
 */
export function openDatabase(path: string, options: DatabaseOptions): Database {
  let db: Database | undefined;
  try {
    if (options.readonly) accessSync(path, constants.R_OK);
    else if (path !== ':memory:') createPrivateFile(path);
    db = new BetterSqlite3(path, {
      readonly: options.readonly ?? false,
      fileMustExist: path !== ':memory:',
      timeout: options.busyMsMax ?? limits.databaseBusyMsMax,
    });
    configure(db, options);
    migrate(db, path, options);
    // From here to the last close the -wal file keeps its name, so one sync makes both names durable.
    if (!db.memory && !options.readonly) syncDirectory(dirname(path));
    return db;
  } catch (error) {
    db?.close();
    throw sqliteFailure(error, path);
  }
}

/**
 * Runs `body` in a write transaction: all of it or nothing. Inside another transaction it is a savepoint. A body
 * that returns a promise is refused (and rolled back): others would write into the open transaction meanwhile.
 */
export function transaction<T>(db: Database, body: () => NotPromise<T>): T {
  let runner = runners.get(db);
  if (runner === undefined) {
    runner = db.transaction((inner: () => unknown) => inner()).immediate;
    runners.set(db, runner);
  }
  try {
    return runner(body) as T;
  } catch (error) {
    // What the body throws for reasons of its own stays as it is.
    throw isSqliteError(error) ? sqliteFailure(error, db.name) : error;
  }
}

/** Compiles only for bodies that are not async. */
export type NotPromise<T> = T extends PromiseLike<unknown> ? never : T;

const runners = new WeakMap<Database, (body: () => unknown) => unknown>();

/**
 * Makes every transaction committed so far survive power loss, without blocking the event loop.
 *
 * Why one fdatasync is enough: a commit appends its pages to `<path>-wal`, each frame chained by checksum, and
 * recovery replays the chain up to its last whole commit. Frames leave the -wal only by a checkpoint, which (with
 * synchronous NORMAL or FULL) syncs the -wal before it copies them and the database file before it lets them be
 * overwritten. So a committed page is either in a synced database file or in the -wal, and the -wal is synced here.
 * The names of both files were synced by `openDatabase`.
 *
 * Opening the -wal beside SQLite is safe: its POSIX locks, which closing any descriptor of a file would drop, are on
 * the database file and on -shm only. Never open these two.
 */
export async function syncWal(path: string): Promise<void> {
  if (path === ':memory:') return;
  try {
    const file = await open(`${path}-wal`, 'r+');
    try {
      await file.datasync();
    } finally {
      await file.close();
    }
  } catch (error) {
    throw sqliteFailure(error, path);
  }
}

/** SQLite creates its files readable to all; -wal and -shm take the mode of the database. */
function createPrivateFile(path: string): void {
  try {
    closeSync(openSync(path, 'wx', 0o600));
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code !== 'EEXIST') throw error;
  }
}

function configure(db: Database, options: DatabaseOptions): void {
  const cacheKiB = Math.ceil((options.cacheBytesMax ?? limits.databaseCacheBytesMax) / 1024);
  if (options.exclusive) db.pragma('locking_mode = EXCLUSIVE');
  // Before all else the journal mode: it is what finds out that the file is no database.
  if (!options.readonly) db.pragma(`page_size = ${options.pageBytes ?? 4096}`);
  if (!options.readonly && !db.memory) db.pragma('journal_mode = WAL');
  db.pragma(`synchronous = ${options.synchronous ?? 'NORMAL'}`);
  db.pragma('foreign_keys = ON');
  db.pragma(`cache_size = -${cacheKiB}`);
  // A disk that fails below a mapping kills the process by SIGBUS; below read() it fails one call.
  db.pragma('mmap_size = 0');
  db.pragma('temp_store = MEMORY');
  // A checkpoint syncs twice, about 15 ms on the caller's thread, however much it moves: at SQLite's default of 1,000
  // pages that is half the time of short transactions.
  const pageBytes = db.pragma('page_size', { simple: true }) as number;
  const walBytesMax = walBytesOn(db, options.walBytesMax ?? limits.databaseWalBytesMax);
  db.pragma(`wal_autocheckpoint = ${Math.ceil(walBytesMax / pageBytes)}`);
  // To cut a log that grew no larger than it may would be work for the next writer.
  db.pragma(`journal_size_limit = ${walBytesMax}`);
}

/** On a full disk the log must not be what took the room that was kept for it and the database. */
function walBytesOn(db: Database, bytesMax: number): number {
  if (db.memory) return bytesMax;
  const { blocks, bsize } = statfsSync(dirname(db.name));
  return blocks === 0 ? bytesMax : Math.min(bytesMax, Math.ceil(blocks * bsize * limits.databaseWalShare));
}

function migrate(db: Database, path: string, options: DatabaseOptions): void {
  const { migrations } = options;
  const version = () => db.pragma('user_version', { simple: true }) as number;
  if (version() === migrations.length) return;
  if (options.readonly) checkVersion(path, version(), migrations.length, true);
  transaction(db, () => {
    // Read again under the lock: another process may have migrated meanwhile.
    const from = version();
    checkVersion(path, from, migrations.length, false);
    if (from > 0 && from < migrations.length) options.beforeMigration?.(db, from);
    for (const script of migrations.slice(from)) db.exec(script);
    db.pragma(`user_version = ${migrations.length}`);
  });
}

function checkVersion(path: string, found: number, known: number, exact: boolean): void {
  if (found > known) {
    throw new ArtifactError(
      'UnsupportedFormat',
      `${path} was written by a newer artifactfs (schema ${found}, this one knows ${known})`,
      { hint: 'run the newer artifactfs again', path, found, known },
    );
  }
  if (exact && found < known) {
    throw new ArtifactError('UnsupportedFormat', `${path} has the older schema ${found}`, {
      hint: 'mount the workspace once with this artifactfs',
      path,
      found,
      known,
    });
  }
}

function syncDirectory(path: string): void {
  const descriptor = openSync(path, 'r');
  try {
    fsyncSync(descriptor);
  } finally {
    closeSync(descriptor);
  }
}
