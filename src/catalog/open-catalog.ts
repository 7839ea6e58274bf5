import { existsSync, renameSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { LRUCache } from 'lru-cache';
import { ArtifactError, isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { SharedWork } from '../util/shared-work.js';
import { type Database, openDatabase } from '../util/sqlite.js';
import { sqliteFailure } from '../util/sqlite-errors.js';
import type { StoredRecord, TreeRef } from '../workspace/records.js';
import type { TreeReader } from '../workspace/trees.js';
import { CatalogFacts } from './catalog-facts.js';
import { checkCatalog } from './invariants.js';
import { LogTables } from './log-tables.js';
import { MetarangeTable } from './metarange-table.js';
import type { ArtifactState, Catalog, Child, VersionInfo, VersionTree } from './ports.js';
import { RangeStore } from './range-store.js';
import { catalogMigrations } from './schema.js';
import { CatalogTree } from './version-tree.js';

export interface CatalogOptions {
  /** Entries of trees kept in the file; default `limits.catalogEntriesMax`. */
  readonly entriesMax?: number;
  /** The file could not be used and was moved to `movedTo`; an empty catalog took its place. */
  readonly onRebuild?: (reason: ArtifactError, movedTo: string) => void;
}

export interface CatalogStats {
  readonly artifacts: number;
  /** In the ranges that are in the catalog now. */
  readonly entries: number;
  readonly ranges: number;
  /** catalog.db with its -wal. */
  readonly diskBytes: number;
}

/**
 * Opens or creates the catalog. A file that is corrupt or of a newer artifactfs is moved aside to `<path>.bad` and an
 * empty one takes its place, because the store has everything. Throws `NoSpace`, `AccessDenied`, `Busy`, ...
 * The caller disposes it.
 */
export function openCatalog(
  path: string,
  treeReader: TreeReader,
  options: CatalogOptions = {},
): SqliteCatalog {
  try {
    if (existsSync(markOf(path))) {
      throw new ArtifactError('Corrupt', `${path}: SQLite found it damaged when it was last used`, { path });
    }
    return openFile(path, treeReader, options);
  } catch (error) {
    if (path === ':memory:' || !isCode(error, 'Corrupt', 'UnsupportedFormat')) throw error;
    const movedTo = moveAside(path);
    options.onRebuild?.(error, movedTo);
    return openFile(path, treeReader, options);
  }
}

function openFile(path: string, treeReader: TreeReader, options: CatalogOptions): SqliteCatalog {
  const db = openDatabase(path, {
    migrations: catalogMigrations,
    exclusive: true,
    pageBytes: 8192,
    cacheBytesMax: limits.catalogCacheBytesMax,
  });
  try {
    return new SqliteCatalog(db, treeReader, options.entriesMax ?? limits.catalogEntriesMax);
  } catch (error) {
    db.close();
    throw sqliteFailure(error, path);
  }
}

/** Left by a catalog that met damaged pages while it was in use, for the next open to start afresh. */
export const markOf = (path: string): string => `${path}.damaged`;

function moveAside(path: string): string {
  const movedTo = `${path}.bad`;
  for (const suffix of ['', '-wal', '-shm']) {
    rmSync(movedTo + suffix, { force: true });
    if (existsSync(path + suffix)) renameSync(path + suffix, movedTo + suffix);
  }
  rmSync(markOf(path), { force: true });
  return movedTo;
}

/** What `openCatalog` returns: the port, and what tests and `status` ask besides. */
export class SqliteCatalog implements Catalog {
  readonly #db: Database;
  readonly #logs: LogTables;
  readonly #ranges: RangeStore;
  readonly #metaranges: MetarangeTable;
  readonly #trees = new LRUCache<string, CatalogTree>({ max: limits.catalogTreesMax });
  readonly #opening = new SharedWork<CatalogTree>();

  constructor(db: Database, treeReader: TreeReader, entriesMax: number) {
    this.#db = db;
    this.#logs = new LogTables(db);
    this.#ranges = new RangeStore(db, treeReader, entriesMax, (error) => this.#failure(error));
    this.#metaranges = new MetarangeTable(db, treeReader);
    for (const [id, features] of this.#logs.features())
      if (treeReader.admitFeatures?.(id, features) === false) this.#logs.forget(id);
  }

  artifact(artifactId: string): ArtifactState | undefined {
    return this.#guard(() => this.#logs.artifact(artifactId));
  }

  apply(artifactId: string, records: readonly StoredRecord[]): ArtifactState {
    return this.#guard(() => this.#logs.apply(artifactId, records));
  }

  children(collectionId: string, after?: string, limit?: number): readonly Child[] {
    return this.#guard(() => this.#logs.children(collectionId, after, limit));
  }

  child(collectionId: string, name: string): Child | undefined {
    return this.#guard(() => this.#logs.child(collectionId, name));
  }

  versions(artifactId: string): readonly VersionInfo[] {
    return this.#guard(() => this.#logs.versions(artifactId));
  }

  version(artifactId: string, version: number): VersionInfo | undefined {
    return this.#guard(() => this.#logs.version(artifactId, version));
  }

  aliases(artifactId: string): Readonly<Record<string, number>> {
    return this.#guard(() => this.#logs.aliases(artifactId));
  }

  async tree(artifactId: string, ref: TreeRef): Promise<VersionTree> {
    const key = `${artifactId}/${ref.sha256}`;
    return this.#trees.get(key) ?? this.#opening.run(key, () => this.#openTree(artifactId, ref, key));
  }

  stats(): CatalogStats {
    const { ranges } = this.#ranges;
    const artifacts = this.#guard(() => this.#logs.count());
    return { artifacts, entries: this.#ranges.entries, ranges, diskBytes: diskBytes(this.#db) };
  }

  /** For comparing it with the store. */
  get facts(): CatalogFacts {
    return new CatalogFacts(this.#db);
  }

  /** Resolves when no range is being loaded or removed. */
  settled(): Promise<void> {
    return this.#ranges.settled();
  }

  /** Throws `Internal` naming the first invariant of the schema that does not hold. Reads everything. */
  checkInvariants(): void {
    checkCatalog(this.#db, this.#ranges);
  }

  /** Loads in flight reject with `Interrupted`. */
  [Symbol.dispose](): void {
    if (!this.#db.open) return;
    try {
      this.#ranges.close();
    } finally {
      this.#db.close();
    }
  }

  async #openTree(artifactId: string, ref: TreeRef, key: string): Promise<CatalogTree> {
    const metarange =
      this.#guard(() => this.#metaranges.get(ref)) ?? (await this.#metaranges.fetch(artifactId, ref));
    const tree = new CatalogTree(artifactId, ref, metarange, this.#ranges);
    this.#trees.set(key, tree);
    return tree;
  }

  #guard<T>(read: () => T): T {
    try {
      return read();
    } catch (error) {
      throw this.#failure(error);
    }
  }

  #failure(error: unknown): ArtifactError {
    const failure = sqliteFailure(error, this.#db.name);
    if (failure.code === 'Corrupt' && failure.details['path'] === this.#db.name && !this.#db.memory) {
      writeFileSync(markOf(this.#db.name), `${failure.message}\n`, { mode: 0o600 });
    }
    return failure;
  }
}

function diskBytes(db: Database): number {
  if (db.memory) return 0;
  return [db.name, `${db.name}-wal`].reduce(
    (sum, path) => sum + (statSync(path, { throwIfNoEntry: false })?.size ?? 0),
    0,
  );
}
