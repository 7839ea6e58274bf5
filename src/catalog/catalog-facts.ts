import { createHash } from 'node:crypto';
import { existsSync } from 'node:fs';
import type { Entry } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import { LoopTurn } from '../util/loop-turn.js';
import { type Database, openDatabase } from '../util/sqlite.js';
import { encodeEntry } from '../workspace/entry-codec.js';
import type { Metarange } from '../workspace/trees.js';
import { decodeEntry } from './entry-row.js';
import { LogTables } from './log-tables.js';
import type { ArtifactState, Child, VersionInfo } from './ports.js';
import { catalogMigrations, directoriesPerRange } from './schema.js';

/** What a catalog says of one artifact. */
export interface ArtifactFacts extends Omit<ArtifactState, 'artifactId' | 'latest'> {
  /** Newest first. */
  readonly versions: readonly VersionInfo[];
  readonly aliases: Readonly<Record<string, number>>;
  readonly children: readonly Child[];
}

/** Looks into a catalog to compare it with the store. */
export class CatalogFacts implements Disposable {
  readonly #db: Database;
  readonly #logs: LogTables;

  /** Owns `db` when it is disposed. */
  constructor(db: Database) {
    this.#db = db;
    this.#logs = new LogTables(db);
  }

  /**
   * The catalog in a file that nobody has open; null when there is none. `Corrupt` when SQLite cannot read it,
   * `UnsupportedFormat` when another artifactfs made it.
   */
  static open(path: string): CatalogFacts | null {
    if (!existsSync(path)) return null;
    const db = openDatabase(path, { migrations: catalogMigrations, readonly: true });
    const found = db.pragma('integrity_check', { simple: true });
    if (found === 'ok') return new CatalogFacts(db);
    db.close();
    throw new ArtifactError('Corrupt', `${path}: ${String(found)}`, { path });
  }

  artifact(artifactId: string): ArtifactFacts | null {
    const state = this.#logs.artifact(artifactId);
    if (state === undefined) return null;
    const { headSeq, headHash, manifest } = state;
    const logs = this.#logs;
    return {
      headSeq,
      headHash,
      manifest,
      versions: logs.versions(artifactId),
      aliases: logs.aliases(artifactId),
      children: logs.children(artifactId),
    };
  }

  /** Of what it has of the range or metarange whose stored bytes have this hash; null when it has neither. */
  async treeDigest(sha256: string): Promise<string | null> {
    const body = this.#db.prepare<[string], string>('SELECT body FROM metaranges WHERE sha256 = ?').pluck();
    const metarange = body.get(sha256);
    if (metarange !== undefined) return metarangeDigest(JSON.parse(metarange) as Metarange);
    const found = this.#db.prepare<[string], number>('SELECT id FROM ranges WHERE sha256 = ?').pluck();
    const id = found.get(sha256);
    return id === undefined ? null : this.#rangeDigest(id);
  }

  [Symbol.dispose](): void {
    this.#db.close();
  }

  async #rangeDigest(id: number): Promise<string | null> {
    const page = this.#db
      .prepare<[number, string, number], [number, string, string, string]>(
        `SELECT bucket, path, name, body FROM entries
         LEFT JOIN directories ON range = bucket / ${directoriesPerRange} AND directory = bucket % ${directoriesPerRange}
         WHERE (bucket, name) > (?, ?) AND bucket < ? ORDER BY bucket, name LIMIT 500`,
      )
      .raw();
    const hash = new EntriesHash();
    const turn = new LoopTurn();
    let after: [number, string] = [id * directoriesPerRange, ''];
    for (;;) {
      const rows = page.all(...after, (id + 1) * directoriesPerRange);
      for (const [, path, name, body] of rows) hash.add(decodeEntry(path, name, body));
      const last = rows.at(-1);
      if (last === undefined) return hash.digest();
      after = [last[0], last[2]];
      if (turn.isOver) await turn.next();
    }
  }
}

/** What `treeDigest` answers for entries as they are in the store. */
export function rangeDigest(entries: readonly Entry[]): string {
  const hash = new EntriesHash();
  for (const entry of entries) hash.add(entry);
  return hash.digest();
}

export const metarangeDigest = ({ root, ranges, entries, bytes, inoPrefixes }: Metarange): string =>
  createHash('sha256')
    .update(JSON.stringify([canonical(root), entries, bytes, inoPrefixes]))
    .update(
      JSON.stringify(
        ranges.map(({ object, offset, length, sha256, entries, first, last }) => [
          [object, offset, length, sha256, entries],
          [first.dir, first.name, last.dir, last.name],
        ]),
      ),
    )
    .digest('hex');

class EntriesHash {
  readonly #hash = createHash('sha256');

  add(entry: Entry): void {
    this.#hash.update(canonical(entry)).update('\n');
  }

  digest(): string {
    return this.#hash.digest('hex');
  }
}

/** One text for each meaning, whoever made the entry. */
function canonical(entry: Entry): string {
  const { xattrs } = entry;
  if (xattrs === undefined) return encodeEntry(entry);
  const names = Object.keys(xattrs).sort();
  return encodeEntry({
    ...entry,
    xattrs: Object.fromEntries(names.map((name) => [name, xattrs[name] ?? ''])),
  });
}
