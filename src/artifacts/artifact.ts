import { setImmediate as nextTurn } from 'node:timers/promises';
import type { Catalog, VersionInfo, VersionTree } from '../catalog/ports.js';
import type {
  ContentReader,
  FileContent,
  FileReader,
  LocalObject,
  UploadResult,
  WalkPlace,
} from '../content/ports.js';
import { type Ino, joinPath } from '../model/entry.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { rootCollectionId } from '../model/ids.js';
import { limits } from '../model/limits.js';
import type { ObjectStore } from '../store/object-store.js';
import { Mutex } from '../util/semaphore.js';
import { transaction } from '../util/sqlite.js';
import { unlessAborted } from '../util/unless-aborted.js';
import { withinOwnTime } from '../util/within.js';
import type { Publisher } from '../workspace/commit-types.js';
import { isObject } from '../workspace/fields.js';
import { expiredIn } from '../workspace/log-facts.js';
import { checkAliasName } from '../workspace/names.js';
import type { Manifest, StoredRecord } from '../workspace/records.js';
import { checkRetention } from '../workspace/retention.js';
import type { CollectionLog } from './collection-log.js';
import { Committer } from './commit/committer.js';
import { CommitPlan } from './commit/plan.js';
import { openFiles } from './commit/seal.js';
import { applied, type DiffResult, diff, diffOfChanges, diffTrees, type Roots, walkAll } from './diff.js';
import { dropStage, followLog, removeDropped } from './drop-stage.js';
import { OtherStages } from './others.js';
import type {
  AliasChange,
  Artifact,
  ArtifactStatus,
  CommitOptions,
  CommitResult,
  Invalidation,
} from './ports.js';
import { stagedSummary } from './status.js';
import type { ArtifactTree } from './tree/working-tree.js';
import { AliasMove, Expiry, type VersionDecision, versionState } from './version-decisions.js';

export interface ArtifactParts {
  readonly id: string;
  readonly tree: ArtifactTree;
  readonly catalog: Catalog;
  readonly publisher: Publisher;
  /** Where leases are. */
  readonly store: ObjectStore;
  readonly reader: ContentReader;
  readonly log: CollectionLog;
  /** null for the root. */
  readonly place: Place | null;
  /** Links the name of a new artifact in its collection. */
  readonly link: (artifact: WorkspaceArtifact) => Promise<void>;
  /** The names in a collection may mean something else by these records, which the catalog knows. */
  readonly namesChanged: (collection: WorkspaceArtifact, records: readonly StoredRecord[]) => void;
  readonly closing: AbortSignal;
  readonly checkManifest: (artifact: WorkspaceArtifact, manifest: Manifest) => void;
  readonly onStep?: (step: string) => void;
}

/** Where an artifact's name is. */
export interface Place {
  readonly collection: WorkspaceArtifact;
  readonly name: string;
}

/** One artifact: its working view, its versions, and the verbs of its control directory. */
export class WorkspaceArtifact implements Artifact {
  readonly id: string;
  readonly tree: ArtifactTree;
  readonly committer: Committer;
  #place: Place | null;
  readonly #parts: ArtifactParts;
  readonly #listeners = new Set<(what: Invalidation) => void>();
  readonly #keepers = new Set<() => Promise<void>>();
  readonly #refreshing = new Mutex();
  readonly #others: OtherStages;
  #lastError = '';
  /** Records were found to be lost behind the head that the catalog knows: each refresh looks whether that is over. */
  #isLogSuspect = false;
  /** Text that was written as the manifest last, and is none. */
  #refusedManifest: ArtifactError | null = null;

