import type { Entry } from '../model/entry.js';
import { limits } from '../model/limits.js';
import type { Database } from '../util/sqlite.js';
import { decodeEntry } from './entry-row.js';
import { directoriesPerRange } from './schema.js';

/** Directory paths from `from` up to, not including, `to` (null: no end), in the order of trees. */
export interface DirectoryInterval {
  readonly from: string;
  readonly to: string | null;
}

/** Synchronous reads of one loaded range, named by its id in catalog.db. */
export class RangeReader {
  readonly #sql: ReturnType<typeof prepare>;
  /** range -> path -> bucket, so that a look-up is one statement. INVARIANT: `#remembered` is the number of paths. */
  readonly #buckets = new Map<number, Map<string, number>>();
  #remembered = 0;

  constructor(db: Database) {
    this.#sql = prepare(db);
  }

  entry(range: number, dir: string, name: string): Entry | undefined {
    const bucket = this.#bucket(range, dir);
    if (bucket === undefined) return undefined;
    const body = this.#sql.entry.get(bucket, name);
    return body === undefined ? undefined : decodeEntry(dir, name, body);
  }

  /** Entries of one directory after `after` in name order. */
  list(range: number, dir: string, after: string, limit: number): Entry[] {
    const bucket = this.#bucket(range, dir);
    if (bucket === undefined) return [];
    const rows = this.#sql.list.all(bucket, after, limit);
    return rows.map(([name, body]) => decodeEntry(dir, name, body));
  }

  /** Entries of the directories in `interval` after `after`, in tree order. */
  scan(
    range: number,
    interval: DirectoryInterval,
    after: { readonly dir: string; readonly name: string } | null,
    limit: number,
  ): Entry[] {
    const from = after === null ? interval.from : after.dir;
    // Each directory of a range has an entry, but the one of `after` perhaps none after it.
    const directories = this.#sql.directories.all(range, from, interval.to, interval.to, limit + 1);
    const first = directories[0];
    const last = directories.at(-1);
    if (first === undefined || last === undefined) return [];
    const base = range * directoriesPerRange;
    const start = after?.dir === first[1] ? after.name : '';
    const rows = this.#sql.scan.all(base + first[0], start, base + last[0], limit);
    // Directories of a range are numbered without gaps.
    return rows.map(([bucket, name, body]) =>
      decodeEntry(directories[bucket - base - first[0]]?.[1] ?? '', name, body),
    );
  }

  forget(range: number): void {
    this.#remembered -= this.#buckets.get(range)?.size ?? 0;
    this.#buckets.delete(range);
  }

  #bucket(range: number, dir: string): number | undefined {
    let known = this.#buckets.get(range);
    const bucket = known?.get(dir);
    if (bucket !== undefined) return bucket;
    const directory = this.#sql.directory.get(range, dir);
    if (directory === undefined) return undefined;
    if (this.#remembered >= limits.catalogDirectoriesMax) {
      this.#buckets.clear();
      this.#remembered = 0;
      known = undefined;
    }
    if (known === undefined) {
      known = new Map();
      this.#buckets.set(range, known);
    }
    known.set(dir, range * directoriesPerRange + directory);
    this.#remembered++;
    return range * directoriesPerRange + directory;
  }
}

function prepare(db: Database) {
  return {
    directory: db
      .prepare<[number, string], number>('SELECT directory FROM directories WHERE range = ? AND path = ?')
      .pluck(),
    entry: db
      .prepare<[number, string], string>('SELECT body FROM entries WHERE bucket = ? AND name = ?')
      .pluck(),
    list: db
      .prepare<[number, string, number], [string, string]>(
        'SELECT name, body FROM entries WHERE bucket = ? AND name > ? ORDER BY name LIMIT ?',
      )
      .raw(),
    directories: db
      .prepare<[number, string, string | null, string | null, number], [number, string]>(
        `SELECT directory, path FROM directories
         WHERE range = ? AND path >= ? AND (? IS NULL OR path < ?) ORDER BY path LIMIT ?`,
      )
      .raw(),
    scan: db
      .prepare<[number, string, number, number], [number, string, string]>(
        `SELECT bucket, name, body FROM entries
         WHERE (bucket, name) > (?, ?) AND bucket <= ? ORDER BY bucket, name LIMIT ?`,
      )
      .raw(),
  };
}
