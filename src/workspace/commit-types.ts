import type { Entry } from '../model/entry.js';
import type { CallOptions } from '../store/object-store.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { IntactLog, LogRead } from './log.js';
import type { Input, Manifest, RecordBody, StoredRecord, TreeRef } from './records.js';
import type { TreeChanges } from './trees.js';

/**
 * The commit protocol's durable memory (in stage.db): written before the slot is tried, so that a crash at any
 * point is resolved from it. A row stays until the slot is known to be ours or another's.
 */
export interface Intent {
  readonly commitId: string;
  readonly artifactId: string;
  readonly stageId: string;
  readonly baseSeq: number;
  /**
   * prepared: nothing was sent to the log. slot: `body` may be in slot `seq`. unknown: the same, and the caller was
   * told so. An intent in `slot` or `unknown` is resolved by putting the same bytes into the same slot again.
   */
  readonly state: 'prepared' | 'slot' | 'unknown';
  readonly seq?: number;
  /** The exact bytes of the record, as UTF-8. */
  readonly body?: string;
}

export interface IntentJournal {
  /**
   * It survives the daemon when this returns. When it resolves, an intent in `slot` or `unknown` survives a loss of power,
   * too, with everything stored before.
   */
  save(intent: Intent): MaybePromise<void>;
  pending(artifactId?: string): Intent[];
  remove(commitId: string): void;
}

/** A position in a log that its reader knows, and the hash of the record there; 0 and '' for the beginning. */
export interface LogPosition {
  readonly artifactId: string;
  readonly sinceSeq: number;
  readonly sincePrev: string;
}

/** The log as it is before a record is appended. */
export interface LogView {
  /** The record at the caller's position; null at the beginning. */
  readonly base: StoredRecord | null;
  /** Everything after it. */
  readonly since: readonly StoredRecord[];
}

/** Where staged files have objects from that may be in no file of the base: what stayed staged when its stage was published. */
export interface StageUses {
  /** Earlier bases. */
  readonly versions: readonly number[];
  /** Earlier stages of the same owner. */
  readonly stages: readonly string[];
}

export const usesNothing: StageUses = { versions: [], stages: [] };

export interface PublishRequest {
  readonly artifactId: string;
  readonly commitId: string;
  readonly stageId: string;
  /** What the stage was built on; null for a new artifact. */
  readonly base: {
    readonly seq: number;
    readonly hash: string;
    readonly version: number;
    readonly tree: TreeRef;
    readonly uses?: StageUses;
  } | null;
  /** Against `base`, in tree order. All data objects are uploaded. */
  readonly changes: TreeChanges;
  /** Resolves when all of them are verified, before which no record is written. Left out: they are. */
  readonly stored?: Promise<unknown>;
  /** Present when the artifact directory's own attributes changed, and for a new artifact. */
  readonly root?: Entry;
  readonly inoPrefixes: readonly number[];
  readonly message: string;
  /** Present when the manifest was edited; otherwise the head's is kept. */
  readonly manifest?: Manifest;
  readonly inputs: readonly Input[];
  readonly onConflict: 'fail' | 'mine' | 'theirs';
  /** Sees the manifest that is about to be published, each time it is decided anew; throws when it may not be. */
  readonly checkManifest?: (manifest: Manifest) => void;
  /** The log after `base`, asked for a moment ago by `look`. */
  readonly log?: Promise<LogView>;
}

export interface PublishResult {
  readonly version: number;
  readonly tree: TreeRef;
  /** All records since the base, the new one last: what the catalog has to apply. */
  readonly records: readonly StoredRecord[];
  /** True when other commits lay between base and the new version. */
  readonly rebased: boolean;
}

/** What the upper layers ask of the protocol; `Workspace` implements it. */
export interface Publisher {
  /**
   * Steps 3 to 8 of doc/FORMAT.md "Commit": success only when the record was read back from its slot. Throws
   * `Conflict` (details.paths), `OutcomeUnknown` (the intent stays), `Corrupt`, `UnsupportedFormat`, store errors.
   */
  publish(request: PublishRequest, journal: IntentJournal, options?: CallOptions): Promise<PublishResult>;
  /** The log for a `publish` that comes soon, so that reading it takes no time of its own. */
  look(position: LogPosition, options?: CallOptions): Promise<LogView>;
  /** Resolves an intent left by a crash or an unknown outcome: the records since its base, or null: it never took place. */
  resolve(intent: Intent, journal: IntentJournal, options?: CallOptions): Promise<PublishResult | null>;
  /**
   * Appends a record of any other type. `decide` sees the whole log since `since` each time the slot is lost and
   * returns the body to write, or throws.
   */
  append(
    request: { artifactId: string; commitId: string; stageId: string; sinceSeq: number; sincePrev: string },
    decide: (since: readonly StoredRecord[]) => RecordBody,
    journal: IntentJournal,
    options?: CallOptions,
  ): Promise<readonly StoredRecord[]>;
  /** Throws `UnsupportedFormat` when it is known already that no record may be appended. */
  requireAppendable(artifactId: string): void;
  /** Records after `seq` (whose hash is `hash`; 0 and '' for the beginning), contiguous and hash-chained. */
  readLog(artifactId: string, seq: number, hash: string, options?: CallOptions): Promise<StoredRecord[]>;
  /** The same as far as the log can be read. */
  readIntactLog(artifactId: string, seq: number, hash: string, options?: LogRead): Promise<IntactLog>;
}
