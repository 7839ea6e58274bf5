import { join } from 'node:path';
import { compareNames, joinPath } from '../model/entry.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { rootCollectionId } from '../model/ids.js';
import { limits } from '../model/limits.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { within, withinOwnTime } from '../util/within.js';
import type { StoredRecord } from '../workspace/records.js';
import { WorkspaceArtifact } from './artifact.js';
import { CollectionLog } from './collection-log.js';
import { WorkspaceFiles } from './files.js';
import { Moves } from './moves.js';
import { checkNewName, NameChanges } from './name-changes.js';
import { NameSearch } from './name-search.js';
import type { Artifact, Artifacts, FilesByPath, NewArtifactOptions, RemovedArtifact } from './ports.js';
import { Recovery } from './recovery.js';
import { ArtifactRegistry, type ArtifactsOptions, type ContentParts } from './registry.js';
import { RemovedArtifacts } from './removed.js';
import { StageDatabase } from './stage-db/stage-database.js';

export type { ArtifactsOptions };

/**
 * Opens the stage database, settles what an earlier daemon left, and reads the root collection's log. The caller
 * owns catalog, content and store, and disposes the result before them. A store that does not answer is no
 * failure when the catalog knows the root.
 */
export async function openArtifacts(options: ArtifactsOptions): Promise<WorkspaceArtifacts> {
  const db = new StageDatabase(join(options.stateDir, 'stage.db'), options.admitChange);
  try {
    return await WorkspaceArtifacts.open(options, db);
  } catch (error) {
    db[Symbol.dispose]();
    throw error;
  }
}

interface Parts {
  readonly options: ArtifactsOptions;
  readonly db: StageDatabase;
  readonly content: ContentParts;
  readonly log: CollectionLog;
  readonly closing: AbortController;
  readonly registry: ArtifactRegistry;
  readonly search: NameSearch;
  readonly moves: Moves;
  readonly recovery: Recovery;
  readonly root: WorkspaceArtifact;
}

export class WorkspaceArtifacts implements Artifacts {
  readonly workspaceId: string;
  readonly storeUrl: string;
  readonly root: WorkspaceArtifact;
  readonly files: FilesByPath;
  readonly #options: ArtifactsOptions;
  readonly #db: StageDatabase;
  readonly #content: ContentParts;
  readonly #log: CollectionLog;
  readonly #moves: Moves;
  readonly #recovery: Recovery;
  readonly #registry: ArtifactRegistry;
  readonly #names: NameChanges;
  readonly #removed: RemovedArtifacts;
  readonly #listeners = new Set<(collection: Artifact, name: string) => void>();
  readonly #background = new Set<Promise<void>>();
  readonly #closing: AbortController;
  /** Opened as the catalog knows them: their logs are read next. */
  readonly #unread: WorkspaceArtifact[] = [];
  readonly #reading = new Set<Promise<void>>();
  /** Since the workspace was refreshed: what is opened as the catalog knows it may be older than that. */
  #waitsForLogs = false;
  readonly #awaited = new Set<Promise<boolean>>();

