import { ArtifactError } from '../model/errors.js';
import { type Database, type Statement, transaction } from '../util/sqlite.js';
import type { FeatureSet } from '../workspace/features.js';
import type { CommitBody, LogRecord, Manifest, StoredRecord, TreeRef } from '../workspace/records.js';
import type { ArtifactState, Child, VersionInfo } from './ports.js';

/**
 * What the logs of artifacts say, replayed into tables: heads, manifests, versions, aliases, names in collections.
 * The rules are those of workspace/replay.ts, as statements; a test compares the two over random logs.
 */
export class LogTables {
  readonly #db: Database;
  readonly #sql: Statements;

  constructor(db: Database) {
    this.#db = db;
    this.#sql = prepare(db);
  }

  artifact(artifactId: string): ArtifactState | undefined {
    const head = this.#sql.head.get(artifactId);
    if (head === undefined) return undefined;
    const latest = this.#sql.latest.get(artifactId);
    return {
      artifactId,
      headSeq: head.head_seq,
      headHash: head.head_hash,
      latest: latest === undefined ? null : toVersionInfo(latest),
      manifest: JSON.parse(head.manifest) as Manifest,
    };
  }

  /** All of `records` or, when it throws, none. */
  apply(artifactId: string, records: readonly StoredRecord[]): ArtifactState {
    return transaction(this.#db, () => {
      const known = this.#sql.head.get(artifactId);
      let seq = known?.head_seq ?? 0;
      let hash = known?.head_hash ?? '';
      let manifest: Manifest | undefined;
      if (known === undefined) this.#sql.insertHead.run(artifactId);
      for (const stored of records) {
        if (stored.record.seq <= seq) {
          checkSame(artifactId, seq, hash, stored);
          continue;
        }
        checkNext(artifactId, seq, hash, stored);
        manifest = this.#applyRecord(artifactId, stored.record) ?? manifest;
        seq = stored.record.seq;
        hash = stored.hash;
      }
      if (seq === 0) throw new ArtifactError('Internal', `no records to apply for artifact ${artifactId}`);
      this.#sql.updateHead.run(
        seq,
        hash,
        manifest === undefined ? null : JSON.stringify(manifest),
        artifactId,
      );
      const state = this.artifact(artifactId);
      if (state === undefined) throw new ArtifactError('Internal', `artifact ${artifactId} is gone`);
      return state;
    });
  }

  /** Returns the manifest when the record sets it. */
  #applyRecord(artifactId: string, record: LogRecord): Manifest | undefined {
    const sql = this.#sql;
    switch (record.type) {
      case 'commit':
        this.#insertVersion(artifactId, record);
        return record.manifest;
      case 'link':
        sql.insertChild.run(artifactId, record.name, record.artifactId);
        return undefined;
      case 'unlink':
        sql.removeChild.run(artifactId, record.name, record.artifactId);
        return undefined;
      case 'rename':
        sql.renameChild.run(record.to, artifactId, record.from, record.artifactId);
        return undefined;
      case 'alias':
        this.#applyAlias(artifactId, record);
        return undefined;
      case 'meta':
        return record.manifest;
      case 'expire':
        for (const version of record.versions) sql.expire.run(artifactId, version);
        return undefined;
      case 'feature':
        for (const need of needs) {
          for (const feature of record[need] ?? []) sql.insertFeature.run(artifactId, need, feature);
        }
        return undefined;
      case 'abandon':
      case 'noop':
        return undefined;
    }
  }

  #applyAlias(artifactId: string, record: Extract<LogRecord, { type: 'alias' }>): void {
    const { alias, version } = record;
    if ((this.#sql.alias.get(artifactId, alias) ?? null) !== record.expected) return;
    if (version === null) this.#sql.removeAlias.run(artifactId, alias);
    else if (this.#sql.version.get(artifactId, version)?.expired === 0) {
      this.#sql.setAlias.run(artifactId, alias, version);
    }
  }

  #insertVersion(artifactId: string, record: LogRecord<CommitBody>): void {
    const expected = this.#sql.nextVersion.get(artifactId);
    if (record.version !== expected) {
      throw new ArtifactError(
        'Corrupt',
        `log of artifact ${artifactId}: record ${record.seq} commits v${record.version} where v${expected} is next`,
        { artifactId, seq: record.seq, hint: 'run artifactfs fsck' },
      );
    }
    const { summary } = record;
    this.#sql.insertVersion.run(
      artifactId,
      record.version,
      record.seq,
      record.commitId,
      record.time,
      record.host,
      record.user,
      record.message,
      JSON.stringify(record.tree),
      summary.added,
      summary.changed,
      summary.removed,
    );
  }

  /** By artifact; most have none. */
  features(): Map<string, FeatureSet> {
    const all = new Map<string, FeatureSet>();
    for (const { artifact, need, feature } of this.#sql.features.all()) {
      const known = all.get(artifact) ?? { reader: [], writer: [], gc: [] };
      all.set(artifact, { ...known, [need]: [...known[need], feature] });
    }
    return all;
  }

  /** Nothing of its log was ever read. Trees stay: what versions share is the same for all. */
  forget(artifactId: string): void {
    this.#sql.forget.run(artifactId);
  }

  /** Artifacts with at least one record. */
  count(): number {
    return this.#sql.count.get() ?? 0;
  }

  children(collectionId: string, after = '', limit = -1): Child[] {
    return this.#sql.children.all(collectionId, after, limit);
  }

  child(collectionId: string, name: string): Child | undefined {
    return this.#sql.child.get(collectionId, name);
  }

  versions(artifactId: string): VersionInfo[] {
    return this.#sql.versions.all(artifactId).map(toVersionInfo);
  }

  version(artifactId: string, version: number): VersionInfo | undefined {
    const row = this.#sql.version.get(artifactId, version);
    return row === undefined ? undefined : toVersionInfo(row);
  }

  aliases(artifactId: string): Record<string, number> {
    return Object.fromEntries(this.#sql.aliases.all(artifactId).map((row) => [row.alias, row.version]));
  }
}