  constructor(parts: ArtifactParts) {
    this.#parts = parts;
    this.id = parts.id;
    this.tree = parts.tree;
    this.#place = parts.place;
    this.#others = new OtherStages({
      artifactId: parts.id,
      store: parts.store,
      publisher: parts.publisher,
      ownStageId: () => this.#stage.stageId,
      closing: parts.closing,
    });
    this.committer = new Committer({
      tree: parts.tree,
      publisher: parts.publisher,
      catalog: parts.catalog,
      link: () => this.#linkName(),
      onRecords: (records) => this.#recordsApplied(records),
      onRebased: () => this.invalidate({ type: 'all' }),
      closing: parts.closing,
      checkManifest: (manifest) => parts.checkManifest(this, manifest),
      ...(parts.onStep === undefined ? {} : { onStep: parts.onStep }),
    });
  }

  get path(): string {
    return this.place === null ? '' : joinPath(this.place.collection.path, this.place.name);
  }

  get place(): Place | null {
    return this.#place;
  }

  /** The artifact was renamed or moved, here or by others. Moves that cross, one of which is taken back, give no path. */
  set place(place: Place | null) {
    if (place?.collection.isWithin(this) === true) return;
    this.#place = place;
    this.#stage.place = place === null ? null : { collectionId: place.collection.id, name: place.name };
  }

  get isCollection(): boolean {
    return this.id === rootCollectionId || this.manifest()['type'] === 'collection';
  }

  get isNew(): boolean {
    return this.#stage.isNew;
  }

  /** Is it, or has it above. */
  isWithin(ancestor: WorkspaceArtifact): boolean {
    for (let at: WorkspaceArtifact | undefined = this; at !== undefined; at = at.place?.collection)
      if (at === ancestor) return true;
    return false;
  }

  /** False before the first version: then there is nothing to read from the store. */
  get hasLog(): boolean {
    return !this.isNew || this.#stage.base !== null;
  }

  /** Something would be lost or is to be published: staged changes, an edited manifest, a name not linked. */
  get isStaged(): boolean {
    return this.#stage.exists;
  }

  /** There are changes that a discard would lose. */
  async hasStagedChanges(): Promise<boolean> {
    if (!this.isStaged) return false;
    await this.settleBriefly();
    const { stagedCount } = await this.#withSnapshot((view) => stagedSummary(view, 0));
    const manifest = this.#stage.row?.manifest ?? null;
    // A new artifact has its type from the start.
    return stagedCount > 0 || (manifest !== null && !this.isNew);
  }

  get #stage() {
    return this.tree.core.stage;
  }

  async status(limit: number = limits.statusPathsMax): Promise<ArtifactStatus> {
    await this.settleBriefly();
    const { core } = this.tree;
    const { base, row } = core.stage;
    const summary = await this.#withSnapshot((view) => stagedSummary(view, limit));
    const type = this.manifest()['type'];
    return {
      name: this.place?.name ?? '',
      path: this.path,
      artifactId: this.id,
      type: typeof type === 'string' ? type : '',
      base: base?.version ?? null,
      staged: summary.staged,
      stagedCount: summary.stagedCount,
      stagedBytes: summary.stagedBytes,
      bytesToUpload: summary.localBytes,
      uploadError: row === null ? null : core.uploader.status().lastError,
      openForWriting: openFiles(core),
      conflicts: this.committer.conflicts,
      committing: this.committer.progress,
      lastError: this.#lastError === '' ? null : this.#lastError,
      others: this.#others.known,
    };
  }

  askOthers(): Promise<void> {
    return this.#others.ask();
  }

  async commit(options: CommitOptions): Promise<CommitResult> {
    try {
      await this.settle(options.signal);
      if (this.#refusedManifest !== null) throw this.#refusedManifest;
      // Its first version would be without a name.
      if (this.isNew && this.place !== null)
        this.#parts.publisher.requireAppendable(this.place.collection.id);
      const result = await this.committer.commit(options);
      this.#lastError = '';
      return result;
    } catch (error) {
      this.#lastError = textOf(error);
      throw error;
    }
  }

  async discard(): Promise<number> {
    await this.committer.recover();
    // What comes in later would be staged again.
    await this.settle();
    return this.committer.exclusive(async () => {
      const count = await this.#withSnapshot((view) => stagedSummary(view, 0));
      const manifests = this.#stage.row?.manifest == null ? 0 : 1;
      this.#others.noteOwn();
      const dropped = await dropStage(this.tree, this.#parts.catalog);
      this.committer.forgetConflicts();
      this.#refusedManifest = null;
      this.#lastError = '';
      // What everybody is told of it takes a turn of its own.
      await nextTurn();
      this.invalidate({ type: 'all' });
      if (dropped !== null) await removeDropped(this.tree, dropped);
      return count.stagedCount + manifests;
    });
  }

  /** Finishes a commit whose outcome was unknown, if there is one. */
  async settleCommit(): Promise<void> {
    if (await this.committer.settle()) this.#lastError = '';
  }

  /** Who asks while another does is not answered before what that one has read is in force. */
  refresh(): Promise<boolean> {
    return this.#refreshing.run(async () => {
      const looksBeyond = this.#isLogSuspect;
      const { records, damage } = await this.#parts.log.advance(this.id, looksBeyond ? { looksBeyond } : {});
      await this.#follow(records);
      this.#isLogSuspect = false;
      if (damage === null) return records.length > 0;
      this.noteDamage(damage);
      throw damage;
    });
  }

  versions(): readonly VersionInfo[] {
    return this.#parts.catalog.versions(this.id);
  }

  aliases(): Readonly<Record<string, number>> {
    return this.#parts.catalog.aliases(this.id);
  }

  async setAlias(alias: string, version: string | null, expected?: number | null): Promise<AliasChange> {
    checkAliasName(alias);
    await this.refresh();
    const target = version === null ? null : this.resolveVersion(version).version;
    return this.#decided(new AliasMove({ path: this.path, alias, version: target, expected }));
  }

  async expire(versions: readonly number[]): Promise<readonly number[]> {
    await this.refresh();
    return this.#decided(new Expiry(this.path, versions));
  }

  resolveVersion(name: string): VersionInfo {
    const number = this.#versionNumber(name);
    const found = number === null ? undefined : this.#parts.catalog.version(this.id, number);
    if (found === undefined) {
      throw new ArtifactError('NotFound', `${this.path} has no version ${name}; ${this.#whatExists()}`);
    }
    if (found.expired)
      throw new ArtifactError('NotFound', `version v${found.version} of ${this.path} has expired`);
    return found;
  }

  versionTree(version: VersionInfo): Promise<VersionTree> {
    return this.#parts.catalog.tree(this.id, version.tree);
  }

  openVersionFile(content: FileContent, place?: WalkPlace): FileReader {
    return this.#parts.reader.open(this.id, content, place);
  }

  localObject(object: string, size: number): LocalObject {
    return this.#parts.reader.local(this.id, object, size);
  }

  async diff(
    from: number | null,
    to: number | 'stage',
    limit: number = limits.statusPathsMax,
  ): Promise<DiffResult> {
    const left = await this.#treeOf(from);
    if (to !== 'stage') return diffTrees(left, await this.#treeOf(to), limit);
    await this.settleBriefly();
    return this.#withSnapshot(async (view) => {
      const plan = await CommitPlan.make(view);
      const changes = await plan.changes(await pretendUploaded(plan));
      const roots: Roots = [left?.root, plan.root() ?? view.base?.root];
      if (left?.ref.sha256 === view.base?.ref.sha256) return diffOfChanges(changes, roots, limit);
      return diff(walkAll(left), applied(walkAll(view.base), changes), roots, limit);
    });
  }

  manifest(): Manifest {
    return this.#stage.row?.manifest ?? this.#parts.catalog.artifact(this.id)?.manifest ?? {};
  }

  setManifest(manifest: Manifest): void {
    const text = checkManifest(manifest);
    this.#refusedManifest = null;
    const { db, stage, base } = this.tree.core;
    const state = stage.save();
    try {
      transaction(db.db, () => {
        stage.ensure(base?.inoPrefixes ?? []);
        stage.update({ manifest: JSON.parse(text) as Manifest, manifestGen: stage.gen });
      });
    } catch (error) {
      stage.restore(state);
      throw error;
    }
  }

  refuseManifest(why: Error): void {
    const hint = 'write manifest.json again, or discard';
    this.#refusedManifest = new ArtifactError('Invalid', why.message, { hint }, why);
    this.#lastError = textOf(this.#refusedManifest);
  }

  lastError(): string {
    return this.#lastError;
  }

  /** Its log can be read up to there only. */
  noteDamage(damage: ArtifactError): void {
    this.#isLogSuspect = true;
    this.#lastError = textOf(damage);
  }

  setLastError(text: string): void {
    this.#lastError = text;
  }

  onSettle(settle: () => Promise<void>): () => void {
    this.#keepers.add(settle);
    return () => this.#keepers.delete(settle);
  }

  /** What programs have written so far is in the tree when it resolves. `Interrupted` when `signal` fires before. */
  async settle(signal?: AbortSignal): Promise<void> {
    if (this.#keepers.size === 0) return;
    const settled = Promise.all([...this.#keepers].map((settle) => settle()));
    await (signal === undefined ? settled : unlessAborted(signal, settled));
  }

  /** The same for who only looks: what a store that is away holds up is not waited for. */
  async settleBriefly(): Promise<void> {
    await withinOwnTime(limits.settleMsMax, this.settle());
  }

  onInvalidate(listener: (what: Invalidation) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  invalidate(what: Invalidation): void {
    for (const listener of this.#listeners) listener(what);
  }

  /** Appends what is decided for the versions and aliases as they are at the log's head. */
  async #decided<T>(decision: VersionDecision<T>): Promise<T> {
    const { catalog, log } = this.#parts;
    const records = await log.append(this.id, (since) =>
      decision.decide(versionState(catalog, this.id, since)),
    );
    await this.#refreshing.run(() => this.#follow(records));
    return decision.result;
  }

  async #follow(records: readonly StoredRecord[]): Promise<void> {
    this.#recordsApplied(records);
    // Also what was read before and could not be followed then.
    if (await followLog(this.tree, this.#parts.catalog)) this.invalidate({ type: 'all' });
  }

  #recordsApplied(records: readonly StoredRecord[]): void {
    for (const version of expiredIn(records)) this.invalidate({ type: 'version', version });
    this.#parts.namesChanged(this, records);
  }

  /** The first commit's second step. */
  async #linkName(): Promise<void> {
    if (this.isNew) await this.#parts.link(this);
  }

  async #withSnapshot<T>(body: (view: Parameters<typeof stagedSummary>[0]) => Promise<T>): Promise<T> {
    const { core } = this.tree;
    const { s } = core.stage;
    const { base } = core;
    using snapshot = core.db.snapshot();
    return await body({ s, base, inodes: snapshot.inodes, dirents: snapshot.dirents });
  }

  async #treeOf(version: number | null): Promise<VersionTree | null> {
    return version === null ? null : this.versionTree(this.resolveVersion(`v${version}`));
  }

  #versionNumber(name: string): number | null {
    if (name === 'latest' || name === '')
      return this.#parts.catalog.artifact(this.id)?.latest?.version ?? null;
    const number = /^v?(\d{1,15})$/.exec(name)?.[1];
    if (number !== undefined) return Number(number);
    const aliases = this.aliases();
    return Object.hasOwn(aliases, name) ? (aliases[name] ?? null) : null;
  }

  #whatExists(): string {
    const versions = this.versions().filter((version) => !version.expired);
    const newest = versions[0];
    const oldest = versions.at(-1);
    if (newest === undefined || oldest === undefined) return 'nothing was committed yet';
    const range = newest === oldest ? `v${newest.version}` : `v${oldest.version} to v${newest.version}`;
    return ['it has', range, ...Object.keys(this.aliases())].join(' ').replace('has v', 'has versions v');
  }
}