  static async open(options: ArtifactsOptions, db: StageDatabase): Promise<WorkspaceArtifacts> {
    const { workspace, catalog, reader, staging } = options;
    const content = { reader, staging, uploader: options.createUploader(db.uploads) };
    const log = new CollectionLog({ publisher: workspace, catalog, intents: db.intents });
    const mayWait = options.storeIsAway !== true || catalog.artifact(rootCollectionId) === undefined;
    try {
      if (mayWait) await log.refresh(rootCollectionId);
    } catch (error) {
      if (catalog.artifact(rootCollectionId) === undefined) throw error;
      options.onError?.(error, 'reading the log of the root collection');
    }
    const closing = new AbortController();
    const link = (artifact: WorkspaceArtifact): Promise<void> => artifacts.#names.link(artifact);
    const namesChanged = (collection: WorkspaceArtifact, records: readonly StoredRecord[]): void =>
      artifacts.#names.changedBy(collection, records);
    const opened = (artifact: WorkspaceArtifact): MaybePromise<void> => artifacts.#opened(artifact);
    const registry = new ArtifactRegistry({
      options,
      db,
      content,
      log,
      closing: closing.signal,
      link,
      namesChanged,
      opened,
    });
    const root = await registry.openArtifact(rootCollectionId, null);
    const search = new NameSearch({ catalog, refresh: (id): Promise<void> => artifacts.#refreshLog(id) });
    const namesOf = (id: string, records: readonly StoredRecord[], own?: string): void => {
      const collection = registry.get(id);
      if (collection === undefined) return;
      artifacts.#names.changedBy(collection, records, new Set(own === undefined ? [] : [own]));
    };
    const moves = new Moves({ db, log, publisher: workspace, search, namesChanged: namesOf });
    const recovery = new Recovery({ db, log, publisher: workspace, staging, moves, namesChanged: namesOf });
    const artifacts = new WorkspaceArtifacts({
      options,
      db,
      content,
      log,
      closing,
      registry,
      search,
      moves,
      recovery,
      root,
    });
    await artifacts.#recover();
    return artifacts;
  }

  private constructor(parts: Parts) {
    const { options, db } = parts;
    this.#options = options;
    this.#db = db;
    this.#log = parts.log;
    this.#moves = parts.moves;
    this.#recovery = parts.recovery;
    this.#content = parts.content;
    this.#registry = parts.registry;
    this.#removed = new RemovedArtifacts({
      publisher: options.workspace,
      catalog: options.catalog,
      refresh: (id) => this.#refreshLog(id),
      search: parts.search,
    });
    this.#names = new NameChanges({
      db,
      catalog: options.catalog,
      log: parts.log,
      registry: parts.registry,
      moves: parts.moves,
      root: parts.root,
      child: (collection, name) => this.child(collection, name),
      hasChildren: (collection) => this.children(collection, null, 1).length > 0,
      remove: (collection, name) => this.remove(collection, name),
      staged: () => this.staged(),
      changed: (collection, name) => this.#changed(collection, name),
    });
    this.#closing = parts.closing;
    this.workspaceId = options.workspace.workspaceId;
    this.storeUrl = options.store.url;
    this.root = parts.root;
    this.files = new WorkspaceFiles(options.store, db.uploads);
  }

  children(collection: Artifact, after: string | null, limit: number): readonly string[] {
    const names = new Set(this.#db.stages.newNames(collection.id, after ?? '', limit));
    for (const { name } of this.#options.catalog.children(collection.id, after ?? undefined, limit))
      names.add(name);
    return [...names].sort(compareNames).slice(0, limit);
  }

  child(collection: Artifact, name: string): MaybePromise<WorkspaceArtifact | undefined> {
    const id = this.#registry.idOf(collection.id, name);
    if (id === undefined) return undefined;
    return this.#registry.load(id, { collection: this.#own(collection), name });
  }

  childId(collection: Artifact, name: string): string | undefined {
    return this.#registry.idOf(collection.id, name);
  }

  find(path: string): MaybePromise<WorkspaceArtifact> {
    return this.#find(
      this.root,
      path.split('/').filter((name) => name !== ''),
      path,
    );
  }

  create(
    collection: Artifact,
    name: string,
    options: NewArtifactOptions & { announce?: boolean } = {},
  ): WorkspaceArtifact {
    const parent = this.#own(collection);
    checkNewName(name);
    if (!parent.isCollection)
      throw new ArtifactError('NotDirectory', `${parent.path} is no collection: it cannot hold artifacts`, {
        hint: 'set "type": "collection" in its manifest',
      });
    if (this.#registry.idOf(parent.id, name) !== undefined)
      throw new ArtifactError('Exists', `${joinPath(parent.path, name)} exists`);
    const artifact = this.#registry.makeNew(parent, name, options);
    if (options.announce === true) this.#changed(parent, name);
    return artifact;
  }

  remove(collection: Artifact, name: string, options: { announce?: boolean } = {}): MaybePromise<void> {
    const parent = this.#own(collection);
    return chain(this.child(parent, name), (artifact) => {
      if (artifact === undefined)
        throw new ArtifactError('NotFound', `${joinPath(parent.path, name)} does not exist`);
      if (!artifact.isNew)
        throw new ArtifactError('NotPermitted', `${artifact.path} has versions, which no rmdir removes`, {
          hint: `run "artifactfs rm ${artifact.path}"`,
        });
      return chain(artifact.tree.list(artifact.tree.root, null, 1), (items) => {
        if (items.length > 0 || this.children(artifact, null, 1).length > 0)
          throw new ArtifactError('NotEmpty', `${artifact.path} is not empty`);
        this.#registry.forget(artifact);
        if (options.announce === true) this.#changed(parent, name);
      });
    });
  }

  rename(
    from: Artifact,
    fromName: string,
    to: Artifact,
    toName: string,
    options: { announce?: boolean } = {},
  ): MaybePromise<void> {
    return this.#names.rename(this.#own(from), fromName, this.#own(to), toName, options);
  }

  async unlink(artifact: Artifact, options: { force: boolean; recursive: boolean }): Promise<void> {
    await this.#names.unlink(this.#own(artifact), options);
  }

  removed(): Promise<readonly RemovedArtifact[]> {
    return this.#removed.list();
  }

  async restore(what: string, as?: string): Promise<string> {
    const removal = await this.#removed.find(what);
    const path = (as ?? removal.path).split('/').filter((name) => name !== '');
    const name = path.pop() ?? '';
    return this.#names.restore(removal, await this.find(path.join('/')), name);
  }

  async refresh(options: { openOnly?: boolean } = {}): Promise<void> {
    if (options.openOnly !== true) this.#waitsForLogs = true;
    let failure: unknown;
    for (const artifact of this.#registry.open()) {
      await artifact.settleCommit().catch((error: unknown) => {
        failure ??= error;
      });
    }
    const waiting = this.#registry.open().filter((artifact) => artifact.hasLog);
    const next = async (): Promise<void> => {
      for (let artifact = waiting.shift(); artifact !== undefined; artifact = waiting.shift()) {
        try {
          await artifact.refresh();
        } catch (error) {
          failure ??= error;
        }
      }
    };
    await Promise.all(Array.from({ length: refreshesAtOnce }, next));
    await this.#moves.finishAll((error) => {
      failure ??= error;
    });
    if (failure !== undefined) throw failure;
  }

  staged(): readonly WorkspaceArtifact[] {
    return this.#registry.open().filter((artifact) => artifact.isStaged);
  }

  onChildrenChanged(listener: (collection: Artifact, name: string) => void): () => void {
    this.#listeners.add(listener);
    return () => this.#listeners.delete(listener);
  }

  /** Resolves when what was begun in the background is done: tests and shutdown wait for it. */
  async idle(): Promise<void> {
    while (this.#background.size > 0) await Promise.all(this.#background);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    if (this.#closing.signal.aborted) return;
    this.#closing.abort(new ArtifactError('Interrupted', 'the daemon is closing'));
    for (const artifact of this.#registry.open()) await artifact.committer.idle();
    await this.idle();
    // Nothing hangs on its outcome, and a store that is away makes it last.
    await within(stopMsMax, Promise.all([...this.#reading, ...this.#awaited]));
    this.#db[Symbol.dispose]();
  }

  /**
   * Opens every stage and removes staging files nobody names. Who looks next must see whether what was cut off, a commit or a
   * record of a collection, has happened: this waits for the store to tell, as long as a start may wait for it. Then it goes on
   * in the background: until it is done the working view is the same, on top of the older base.
   */
  async #recover(): Promise<void> {
    const settling: Promise<void>[] = [];
    for (const row of this.#db.stages.all()) {
      const doing = `opening the stage of artifact ${row.artifactId}`;
      try {
        const { committer } = await this.#registry.openStaged(row);
        if (row.sealed !== null)
          settling.push(this.#inBackground(committer.recover(), `settling a commit of ${row.artifactId}`));
      } catch (error) {
        this.#options.onError?.(error, doing);
      }
    }
    for (const s of this.#db.leftBehind())
      void this.#inBackground(this.#db.deleteRows(s), 'deleting rows of published stages');
    await this.#recovery.sweep();
    void this.#inBackground(this.#content.uploader.resume(), 'continuing uploads');
    const onError = (error: unknown, doing: string) => this.#options.onError?.(error, doing);
    const commits = Promise.all(settling);
    const settled = this.#recovery.settle(onError).then(() => commits);
    const linked = settled.then(() => this.#names.linkPublished(onError));
    settling.push(this.#inBackground(linked, 'settling records of collections'));
    if (this.#options.storeIsAway !== true)
      await withinOwnTime(limits.startSettleMsMax, Promise.all(settling));
  }

  #find(from: WorkspaceArtifact, names: readonly string[], path: string): MaybePromise<WorkspaceArtifact> {
    const [name, ...rest] = names;
    if (name === undefined) return from;
    if (!from.isCollection)
      throw new ArtifactError('NotDirectory', `${from.path} is no collection: there is no artifact ${path}`);
    return chain(this.child(from, name), (child) => {
      if (child === undefined)
        throw new ArtifactError('NotFound', `there is no artifact ${joinPath(from.path, name)}`, {
          hint: 'list what exists with "artifactfs ls"',
        });
      return this.#find(child, rest, path);
    });
  }

  #own(artifact: Artifact): WorkspaceArtifact {
    if (artifact instanceof WorkspaceArtifact) return artifact;
    throw new ArtifactError('Internal', `${artifact.path} is not an artifact of this workspace`);
  }

  async #refreshLog(artifactId: string): Promise<void> {
    const artifact = this.#registry.get(artifactId);
    if (artifact === undefined) await this.#log.refresh(artifactId);
    else await artifact.refresh();
  }

  #changed(collection: WorkspaceArtifact, name: string): void {
    for (const listener of this.#listeners) listener(collection, name);
  }

  #opened(artifact: WorkspaceArtifact): MaybePromise<void> {
    if (this.#waitsForLogs) return this.#readFirst(artifact);
    if (this.#options.readsOpenedLogs === true) this.#readSoon(artifact);
    return undefined;
  }

  /** A store that is away holds up one look, not one at each artifact. */
  async #readFirst(artifact: WorkspaceArtifact): Promise<void> {
    const reading = artifact
      .refresh()
      .then(
        () => true,
        (error: unknown) => !isCode(error, 'StoreUnavailable', 'TimedOut'),
      )
      .finally(() => this.#awaited.delete(reading));
    this.#awaited.add(reading);
    if ((await withinOwnTime(limits.firstLookMsMax, reading)) !== true) this.#waitsForLogs = false;
  }

  /** Failures are the next refresh's to tell. */
  #readSoon(artifact: WorkspaceArtifact): void {
    this.#unread.push(artifact);
    if (this.#reading.size >= refreshesAtOnce) return;
    const reading = this.#readUnread().finally(() => this.#reading.delete(reading));
    this.#reading.add(reading);
  }

  async #readUnread(): Promise<void> {
    for (let artifact = this.#unread.shift(); artifact !== undefined; artifact = this.#unread.shift()) {
      if (this.#closing.signal.aborted) return;
      try {
        await artifact.refresh();
      } catch {}
    }
  }

  /** Resolves when it is done, in whatever way. */
  #inBackground(work: Promise<unknown>, doing: string): Promise<void> {
    const tracked: Promise<void> = work
      .then(() => undefined)
      .catch((error: unknown) => this.#options.onError?.(error, doing))
      .finally(() => this.#background.delete(tracked));
    this.#background.add(tracked);
    return tracked;
  }
}

/** Logs read together, at `refresh` and of what was opened. */
const refreshesAtOnce = 8;

/** For logs being read when the daemon ends. */
const stopMsMax = 1_000;
