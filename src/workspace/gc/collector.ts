import { ArtifactError, isCode, toArtifactError } from '../../model/errors.js';
import { newCommitId, newStageId } from '../../model/ids.js';
import { limits } from '../../model/limits.js';
import { throwIfAborted } from '../../store/keys.js';
import type { CallOptions, ObjectStore } from '../../store/object-store.js';
import { crashPoint } from '../../util/crash-point.js';
import type { Publisher } from '../commit-types.js';
import { requireCollectable } from '../features.js';
import { ForgetfulJournal } from '../forgetful-journal.js';
import type { WorkspaceFormat } from '../format.js';
import { dataPrefix, leaseKey, objectKey, stageOfObject } from '../keys.js';
import { readLeases, readPins, type StoredLease } from '../lease.js';
import type { RecordBody, StoredRecord } from '../records.js';
import type { TreeReader } from '../trees.js';
import { type Amount, type Condemned, condemn, recordAgeMs, type Verdict } from './condemn.js';
import { type History, historyOf, type Proposal } from './history.js';
import { damaged, Liveness } from './liveness.js';
import { type ExpiryPolicy, propose } from './propose.js';
import { ageMs } from './store-clock.js';
import { type Survey, survey } from './survey.js';
import { sweep } from './sweep.js';

/** What garbage collection uses of a workspace. */
export type CollectedWorkspace = Pick<Publisher, 'append' | 'readLog'> &
  TreeReader & {
    readonly store: ObjectStore;
    readonly format: WorkspaceFormat;
    /** Throws where nothing may be written, and so nothing deleted. */
    admitWrite(): Promise<void>;
  };

export interface CollectOptions extends CallOptions {
  /** What the store says the time is. */
  readonly nowMs: number;
  readonly graceMs: number;
  /** A stage of which the store has heard nothing for so long is dead. */
  readonly deadAfterMs: number;
  readonly policy: ExpiryPolicy;
  /** Nothing is written or deleted: the report tells what would be. */
  readonly dryRun: boolean;
  readonly onFreed?: (freed: Amount) => void;
}

/** What was done in one artifact, or would be. */
export interface ArtifactReport {
  readonly artifactId: string;
  readonly expired: readonly number[];
  readonly abandoned: readonly string[];
  readonly condemned: readonly Condemned[];
  readonly freed: Amount;
  readonly waiting: Amount;
  readonly live: Amount;
  readonly staged: Amount;
  readonly uploadsAborted: number;
  readonly unknownKeys: number;
}

/**
 * Collects one artifact: what expires and what is dead is written into the log first. What nobody needs is worked out
 * from the log as it is with that record, never from before; it is deleted when the records that made it so are older
 * than the grace. Nothing is remembered between runs: each works it out anew, which is safe because what is
 * unreachable once stays so. Throws before anything is deleted, or the store's errors in the middle.
 */
export async function collectArtifact(
  workspace: CollectedWorkspace,
  artifactId: string,
  options: CollectOptions,
): Promise<ArtifactReport> {
  const { store } = workspace;
  const found = await survey(store, artifactId, options);
  const before = await readHistory(workspace, found, options);
  const { history, proposal } = await decideAndAppend(workspace, found, before, options);
  crashPoint('gc-appended');
  const verdict = await judge(workspace, found, history, options);
  const report = {
    artifactId,
    expired: proposal.expire,
    abandoned: proposal.abandon,
    condemned: verdict.condemned,
    waiting: verdict.waiting,
    live: verdict.live,
    staged: verdict.staged,
    unknownKeys: found.unknownKeys,
  };
  if (options.dryRun) return { ...report, freed: { objects: 0, bytes: 0 }, uploadsAborted: 0 };
  const freed = await sweep(store, verdict.condemned, (amount) => options.onFreed?.(amount), options);
  const uploadsAborted = await abortUploads(store, found, history, options);
  await store.deleteMany(
    verdict.leases.map((stageId) => leaseKey(artifactId, stageId)),
    options,
  );
  return { ...report, freed, uploadsAborted };
}

async function readHistory(
  workspace: CollectedWorkspace,
  found: Survey,
  options: CollectOptions,
): Promise<History> {
  const { artifactId } = found;
  requireCollectable(`the workspace at ${workspace.store.url}`, workspace.format);
  const history = historyOf(await workspace.readLog(artifactId, 0, '', options));
  requireCollectable(`artifact ${artifactId}`, history.state.features);
  // A log that lost its beginning looks empty, and all its stages unpublished.
  const lastListed = [...found.recordTimes.keys()].reduce((last, seq) => Math.max(last, seq), 0);
  if (lastListed > history.state.headSeq)
    throw new ArtifactError(
      'Corrupt',
      `the log of artifact ${artifactId} ends at record ${history.state.headSeq}, but record ${lastListed} is there`,
      { hint: 'nothing was deleted in this artifact; run "artifactfs fsck"' },
    );
  return history;
}

/** The log with our records in it, and what they say. */
async function decideAndAppend(
  workspace: CollectedWorkspace,
  found: Survey,
  before: History,
  options: CollectOptions,
): Promise<{ history: History; proposal: Proposal }> {
  const { artifactId } = found;
  const leases = await readLeases(workspace.store, artifactId, options);
  const proposed = (history: History): Proposal =>
    propose({ ...options, history, survey: found, bases: basesOf(leases, history, options) });
  if (options.dryRun) {
    const proposal = proposed(before);
    return { history: historyOf(before.records, proposal), proposal };
  }
  const expired: number[] = [];
  const abandoned: string[] = [];
  let history = before;
  for (;;) {
    const appended = await appendNext(workspace, artifactId, history, proposed, options);
    if (appended === null) break;
    history = appended.history;
    if (appended.body.type === 'expire') expired.push(...appended.body.versions);
    if (appended.body.type === 'abandon') abandoned.push(...appended.body.stages);
  }
  return { history, proposal: { expire: expired, abandon: abandoned } };
}

