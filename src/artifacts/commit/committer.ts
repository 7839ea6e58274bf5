import type { Catalog } from '../../catalog/ports.js';
import type { UploadRequest, UploadResult } from '../../content/ports.js';
import type { Ino } from '../../model/entry.js';
import { ArtifactError, isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { crashPoint } from '../../util/crash-point.js';
import { deferred } from '../../util/deferred.js';
import { LoopTurn } from '../../util/loop-turn.js';
import { anySignal } from '../../util/shared-signal.js';
import { transaction } from '../../util/sqlite.js';
import { isList } from '../../workspace/change-pages.js';
import type { LogView, Publisher, PublishRequest, PublishResult } from '../../workspace/commit-types.js';
import type { ChangeSummary, Manifest, StoredRecord } from '../../workspace/records.js';
import type { TreeChanges } from '../../workspace/trees.js';
import type { CommitOptions, CommitProgress, CommitResult } from '../ports.js';
import type { StageBase } from '../stage-db/stage-rows.js';
import type { ArtifactTree } from '../tree/working-tree.js';
import { CommitPlan } from './plan.js';
import { retire } from './retire.js';
import { type Seal, seal, unseal } from './seal.js';

export interface CommitParts {
  readonly tree: ArtifactTree;
  readonly publisher: Publisher;
  readonly catalog: Catalog;
  /** Links the name of a new artifact in its collection; does nothing for one that is linked. */
  readonly link: () => Promise<void>;
  /** Records that the catalog did not know before: those of others, and the commit's own. */
  readonly onRecords: (records: readonly StoredRecord[]) => void;
  /** After the base has changed by more than what was staged here. */
  readonly onRebased: () => void;
  /** Fires when the daemon closes: an upload ends, a record on its way is settled at the next start. */
  readonly closing: AbortSignal;
  /** Throws `Invalid` when the artifact's collection does not take such a manifest. */
  readonly checkManifest: (manifest: Manifest) => void;
  /** Tests: called at each step by name; may throw. */
  readonly onStep?: (step: string) => void;
}

/**
 * Publishes the stage of one artifact. The order makes every crash harmless: bytes into the store, what will be
 * published into stage.db, the intent, the record, and then one transaction that retires the stage and the intent.
 */
export class Committer {
  readonly #parts: CommitParts;
  #progress: CommitProgress | null = null;
  #isBusy = false;
  #running: Promise<unknown> = Promise.resolve();
  /** A commit waits for it instead of being refused. */
  #recovering: Promise<void> = Promise.resolve();
  /** Resolves when no upload runs, and nothing is written of what a commit publishes. */
  #storing: Promise<unknown> = Promise.resolve();
  /** Paths of the last conflict, until a commit succeeds or the stage is dropped. */
  #conflicts: readonly string[] = [];

  constructor(parts: CommitParts) {
    this.#parts = parts;
  }

  get progress(): CommitProgress | null {
    return this.#progress;
  }

  get conflicts(): readonly string[] {
    return [...new Set([...this.#conflicts, ...(this.#parts.tree.core.stage.row?.conflicts ?? [])])].sort();
  }

  async commit(options: CommitOptions): Promise<CommitResult> {
    checkMessage(options.message);
    await this.#recovering;
    return this.exclusive(async () => {
      await this.#finishEarlier();
      try {
        using either = anySignal(options.signal, this.#parts.closing);
        this.#report(nothingDone, options);
        this.#checkLateConflicts(options);
        const result = await this.#run({ ...options, signal: either.signal });
        this.#conflicts = [];
        return result;
      } catch (error) {
        if (isCode(error, 'Conflict')) this.#conflicts = pathsOf(error);
        throw error;
      }
    });
  }

  /** Runs `body` when no commit runs, and lets none begin meanwhile. Throws `Busy`. */
  async exclusive<T>(body: () => Promise<T>): Promise<T> {
    if (this.#isBusy)
      throw new ArtifactError('Busy', 'a commit of this artifact is under way', {
        hint: 'wait until it is done',
      });
    this.#isBusy = true;
    const running = body().finally(() => {
      this.#isBusy = false;
      this.#progress = null;
    });
    this.#running = running.catch(() => {});
    return running;
  }

  /** Resolves when no commit runs. */
  async idle(): Promise<void> {
    await this.#running;
  }

  /** The stage is gone: nothing conflicts with it any more. */
  forgetConflicts(): void {
    this.#conflicts = [];
  }

  /** Settles what a killed daemon or an unknown outcome left. True: a commit turned out to be published. */
  async recover(): Promise<boolean> {
    await this.#recovering;
    const recovering = this.exclusive(() => this.#finishEarlier());
    this.#recovering = recovering.then(
      () => undefined,
      () => undefined,
    );
    return recovering;
  }

  /** The same where something was left and no commit runs, with the name that the artifact may still lack. Else false. */
  async settle(): Promise<boolean> {
    if (this.#isBusy || this.#parts.tree.core.stage.sealed === null) return false;
    // From this turn on a commit waits for it.
    const settling = this.exclusive(async () => {
      const isPublished = await this.#finishEarlier();
      if (isPublished) await this.#parts.link();
      return isPublished;
    });
    this.#recovering = settling.then(
      () => undefined,
      () => undefined,
    );
    return settling;
  }

  async #run(options: CommitOptions & { signal: AbortSignal }): Promise<CommitResult> {
    const { core, content } = this.#parts.tree;
    const sealed = await content.quiet(() => {
      // In the same turn: what is truncated from now on may be what is being uploaded.
      content.cleaner.holdForCommit();
      return seal(core);
    });
    if (sealed === undefined) {
      content.cleaner.releaseCommit();
      throw nothingStaged();
    }
    let isPublished = false;
    try {
      const prepared = await this.#prepare(sealed, options);
      if (prepared === null) {
        // What is left of a new artifact's first commit: its name.
        this.#giveUp();
        if (!core.stage.isNew) throw nothingStaged();
        await this.#parts.link();
        return linkedOnly(sealed);
      }
      const result = await this.#publish(sealed, prepared, options);
      await this.#storing;
      isPublished = true;
      await this.#finish(sealed, prepared, result);
      return resultOf(sealed, result, prepared.bytesUploaded);
    } catch (error) {
      await this.#storing;
      if (!isPublished && !this.#mayBePublished(sealed.commitId, error)) this.#giveUp();
      throw error;
    } finally {
      if (core.stage.sealed === null) content.cleaner.releaseCommit();
    }
  }

  /** The version is in the log. What fails now is no failure of the commit: the next one, or a start, finishes it. */
  async #finish(sealed: Seal, prepared: Prepared, result: PublishResult): Promise<void> {
    let isRetired = false;
    try {
      this.#step('published');
      await this.#retire(sealed.commitId, result, prepared.localFiles, prepared.changes);
      isRetired = true;
      await this.#parts.link();
      this.#step('linked');
    } catch (error) {
      // A name that cannot be had is the user's to change; a damaged collection is nothing that waiting mends.
      if (isRetired && isCode(error, 'Conflict', 'NotPermitted', 'Corrupt', 'OutcomeUnknown')) throw error;
      throw unfinished(sealed, result, isRetired, error);
    }
  }

  /** Conflicts that the protocol cannot see any more: with the base, not with what came after it. */
  #checkLateConflicts({ onConflict = 'fail' }: CommitOptions): void {
    const paths = this.#parts.tree.core.stage.row?.conflicts ?? [];
    if (paths.length === 0 || onConflict === 'mine') return;
    throw new ArtifactError('Conflict', 'files were changed here and by somebody else', {
      paths,
      hint:
        onConflict === 'fail'
          ? 'commit again with --on-conflict=mine to keep yours, or discard'
          : 'these were staged while a commit ran: take theirs by discard, or keep yours by --on-conflict=mine',
    });
  }

  /** Uploads, and stores what will be published. null: the stage does not differ from its base. */
  async #prepare(sealed: Seal, options: CommitOptions & { signal: AbortSignal }): Promise<Prepared | null> {
    const plan = await this.#plan(sealed);
    const root = plan.root();
    const requests = await plan.requests();
    // Without bytes to send they are what they will be.
    const unsent = requests.length === 0 ? await plan.changes(new Map()) : null;
    const isSame =
      unsent !== null &&
      isList(unsent) &&
      unsent.length === 0 &&
      root === undefined &&
      sealed.manifest === null;
    if (isSame && sealed.base !== null) return null;
    this.#step('planned');
    const log = this.#look(sealed, options.signal);
    const { placed, stored } = this.#upload(sealed, requests, options);
    const results = await placed;
    const bytesUploaded = this.#progress?.bytesDone ?? 0;
    this.#step('uploaded');
    const uploads = new Map<Ino, UploadResult>();
    await new LoopTurn().each(results, (result) => void uploads.set(result.ino, result));
    const changes = unsent ?? (await plan.changes(uploads));
    const saved = this.#saveSealed(sealed, plan, uploads);
    this.#storing = Promise.allSettled([stored, saved]);
    const ready = Promise.all([stored, saved]);
    // Whoever publishes waits for it, unless it fails before.
    ready.catch(() => {});
    return { changes, stored: ready, root, bytesUploaded, localFiles: plan.localFiles(), log: log() };
  }

  /** `placed` are the results, with which the tree can be made while the store is still asked whether it has all of the bytes. */
  #upload(
    sealed: Seal,
    requests: readonly UploadRequest[],
    options: CommitOptions & { signal: AbortSignal },
  ): { placed: Promise<readonly UploadResult[]>; stored: Promise<unknown> } {
    const { core } = this.#parts.tree;
    const results = deferred<readonly UploadResult[]>();
    const stored = core.uploader.upload(core.stage.artifactId, sealed.stageId, requests, {
      signal: options.signal,
      onProgress: (progress) => this.#report({ phase: 'upload', ...progress }, options),
      onPlaced: results.resolve,
    });
    this.#storing = stored.catch(() => {});
    return { placed: Promise.race([results.promise, stored]), stored };
  }

  /** Asks for the log beside the upload. When that took long, others may have written: it is better read anew. */
  #look({ base }: Seal, signal: AbortSignal): () => Promise<LogView> | undefined {
    const { artifactId } = this.#parts.tree.core.stage;
    const began = performance.now();
    const position = { artifactId, sinceSeq: base?.seq ?? 0, sincePrev: base?.hash ?? '' };
    const log = this.#parts.publisher.look(position, { signal });
    // Who publishes tries again.
    log.catch(() => {});
    return () => (performance.now() - began < limits.logLookMsMax ? log : undefined);
  }

  /** The snapshot is closed before anything is sent: while it is open the log of stage.db only grows. */
  async #plan({ s, snapshot }: Seal): Promise<CommitPlan> {
    using view = snapshot;
    const { inodes, dirents } = view;
    this.#step('sealed');
    return await CommitPlan.make({ s, inodes, dirents, base: this.#parts.tree.core.base });
  }

  async #saveSealed(sealed: Seal, plan: CommitPlan, uploads: ReadonlyMap<Ino, UploadResult>): Promise<void> {
    const { db } = this.#parts.tree.core;
    await db.deleteSealed(sealed.s);
    const rows = plan.sealed(uploads)[Symbol.iterator]();
    const turn = new LoopTurn();
    for (let next = rows.next(); !next.done; await turn.next()) {
      transaction(db.db, () => {
        for (; !(next.done || turn.isOver); next = rows.next()) db.sealed.put(sealed.s, next.value);
      });
    }
    await db.sync();
    this.#step('saved');
  }

  #publish(
    sealed: Seal,
    prepared: Prepared,
    options: CommitOptions & { signal: AbortSignal },
  ): Promise<PublishResult> {
    const { core } = this.#parts.tree;
    this.#report({ ...(this.#progress ?? nothingDone), phase: 'publish' }, options);
    const request: PublishRequest = {
      artifactId: core.stage.artifactId,
      commitId: sealed.commitId,
      stageId: sealed.stageId,
      base: sealed.base === null ? null : { ...sealed.base, uses: sealed.uses },
      changes: prepared.changes,
      stored: prepared.stored,
      ...(prepared.root === undefined ? {} : { root: prepared.root }),
      inoPrefixes: sealed.inoPrefixes,
      message: options.message,
      ...(sealed.manifest === null ? {} : { manifest: sealed.manifest }),
      inputs: options.inputs ?? [],
      onConflict: options.onConflict ?? 'fail',
      checkManifest: this.#parts.checkManifest,
      ...(prepared.log === undefined ? {} : { log: prepared.log }),
    };
    return this.#parts.publisher.publish(request, core.db.intents, { signal: options.signal });
  }

  /** From here on the version exists; a failure is finished by `recover`. */
  async #retire(
    commitId: string,
    result: PublishResult,
    localFiles: Iterable<readonly [Ino, readonly number[]]>,
    changes: TreeChanges | null,
  ): Promise<void> {
    const { tree, catalog } = this.#parts;
    const { core } = tree;
    const { artifactId, sealed, s } = core.stage;
    const known = catalog.artifact(artifactId)?.headSeq ?? 0;
    catalog.apply(artifactId, result.records);
    this.#parts.onRecords(result.records.filter(({ record }) => record.seq > known));
    this.#step('applied');
    const base = baseOf(result);
    const versionTree = await catalog.tree(artifactId, result.tree);
    // Who works on would wait for the ranges that changed.
    const isKnown = changes !== null && isList(changes) && !result.rebased;
    if (core.base !== null && isKnown) await versionTree.inherit(core.base, changes);
    const numbers = await retire(core, { commitId, base, tree: versionTree, rebased: result.rebased });
    tree.content.cleaner.renumbered(numbers);
    this.#step('retired');
    tree.content.cleaner.releaseCommit();
    tree.content.settled.forget();
    if (sealed !== null) tree.content.announceSince(sealed);
    if (result.rebased) this.#parts.onRebased();
    await new LoopTurn().each(localFiles, ([ino, files]) =>
      tree.content.dropSealed(numbers.get(ino) ?? ino, files),
    );
    if (core.stage.s !== s) await core.db.deleteRows(s);
    this.#step('cleaned');
  }

  async #finishEarlier(): Promise<boolean> {
    const { core, content } = this.#parts.tree;
    const { row } = core.stage;
    if (row === null || row.sealed === null || row.commitId === null) return false;
    const intent = core.db.intents.find(row.commitId);
    if (intent !== undefined) {
      const result = await this.#parts.publisher.resolve(intent, core.db.intents);
      if (result !== null) {
        const before = [...core.db.inodes.eachStagingFiles(row.s)];
        await this.#retire(row.commitId, result, before, null);
        return true;
      }
    }
    this.#giveUp();
    content.cleaner.releaseCommit();
    return false;
  }

  /** An intent in a slot, which the protocol has not given up: there may be, or come, a version. */
  #mayBePublished(commitId: string, error: unknown): boolean {
    if (isCode(error, 'OutcomeUnknown')) return true;
    const intent = this.#parts.tree.core.db.intents.find(commitId);
    return intent !== undefined && intent.state !== 'prepared';
  }

  #giveUp(): void {
    const { core, content } = this.#parts.tree;
    const { sealed } = core.stage;
    unseal(core);
    if (sealed !== null) content.announceSince(sealed);
  }

  #report(progress: CommitProgress, options?: CommitOptions): void {
    this.#progress = progress;
    options?.onProgress?.(progress);
  }

  #step(step: string): void {
    crashPoint(`commit:${step}`);
    this.#parts.onStep?.(step);
  }
}

