import { hostname, userInfo } from 'node:os';
import { type Clock, type Entry, systemClock } from '../model/entry.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { rootCollectionId } from '../model/ids.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { LogAppender, realSleep, type Sleep } from './appender.js';
import { CommitPlanner } from './commit-planner.js';
import type {
  Intent,
  IntentJournal,
  LogPosition,
  LogView,
  Publisher,
  PublishRequest,
  PublishResult,
} from './commit-types.js';
import { type FeatureSet, isReadable, requireReadable, requireWritable } from './features.js';
import {
  type CreateMode,
  type OpenedFormat,
  openFormat,
  requireFormat,
  type WorkspaceFormat,
} from './format.js';
import { type IntactLog, type LogRead, readIntactLog } from './log.js';
import { isCommit } from './log-facts.js';
import { checkAliasName, checkArtifactName } from './names.js';
import type { RecordBody, StoredRecord, TreeRef } from './records.js';
import { featuresAfter, unionOfFeatures } from './replay.js';
import { StoredTrees } from './tree-store.js';
import type { Metarange, RangeRef, TreeReader } from './trees.js';

export interface WorkspaceOptions extends CallOptions {
  /** What to do where there is no workspace yet. Default 'if-empty'. */
  readonly create?: CreateMode;
  readonly clock?: Clock;
  /** Written into every record. Default: this machine's name and this process's user. */
  readonly host?: string;
  readonly user?: string;
  /** For tests. */
  readonly sleep?: Sleep;
  readonly random?: () => number;
}

/** Everything under one store URL: logs, trees, and the protocol that changes them. Does not own the store. */
export class Workspace implements Publisher, TreeReader {
  readonly store: ObjectStore;
  readonly format: WorkspaceFormat;
  /** Made by this process, or by another one at the same time. */
  readonly isNew: boolean;
  readonly rootCollectionId = rootCollectionId;
  /** Who is written into every record. */
  readonly writer: { readonly host: string; readonly user: string };
  readonly #trees: StoredTrees;
  readonly #appender: LogAppender;
  /** Named by the records that this process has seen, or an earlier one whose catalog it took over: nobody writes past them. */
  readonly #features = new Map<string, FeatureSet>();

  #admitWrite: () => Promise<void> = async () => {};
  /** That the store has this workspace; null: not asked yet, or it did not answer. */
  #confirmed: Promise<void> | null = Promise.resolve();

