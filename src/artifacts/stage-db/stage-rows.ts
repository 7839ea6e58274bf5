import type { Database, Statement } from '../../util/sqlite.js';
import { type StageUses, usesNothing } from '../../workspace/commit-types.js';
import type { Manifest, TreeRef } from '../../workspace/records.js';

/** The version a stage is built on. */
export interface StageBase {
  /** The log position the stage has seen, and the hash of its record. */
  readonly seq: number;
  readonly hash: string;
  readonly version: number;
  readonly tree: TreeRef;
}

export interface NamePlace {
  readonly collectionId: string;
  readonly name: string;
}

export interface StageRow {
  readonly s: number;
  readonly artifactId: string;
  readonly stageId: string;
  readonly base: StageBase | null;
  readonly inoPrefixes: readonly number[];
  readonly inoNext: number;
  readonly gen: number;
  readonly sealed: number | null;
  readonly commitId: string | null;
  readonly manifest: Manifest | null;
  readonly manifestGen: number;
  /** Paths that were staged on a base in which others have changed them since; the next commit must decide. */
  readonly conflicts: readonly string[];
  /** Where the artifact's name is, as far as is known; null for the root. */
  readonly place: NamePlace | null;
  /** The name is not linked yet: the first commit does. */
  readonly isNew: boolean;
  /** Where staged files may have objects from, besides the base. */
  readonly uses: StageUses;
}

interface Columns {
  s: number;
  artifact_id: string;
  stage_id: string;
  base: string | null;
  ino_prefixes: string;
  ino_next: number;
  gen: number;
  sealed: number | null;
  commit_id: string | null;
  manifest: string | null;
  manifest_gen: number;
  conflicts: string | null;
  collection_id: string | null;
  name: string | null;
  is_new: number;
  uses: string | null;
}

/** One row per artifact that has something staged. Callers hold a transaction for writes. */
export class StageRows {
  readonly #insert: Statement<(string | number | null)[]>;
  readonly #update: Statement<(string | number | null)[]>;
  readonly #setInoNext: Statement<[number, number]>;
  readonly #byArtifact: Statement<[string], Columns>;
  readonly #all: Statement<[], Columns>;
  readonly #newIn: Statement<[string, string, number], { name: string }>;
  readonly #newNamed: Statement<[string, string], { artifact_id: string }>;
  readonly #delete: Statement<[number]>;

  constructor(db: Database) {
    this.#insert = db.prepare(
      `INSERT INTO stage (artifact_id, stage_id, base, ino_prefixes, ino_next, gen, sealed, commit_id, manifest,
                          manifest_gen, conflicts, collection_id, name, is_new, uses)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#update = db.prepare(
      `UPDATE stage SET artifact_id = ?, stage_id = ?, base = ?, ino_prefixes = ?, ino_next = ?, gen = ?,
         sealed = ?, commit_id = ?, manifest = ?, manifest_gen = ?, conflicts = ?, collection_id = ?, name = ?,
         is_new = ?, uses = ? WHERE s = ?`,
    );
    this.#setInoNext = db.prepare('UPDATE stage SET ino_next = ? WHERE s = ?');
    this.#byArtifact = db.prepare('SELECT * FROM stage WHERE artifact_id = ?');
    this.#all = db.prepare('SELECT * FROM stage ORDER BY s');
    this.#newIn = db.prepare(
      'SELECT name FROM stage WHERE collection_id = ? AND name > ? AND is_new ORDER BY name LIMIT ?',
    );
    this.#newNamed = db.prepare(
      'SELECT artifact_id FROM stage WHERE collection_id = ? AND name = ? AND is_new',
    );
    this.#delete = db.prepare('DELETE FROM stage WHERE s = ?');
  }

  insert(row: Omit<StageRow, 's'>): number {
    return Number(this.#insert.run(...values(row)).lastInsertRowid);
  }

  update(row: StageRow): void {
    this.#update.run(...values(row), row.s);
  }

  /** The same stage under a number that has no rows yet, which is answered. */
  renumber(row: StageRow): number {
    this.#delete.run(row.s);
    return this.insert(row);
  }

  setInoNext(s: number, inoNext: number): void {
    this.#setInoNext.run(inoNext, s);
  }

  byArtifact(artifactId: string): StageRow | undefined {
    const row = this.#byArtifact.get(artifactId);
    return row === undefined ? undefined : rowOf(row);
  }

  all(): StageRow[] {
    return this.#all.all().map(rowOf);
  }

  /** Names of artifacts whose name in `collectionId` is not linked yet, in order. */
  newNames(collectionId: string, after: string, limit: number): string[] {
    return this.#newIn.all(collectionId, after, limit).map((row) => row.name);
  }

  newNamed(collectionId: string, name: string): string | undefined {
    return this.#newNamed.get(collectionId, name)?.artifact_id;
  }

  delete(s: number): void {
    this.#delete.run(s);
  }
}

function values(row: Omit<StageRow, 's'>): (string | number | null)[] {
  return [
    row.artifactId,
    row.stageId,
    row.base === null ? null : JSON.stringify(row.base),
    JSON.stringify(row.inoPrefixes),
    row.inoNext,
    row.gen,
    row.sealed,
    row.commitId,
    row.manifest === null ? null : JSON.stringify(row.manifest),
    row.manifestGen,
    row.conflicts.length === 0 ? null : JSON.stringify(row.conflicts),
    row.place?.collectionId ?? null,
    row.place?.name ?? null,
    row.isNew ? 1 : 0,
    row.uses.versions.length + row.uses.stages.length === 0 ? null : JSON.stringify(row.uses),
  ];
}

function rowOf(row: Columns): StageRow {
  return {
    s: row.s,
    artifactId: row.artifact_id,
    stageId: row.stage_id,
    base: row.base === null ? null : (JSON.parse(row.base) as StageBase),
    inoPrefixes: JSON.parse(row.ino_prefixes) as number[],
    inoNext: row.ino_next,
    gen: row.gen,
    sealed: row.sealed,
    commitId: row.commit_id,
    manifest: row.manifest === null ? null : (JSON.parse(row.manifest) as Manifest),
    manifestGen: row.manifest_gen,
    conflicts: row.conflicts === null ? [] : (JSON.parse(row.conflicts) as string[]),
    place:
      row.collection_id === null || row.name === null
        ? null
        : { collectionId: row.collection_id, name: row.name },
    isNew: row.is_new !== 0,
    uses: row.uses === null ? usesNothing : (JSON.parse(row.uses) as StageUses),
  };
}