/** Versions that live stages are built on, or use something of. */
function basesOf(
  leases: readonly StoredLease[],
  { committedBy, abandonedBy }: History,
  { nowMs, deadAfterMs }: CollectOptions,
): Set<number> {
  const bases = new Set<number>();
  for (const { stageId, base, versions, modifiedMs } of leases) {
    if (committedBy.has(stageId) || abandonedBy.has(stageId) || ageMs(nowMs, modifiedMs) >= deadAfterMs)
      continue;
    for (const version of base === null ? versions : [base, ...versions]) bases.add(version);
  }
  return bases;
}

class NothingToSay extends Error {}

/** Decided anew each time somebody else takes the slot. null: there is nothing to write. */
async function appendNext(
  workspace: CollectedWorkspace,
  artifactId: string,
  before: History,
  proposed: (history: History) => Proposal,
  options: CollectOptions,
): Promise<{ history: History; body: RecordBody } | null> {
  let body: RecordBody | null = null;
  const decide = (since: readonly StoredRecord[]): RecordBody => {
    const history = since.length === 0 ? before : historyOf([...before.records, ...since]);
    requireCollectable(`artifact ${artifactId}`, history.state.features);
    body = bodyOf(proposed(history));
    if (body === null) throw new NothingToSay();
    return body;
  };
  const request = {
    artifactId,
    commitId: newCommitId(),
    stageId: newStageId(),
    sinceSeq: before.state.headSeq,
    sincePrev: before.state.headHash,
  };
  try {
    const records = await workspace.append(request, decide, new ForgetfulJournal(), options);
    return body === null ? null : { history: historyOf([...before.records, ...records]), body };
  } catch (error) {
    if (error instanceof NothingToSay) return null;
    throw error;
  }
}

/** A record holds 64 KiB. */
function bodyOf({ expire, abandon }: Proposal): RecordBody | null {
  const most = limits.gcRecordItemsMax;
  if (expire.length > 0) return { type: 'expire', versions: expire.slice(0, most) };
  if (abandon.length > 0) return { type: 'abandon', stages: abandon.slice(0, most) };
  return null;
}

/** From the log as it is with our records, and from leases and pins as they are after that. */
async function judge(
  workspace: CollectedWorkspace,
  found: Survey,
  history: History,
  options: CollectOptions,
): Promise<Verdict> {
  const { artifactId } = found;
  const { nowMs, graceMs, deadAfterMs } = options;
  const { versions } = history.state;
  const leases = (await readLeases(workspace.store, artifactId, options)).filter(
    ({ stageId }) => !history.committedBy.has(stageId) && !history.abandonedBy.has(stageId),
  );
  const pins = (await readPins(workspace.store, artifactId, options)).filter(
    ({ modifiedMs }) => ageMs(nowMs, modifiedMs) < deadAfterMs,
  );
  const needed = new Set([
    ...leases.flatMap(({ base, versions: others }) => (base === null ? others : [base, ...others])),
    ...pins.flatMap((pin) => pin.versions),
  ]);
  const live = new Liveness(workspace, artifactId, options);
  const recent = new Liveness(workspace, artifactId, options);
  for (const version of versions) {
    throwIfAborted(options.signal);
    if (!version.expired)
      await live.add(version).catch((error: unknown) => throwDamaged(version.version, error));
    else if (needed.has(version.version)) await live.addWhatIsThere(version);
    else {
      const age = recordAgeMs({ survey: found, nowMs }, history.expiredBy.get(version.version) ?? 0);
      if (age < graceMs) await recent.addWhatIsThere(version);
    }
  }
  return condemn({
    history,
    survey: found,
    live: live.objects,
    recent: recent.objects,
    heldStages: new Set(leases.flatMap(({ stages }) => stages)),
    nowMs,
    graceMs,
  });
}

function throwDamaged(version: number, error: unknown): never {
  throw isCode(error, 'NotFound', 'Corrupt') ? damaged(version, error) : toArtifactError(error);
}

/** Parts of uploads that nobody will complete. Stores that cannot list them clean up by themselves, or not at all. */
async function abortUploads(
  store: ObjectStore,
  found: Survey,
  { committedBy, abandonedBy }: History,
  options: CollectOptions,
): Promise<number> {
  const { artifactId } = found;
  const prefix = objectKey(artifactId, '');
  let aborted = 0;
  try {
    for (const { key, uploadId } of await store.unfinishedUploads(dataPrefix(artifactId), options)) {
      const stageId = stageOfObject(key.slice(prefix.length)) ?? '';
      const over = committedBy.get(stageId) ?? abandonedBy.get(stageId);
      if (over === undefined) continue;
      if (recordAgeMs({ survey: found, nowMs: options.nowMs }, over) < options.graceMs) continue;
      await store.abortMultipart(key, uploadId, options);
      aborted++;
    }
  } catch (error) {
    if (!(error instanceof ArtifactError) || !isCode(error, 'Unsupported', 'StoreDenied')) throw error;
  }
  return aborted;
}