interface Prepared {
  readonly changes: TreeChanges;
  /** The store has all bytes, and stage.db what is published: waited for before the record, but not before the tree. */
  readonly stored: Promise<unknown>;
  readonly root: PublishRequest['root'];
  readonly bytesUploaded: number;
  readonly localFiles: Iterable<readonly [Ino, readonly number[]]>;
  readonly log: Promise<LogView> | undefined;
}

const nothingDone = { filesDone: 0, filesTotal: 0, bytesDone: 0, bytesTotal: 0, phase: 'scan' as const };

const nothingStaged = () =>
  new ArtifactError(
    'NothingStaged',
    'nothing has changed since the last version: there is nothing to commit',
  );

function unfinished(sealed: Seal, { version }: PublishResult, isRetired: boolean, error: unknown) {
  const missing = isRetired ? 'its artifact has no name yet' : 'its changes still count as staged here';
  const why = error instanceof Error ? error.message : String(error);
  return new ArtifactError(
    'OutcomeUnknown',
    `v${version} was published, but ${missing}: ${why}`,
    { version, commitId: sealed.commitId, hint: 'commit again when the store answers: that finishes it' },
    error,
  );
}

function checkMessage(message: string): void {
  const bytes = Buffer.byteLength(message);
  if (bytes > limits.messageBytesMax)
    throw new ArtifactError(
      'TooLarge',
      `the message has ${bytes} bytes; ${limits.messageBytesMax} are allowed`,
    );
}

function pathsOf(error: ArtifactError): readonly string[] {
  const { paths } = error.details;
  return Array.isArray(paths) ? paths.map(String) : [];
}

function baseOf(result: PublishResult): StageBase {
  const last = result.records.at(-1);
  if (last === undefined) throw new ArtifactError('Internal', 'a published version without its record');
  return { seq: last.record.seq, hash: last.hash, version: result.version, tree: result.tree };
}

function resultOf(sealed: Seal, result: PublishResult, bytesUploaded: number): CommitResult {
  const record = result.records.at(-1)?.record;
  const summary: ChangeSummary = record?.type === 'commit' ? record.summary : noChanges;
  return {
    version: result.version,
    commitId: sealed.commitId,
    summary,
    bytesUploaded,
    rebased: result.rebased,
    openFiles: sealed.openFiles,
  };
}

function linkedOnly(sealed: Seal): CommitResult {
  return {
    version: sealed.base?.version ?? 0,
    commitId: sealed.commitId,
    summary: noChanges,
    bytesUploaded: 0,
    rebased: false,
    openFiles: sealed.openFiles,
  };
}

const noChanges: ChangeSummary = { added: 0, changed: 0, removed: 0 };
