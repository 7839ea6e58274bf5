/** The records of an artifact's log: `a/<artifactId>/log/<20-digit seq>.json`, described in doc/FORMAT.md. */

/** Every record has these. `seq` starts at 1; `prev` is the SHA-256 (hex) of the previous record's bytes, '' for 1. */
export interface RecordHeader {
  readonly kind: 'artifactfs.record';
  readonly formatVersion: 1;
  readonly seq: number;
  readonly prev: string;
  /** Random UUID inside the body: the only proof that a slot is ours. */
  readonly commitId: string;
  readonly host: string;
  readonly user: string;
  /** Milliseconds since 1970: max(now, previous + 1). */
  readonly time: number;
}

export type RecordBody =
  | CommitBody
  | { readonly type: 'link'; readonly name: string; readonly artifactId: string }
  | { readonly type: 'unlink'; readonly name: string; readonly artifactId: string }
  | { readonly type: 'rename'; readonly from: string; readonly to: string; readonly artifactId: string }
  | {
      readonly type: 'alias';
      readonly alias: string;
      readonly expected: number | null;
      readonly version: number | null;
    }
  | { readonly type: 'meta'; readonly manifest: Manifest }
  | { readonly type: 'expire'; readonly versions: readonly number[] }
  | { readonly type: 'abandon'; readonly stages: readonly string[] }
  | {
      readonly type: 'feature';
      readonly reader?: readonly string[];
      readonly writer?: readonly string[];
      readonly gc?: readonly string[];
    }
  | { readonly type: 'noop' };

export interface CommitBody {
  readonly type: 'commit';
  /** 0 for the first; last version + 1 (not the same number as seq). */
  readonly version: number;
  /** The log position that the stage was built on; 0 for a new artifact. */
  readonly baseSeq: number;
  readonly stages: readonly string[];
  readonly tree: TreeRef;
  readonly summary: ChangeSummary;
  readonly message: string;
  readonly manifest: Manifest;
  readonly inputs: readonly Input[];
}

/** Free JSON object of the user's; `type` ('collection', 'model', ...), `name`, `description`, `tags` are known words. */
export type Manifest = Readonly<Record<string, unknown>>;

export interface Input {
  readonly artifactId: string;
  readonly version: number;
}

/** Where a metarange lies: key relative to the artifact's prefix, and the SHA-256 (hex) of its stored bytes. */
export interface TreeRef {
  readonly object: string;
  readonly offset: number;
  readonly length: number;
  readonly sha256: string;
  /** Names in the tree, the root directory excluded. */
  readonly entries: number;
  /** Sum of file sizes, each hard-linked file once per name. */
  readonly bytes: number;
}

export interface ChangeSummary {
  readonly added: number;
  readonly changed: number;
  readonly removed: number;
}

export type LogRecord<B extends RecordBody = RecordBody> = RecordHeader & B;

/** A record as read from its slot, with the hash of its bytes (the next record's `prev`). */
export interface StoredRecord<B extends RecordBody = RecordBody> {
  readonly record: LogRecord<B>;
  readonly hash: string;
}
