import { limits } from '../model/limits.js';
import { type Database, transaction } from '../util/sqlite.js';
import type { TreeRef } from '../workspace/records.js';
import type { Metarange, TreeReader } from '../workspace/trees.js';

/** Metaranges by the hash of their stored bytes, so that a known version opens without the store. */
export class MetarangeTable {
  readonly #db: Database;
  readonly #source: TreeReader;
  readonly #sql: ReturnType<typeof prepare>;

  constructor(db: Database, source: TreeReader) {
    this.#db = db;
    this.#source = source;
    this.#sql = prepare(db);
  }

  get(ref: TreeRef): Metarange | undefined {
    const body = this.#sql.get.get(ref.sha256);
    return body === undefined ? undefined : (JSON.parse(body) as Metarange);
  }

  /** From the store; the newest `catalogMetarangesMax` are kept. */
  async fetch(artifactId: string, ref: TreeRef): Promise<Metarange> {
    const metarange = await this.#source.metarange(artifactId, ref);
    transaction(this.#db, () => {
      this.#sql.insert.run(ref.sha256, JSON.stringify(metarange));
      this.#sql.trim.run(limits.catalogMetarangesMax);
    });
    return metarange;
  }
}

function prepare(db: Database) {
  return {
    get: db.prepare<[string], string>('SELECT body FROM metaranges WHERE sha256 = ?').pluck(),
    insert: db.prepare<[string, string]>('INSERT OR REPLACE INTO metaranges (sha256, body) VALUES (?, ?)'),
    trim: db.prepare<[number]>(
      'DELETE FROM metaranges WHERE id <= (SELECT id FROM metaranges ORDER BY id DESC LIMIT 1 OFFSET ?)',
    ),
  };
}