const needs = ['reader', 'writer', 'gc'] as const;

function checkNext(artifactId: string, seq: number, hash: string, stored: StoredRecord): void {
  const { record } = stored;
  if (record.seq !== seq + 1) {
    throw new ArtifactError(
      'Internal',
      `records for artifact ${artifactId} go on at ${record.seq}, the catalog is at ${seq}`,
      { artifactId, seq: record.seq },
    );
  }
  if (record.prev !== hash) throw brokenChain(artifactId, record.seq, 'does not name its predecessor');
}

/** Slots are never overwritten, so the same slot with other bytes is another log. */
function checkSame(artifactId: string, seq: number, hash: string, stored: StoredRecord): void {
  if (stored.record.seq === seq && stored.hash !== hash) {
    throw brokenChain(artifactId, seq, 'differs from the one read before');
  }
}

function brokenChain(artifactId: string, seq: number, what: string): ArtifactError {
  return new ArtifactError('Corrupt', `log of artifact ${artifactId}: record ${seq} ${what}`, {
    artifactId,
    seq,
    hint: 'run artifactfs fsck; somebody has replaced objects under the log',
  });
}

interface HeadRow {
  readonly head_seq: number;
  readonly head_hash: string;
  readonly manifest: string;
}

interface FeatureRow {
  readonly artifact: string;
  readonly need: keyof FeatureSet;
  readonly feature: string;
}

interface VersionRow {
  readonly version: number;
  readonly seq: number;
  readonly commit_id: string;
  readonly time_ms: number;
  readonly host: string;
  readonly user: string;
  readonly message: string;
  readonly tree: string;
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
  readonly expired: number;
}

const toVersionInfo = (row: VersionRow): VersionInfo => ({
  version: row.version,
  seq: row.seq,
  commitId: row.commit_id,
  timeMs: row.time_ms,
  host: row.host,
  user: row.user,
  message: row.message,
  tree: JSON.parse(row.tree) as TreeRef,
  added: row.added,
  changed: row.changed,
  removed: row.removed,
  expired: row.expired !== 0,
});

type Statements = ReturnType<typeof prepare>;

function prepare(db: Database) {
  const run = <P extends unknown[]>(sql: string): Statement<P> => db.prepare<P>(sql);
  return {
    head: db.prepare<[string], HeadRow>('SELECT head_seq, head_hash, manifest FROM artifacts WHERE id = ?'),
    count: db.prepare<[], number>('SELECT count(*) FROM artifacts').pluck(),
    insertHead: run<[string]>(`INSERT INTO artifacts VALUES (?, 0, '', '{}')`),
    updateHead: run<[number, string, string | null, string]>(
      'UPDATE artifacts SET head_seq = ?, head_hash = ?, manifest = coalesce(?, manifest) WHERE id = ?',
    ),
    forget: run<[string]>('DELETE FROM artifacts WHERE id = ?'),
    latest: db.prepare<[string], VersionRow>(
      'SELECT * FROM versions WHERE artifact = ? AND expired = 0 ORDER BY version DESC LIMIT 1',
    ),
    nextVersion: db
      .prepare<[string], number>('SELECT coalesce(max(version) + 1, 0) FROM versions WHERE artifact = ?')
      .pluck(),
    versions: db.prepare<[string], VersionRow>(
      'SELECT * FROM versions WHERE artifact = ? ORDER BY version DESC',
    ),
    version: db.prepare<[string, number], VersionRow>(
      'SELECT * FROM versions WHERE artifact = ? AND version = ?',
    ),
    insertVersion: run<
      [
        string,
        number,
        number,
        string,
        number,
        string,
        string,
        string,
        string,
        ...[added: number, changed: number, removed: number],
      ]
    >('INSERT INTO versions VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0)'),
    expire: run<[string, number]>('UPDATE versions SET expired = 1 WHERE artifact = ? AND version = ?'),
    aliases: db.prepare<[string], { alias: string; version: number }>(
      'SELECT alias, version FROM aliases WHERE artifact = ? ORDER BY alias',
    ),
    alias: db
      .prepare<[string, string], number>('SELECT version FROM aliases WHERE artifact = ? AND alias = ?')
      .pluck(),
    setAlias: run<[string, string, number]>('INSERT OR REPLACE INTO aliases VALUES (?, ?, ?)'),
    removeAlias: run<[string, string]>('DELETE FROM aliases WHERE artifact = ? AND alias = ?'),
    children: db.prepare<[string, string, number], Child>(
      `SELECT name, artifact AS artifactId FROM children
       WHERE collection = ? AND name > ? ORDER BY name LIMIT ?`,
    ),
    child: db.prepare<[string, string], Child>(
      'SELECT name, artifact AS artifactId FROM children WHERE collection = ? AND name = ?',
    ),
    features: db.prepare<[], FeatureRow>('SELECT artifact, need, feature FROM features'),
    insertFeature: run<[string, string, string]>('INSERT OR IGNORE INTO features VALUES (?, ?, ?)'),
    // A name that is taken stays with whom it has: the later record is without effect.
    insertChild: run<[string, string, string]>('INSERT OR IGNORE INTO children VALUES (?, ?, ?)'),
    renameChild: run<[string, string, string, string]>(
      'UPDATE OR IGNORE children SET name = ? WHERE collection = ? AND name = ? AND artifact = ?',
    ),
    removeChild: run<[string, string, string]>(
      'DELETE FROM children WHERE collection = ? AND name = ? AND artifact = ?',
    ),
  };
}
