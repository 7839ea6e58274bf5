import type { Entry } from '../model/entry.js';
import type { CallOptions } from '../store/object-store.js';
import type { FeatureSet } from './features.js';
import type { TreeRef } from './records.js';

/** The list of a version's ranges, plus what belongs to the tree as a whole. */
export interface Metarange {
  readonly kind: 'artifactfs.metarange';
  readonly formatVersion: 1;
  /** The artifact's own directory: dir '' and name ''. */
  readonly root: Entry;
  /** In key order, not overlapping. */
  readonly ranges: readonly RangeRef[];
  readonly entries: number;
  readonly bytes: number;
  /** Every ino prefix used by any version so far: a new stage draws one that is not here. */
  readonly inoPrefixes: readonly number[];
}

/** One stored piece of the sorted entries. `sha256` of the stored (compressed) bytes identifies it across versions. */
export interface RangeRef {
  readonly object: string;
  readonly offset: number;
  readonly length: number;
  readonly sha256: string;
  readonly entries: number;
  readonly first: { readonly dir: string; readonly name: string };
  readonly last: { readonly dir: string; readonly name: string };
}

/** Reads trees of one artifact. Bytes are verified against the hash; a mismatch is `Corrupt`, naming the object. */
export interface TreeReader {
  metarange(artifactId: string, tree: TreeRef, options?: CallOptions): Promise<Metarange>;
  /** Entries in key order. */
  range(artifactId: string, range: RangeRef, options?: CallOptions): Promise<Entry[]>;
  /**
   * Told by the catalog when it is opened: features in the part of a log that nobody will read again. False: a newer build
   * has read past what this one understands, and the catalog has to forget the artifact.
   */
  admitFeatures?(artifactId: string, features: FeatureSet): boolean;
}

/** What one path becomes: `after` null = removed. */
export interface TreeChange {
  readonly dir: string;
  readonly name: string;
  readonly after: Entry | null;
  /** What the base version has there; null = nothing, undefined = not looked for. */
  readonly before?: Entry | null | undefined;
}

/**
 * Changes in tree order: a list, or, where there are too many to hold, pages of them that are made as they are read, each
 * time anew.
 */
export type TreeChanges = readonly TreeChange[] | AsyncIterable<readonly TreeChange[]>;

/** One path's difference against the base version. */
export interface PathChange extends TreeChange {
  readonly before: Entry | null;
}