  private constructor(store: ObjectStore, { format, isNew }: OpenedFormat, options: WorkspaceOptions) {
    this.store = store;
    this.format = format;
    this.isNew = isNew;
    this.#trees = new StoredTrees(store);
    const { host, user } = thisWriter();
    this.writer = { host: options.host ?? host, user: options.user ?? user };
    this.#appender = new LogAppender({
      store,
      clock: options.clock ?? systemClock,
      ...this.writer,
      sleep: options.sleep ?? realSleep,
      random: options.random ?? Math.random,
    });
  }

  /**
   * Opens the workspace at `store`, or creates it as `create` says. Throws `NotFound` or `NotPermitted` (none here, and
   * none made), `Corrupt` (format.json is torn, foreign, or lost), `UnsupportedFormat` (made by a newer build).
   */
  static async open(store: ObjectStore, options: WorkspaceOptions = {}): Promise<Workspace> {
    const { signal } = options;
    const opened = await openFormat(
      store,
      options.create ?? 'if-empty',
      signal === undefined ? {} : { signal },
    );
    return new Workspace(store, opened, options);
  }

  /**
   * The same without asking a store that does not answer now: `format` is what it had when it was last used here. Nothing
   * is written before it was asked after all.
   */
  static known(store: ObjectStore, format: WorkspaceFormat, options: WorkspaceOptions = {}): Workspace {
    const workspace = new Workspace(store, { format, isNew: false }, options);
    workspace.#confirmed = null;
    return workspace;
  }

  get workspaceId(): string {
    return this.format.workspaceId;
  }

  /** `admit` is waited for before anything is written, and throws where nothing may be. */
  admitWritesBy(admit: () => Promise<void>): void {
    this.#admitWrite = admit;
  }

  /** Throws `UnsupportedFormat` when the workspace needs writer features that this build does not have. */
  requireWritable(): void {
    requireWritable(`the workspace at ${this.store.url}`, this.format);
  }

  async publish(
    request: PublishRequest,
    journal: IntentJournal,
    options: CallOptions = {},
  ): Promise<PublishResult> {
    const { artifactId, commitId, stageId, base, log } = request;
    this.requireAppendable(artifactId);
    await this.admitWrite();
    const planner = new CommitPlanner(this.store, this.#trees, request, options);
    const records = await this.#appender.append(
      {
        artifactId,
        commitId,
        stageId,
        sinceSeq: base?.seq ?? 0,
        sincePrev: base?.hash ?? '',
        ...(log === undefined ? {} : { log }),
      },
      (view) => planner.plan(view),
      journal,
      options,
    );
    return publishResult(records);
  }

  look(position: LogPosition, options: CallOptions = {}): Promise<LogView> {
    return this.#appender.look(position, options);
  }

  async resolve(
    intent: Intent,
    journal: IntentJournal,
    options: CallOptions = {},
  ): Promise<PublishResult | null> {
    await this.admitWrite();
    const records = await this.#appender.resolve(intent, journal, options);
    const mine = records?.at(-1);
    if (records === null || mine === undefined) return null;
    // It may be of a newer build: the intent stays for one.
    requireReadable(`artifact ${intent.artifactId}`, featuresAfter(records));
    if (isCommit(mine)) return publishResult(records);
    journal.remove(intent.commitId);
    return { ...(await this.#versionAt(intent.artifactId, mine, options)), records, rebased: false };
  }

  async append(
    request: { artifactId: string; commitId: string; stageId: string; sinceSeq: number; sincePrev: string },
    decide: (since: readonly StoredRecord[]) => RecordBody,
    journal: IntentJournal,
    options: CallOptions = {},
  ): Promise<readonly StoredRecord[]> {
    this.requireAppendable(request.artifactId);
    await this.admitWrite();
    const checked = async ({ since }: LogView): Promise<RecordBody> => {
      requireWritable(`artifact ${request.artifactId}`, featuresAfter(since));
      const body = decide(since);
      checkNames(body);
      return body;
    };
    const records = await this.#appender.append(request, checked, journal, options);
    journal.remove(request.commitId);
    return records;
  }

  async readLog(
    artifactId: string,
    seq: number,
    hash: string,
    options: CallOptions = {},
  ): Promise<StoredRecord[]> {
    const { records, damage } = await this.readIntactLog(artifactId, seq, hash, options);
    if (damage !== null) throw damage;
    return records;
  }

  async readIntactLog(
    artifactId: string,
    seq: number,
    hash: string,
    options: LogRead = {},
  ): Promise<IntactLog> {
    const [{ records, damage }] = await Promise.all([
      readIntactLog(this.store, artifactId, seq, hash, options),
      this.#confirm(),
    ]);
    this.#noteFeatures(artifactId, featuresAfter(records));
    const readable = readableRecords(artifactId, records);
    return { records: readable.records, damage: readable.damage ?? damage };
  }

  metarange(artifactId: string, tree: TreeRef, options?: CallOptions): Promise<Metarange> {
    return this.#trees.metarange(artifactId, tree, options);
  }

  range(artifactId: string, range: RangeRef, options?: CallOptions): Promise<Entry[]> {
    return this.#trees.range(artifactId, range, options);
  }

  admitFeatures(artifactId: string, features: FeatureSet): boolean {
    this.#noteFeatures(artifactId, features);
    return isReadable(features);
  }

  #noteFeatures(artifactId: string, features: FeatureSet): void {
    const known = this.#features.get(artifactId);
    this.#features.set(artifactId, known === undefined ? features : unionOfFeatures(known, features));
  }

  /** Of format.json and of every record of the artifact that is behind us. */
  requireAppendable(artifactId: string): void {
    this.requireWritable();
    const features = this.#features.get(artifactId);
    if (features !== undefined) requireWritable(`artifact ${artifactId}`, features);
  }

  /** Until it is known, each call asks. An emptied store would look like one where nothing is new. */
  #confirm(): Promise<void> {
    this.#confirmed ??= requireFormat(this.store, this.format).catch((error: unknown) => {
      this.#confirmed = null;
      throw error;
    });
    return this.#confirmed;
  }

  /** Resolves when the store has this workspace and takes writes; throws when nothing may be written. */
  async admitWrite(): Promise<void> {
    await this.#confirm();
    await this.#admitWrite();
  }

  /** The newest version when `record` was written; version -1 with an empty tree before the first. */
  async #versionAt(
    artifactId: string,
    { record }: StoredRecord,
    options: CallOptions,
  ): Promise<{ version: number; tree: TreeRef }> {
    const log = await this.readLog(artifactId, 0, '', options);
    const commit = log.slice(0, record.seq).findLast(isCommit)?.record;
    return commit === undefined
      ? { version: -1, tree: noTree }
      : { version: commit.version, tree: commit.tree };
  }
}

/** A reader feature counts from its record on: what comes before is as it was. */
function readableRecords(artifactId: string, records: StoredRecord[]): IntactLog {
  for (const [i, { record }] of records.entries()) {
    if (record.type !== 'feature') continue;
    try {
      requireReadable(
        `artifact ${artifactId} from log record ${record.seq} on`,
        featuresAfter(records.slice(i, i + 1)),
      );
    } catch (error) {
      if (!isCode(error, 'UnsupportedFormat')) throw error;
      return { records: records.slice(0, i), damage: error };
    }
  }
  return { records, damage: null };
}

const noTree: TreeRef = { object: '', offset: 0, length: 0, sha256: '', entries: 0, bytes: 0 };

function publishResult(records: readonly StoredRecord[]): PublishResult {
  const mine = records.at(-1);
  if (mine === undefined || !isCommit(mine))
    throw new ArtifactError('Internal', 'a commit was published, but the log ends with another record');
  const { version, tree } = mine.record;
  return { version, tree, records, rebased: records.slice(0, -1).some(isCommit) };
}

function checkNames(body: RecordBody): void {
  if (body.type === 'link') checkArtifactName(body.name);
  if (body.type === 'rename') checkArtifactName(body.to);
  if (body.type === 'alias' && body.version !== null) checkAliasName(body.alias);
}

/** This machine's name and this process's user. */
export const thisWriter = () => ({ host: hostname(), user: currentUser() });

/** A container may run as a user without a name. */
function currentUser(): string {
  try {
    return userInfo().username;
  } catch {
    return String(process.getuid?.() ?? 'unknown');
  }
}
