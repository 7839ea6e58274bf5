import type { Entry } from '../model/entry.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { Manifest, StoredRecord, TreeRef } from '../workspace/records.js';
import type { TreeChange } from '../workspace/trees.js';

/** Committed metadata of the workspace in catalog.db. Everything here can be rebuilt from the store. */
export interface Catalog extends Disposable {
  /** The replayed state of an artifact's log as far as it was applied; undefined before the first record. */
  artifact(artifactId: string): ArtifactState | undefined;
  /** Applies records that follow the known head; records already applied are ignored, a gap is `Internal`. */
  apply(artifactId: string, records: readonly StoredRecord[]): ArtifactState;

  /** Live names in a collection, in name order. */
  children(collectionId: string, after?: string, limit?: number): readonly Child[];
  child(collectionId: string, name: string): Child | undefined;

  /** Newest first. */
  versions(artifactId: string): readonly VersionInfo[];
  version(artifactId: string, version: number): VersionInfo | undefined;
  aliases(artifactId: string): Readonly<Record<string, number>>;

  /** The tree of a version; its ranges are fetched into the catalog as they are wanted. */
  tree(artifactId: string, tree: TreeRef): Promise<VersionTree>;
}

export interface Child {
  readonly name: string;
  readonly artifactId: string;
}

export interface ArtifactState {
  readonly artifactId: string;
  readonly headSeq: number;
  readonly headHash: string;
  /** null: no commit yet. */
  readonly latest: VersionInfo | null;
  readonly manifest: Manifest;
}

export interface VersionInfo {
  readonly version: number;
  readonly seq: number;
  readonly commitId: string;
  readonly timeMs: number;
  readonly host: string;
  readonly user: string;
  readonly message: string;
  readonly tree: TreeRef;
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
  readonly expired: boolean;
}

/** One immutable file table. Look-ups in ranges already loaded answer at once, from SQLite. */
export interface VersionTree {
  readonly ref: TreeRef;
  readonly root: Entry;
  readonly inoPrefixes: readonly number[];
  lookup(dir: string, name: string): MaybePromise<Entry | undefined>;
  /** Entries of one directory after `after` in name order, at most `limit`. Fewer than `limit` means the end. */
  list(dir: string, after: string | null, limit: number): MaybePromise<Entry[]>;
  /** At most `limit` entries after `path` in tree order, of ranges that are loaded: fewer when it would have to wait. */
  following(path: string, limit: number): readonly Entry[];
  /** Every entry below `dir` (all of it for ''), in tree order. */
  walk(dir: string): AsyncIterable<Entry>;
  /** The same, some hundred at a time: for who goes through very many. */
  walkPages(dir: string): AsyncIterable<readonly Entry[]>;
  /** The entries that `other` may not have like this, in tree order: all but those of ranges that both have. */
  walkUnlike(other: VersionTree): AsyncIterable<Entry>;
  /**
   * This tree is `base` with `changes`, which are few: what is loaded of `base` needs not be fetched again. What cannot be
   * taken over is left to be fetched.
   */
  inherit(base: VersionTree, changes: readonly TreeChange[]): Promise<void>;
}