/** For comparing without uploading: bytes that are only here differ from everything in the store. */
async function pretendUploaded(plan: CommitPlan): Promise<Map<Ino, UploadResult>> {
  const requests = await plan.requests();
  const extents = (size: number) => [{ object: 'staged', offset: 0, length: size }];
  return new Map(requests.map(({ ino, size }) => [ino, { ino, extents: extents(size) }]));
}

function checkManifest(manifest: Manifest): string {
  if (!isObject(manifest)) throw new ArtifactError('Invalid', 'a manifest is a JSON object');
  checkRetention(manifest);
  const text = JSON.stringify(manifest);
  const bytes = Buffer.byteLength(text);
  if (bytes > limits.manifestBytesMax)
    throw new ArtifactError(
      'Invalid',
      `the manifest has ${bytes} bytes; ${limits.manifestBytesMax} are allowed`,
      {
        hint: 'put large things into files of the artifact',
      },
    );
  return text;
}

/** What a user reads in last-error. */
function textOf(error: unknown): string {
  if (!(error instanceof ArtifactError)) return error instanceof Error ? error.message : String(error);
  const { hint, paths } = error.details;
  const list =
    isCode(error, 'Conflict') && Array.isArray(paths) ? paths.map((path) => `\n  ${String(path)}`) : [];
  return `${error.message}${list.join('')}${hint === undefined ? '' : `\n${hint}`}`;
}
