import { setTimeout as delay } from 'node:timers/promises';
import type { Clock } from '../model/entry.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { throwIfAborted } from '../store/keys.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { crashPoint } from '../util/crash-point.js';
import type { Intent, IntentJournal, LogPosition, LogView } from './commit-types.js';
import { corrupt, shown } from './fields.js';
import { logKey } from './keys.js';
import { readLog, readRecord, readSlot, recordName, refuseHole } from './log.js';
import { decodeRecord, encodeRecord, slotOwner } from './record-codec.js';
import type { RecordBody, StoredRecord } from './records.js';

/** Who writes, when, and how to wait: handed in, so that a test decides all of it. */
export interface WriterContext {
  readonly store: ObjectStore;
  readonly clock: Clock;
  readonly host: string;
  readonly user: string;
  readonly sleep: Sleep;
  /** 0 up to, not including, 1. */
  readonly random: () => number;
}

/** Resolves after `ms`, or at once when the signal fires. */
export type Sleep = (ms: number, signal?: AbortSignal) => Promise<void>;

export const realSleep: Sleep = async (ms, signal) => {
  try {
    await delay(ms, undefined, signal === undefined ? {} : { signal });
  } catch (error) {
    if (signal?.aborted !== true) throw error;
  }
};

export interface AppendRequest extends LogPosition {
  readonly commitId: string;
  readonly stageId: string;
  /** `look` of the same position, a moment ago. When it failed, the log is read again. */
  readonly log?: Promise<LogView>;
}

/**
 * Steps 2 to 4, 7 and 8 of doc/FORMAT.md "Commit" for records of every type. No step may be left out or reordered:
 * the protocol was model-checked, and each shortcut that looks harmless breaks it.
 */
export class LogAppender {
  readonly #context: WriterContext;

  constructor(context: WriterContext) {
    this.#context = context;
  }

  /**
   * Appends the record that `decide` returns for the log as it is; it is asked again whenever somebody else took the
   * slot. Answers the records after `sinceSeq`, ours last. Every other error than `OutcomeUnknown` means that the
   * record is not in the log and never will be; the intent is then removed. On success it stays, for the caller.
   */
  async append(
    request: AppendRequest,
    decide: (log: LogView) => Promise<RecordBody>,
    journal: IntentJournal,
    options: CallOptions = {},
  ): Promise<StoredRecord[]> {
    const { artifactId, commitId, stageId, sinceSeq: baseSeq } = request;
    const earlier = journal.pending(artifactId).find((intent) => intent.commitId === commitId);
    if (earlier !== undefined && earlier.state !== 'prepared') {
      const records = await this.resolve(earlier, journal, options);
      if (records !== null) return records;
    }
    const intent = new TrackedIntent(journal, { commitId, artifactId, stageId, baseSeq });
    await intent.prepare();
    crashPoint('append-prepared');
    try {
      return await this.#append(request, decide, intent, options);
    } catch (error) {
      throw await intent.failed(error);
    }
  }

  /**
   * Steps 3 and 4 before there is anything to append. That others may write meanwhile changes nothing: they may do so
   * between any look and the PUT, and are met in the slot then.
   */
  async look(position: LogPosition, options: CallOptions = {}): Promise<LogView> {
    const { artifactId, sinceSeq, sincePrev } = position;
    const [base, since] = await Promise.all([
      this.#readBase(artifactId, sinceSeq, options, sincePrev),
      readLog(this.#context.store, artifactId, sinceSeq, sincePrev, { ...options, ...asWriter }),
    ]);
    return { base, since };
  }

  /**
   * Finds out what became of an intent, by putting the same bytes into the same slot again: the records after its
   * base, ours last, or null when the record is not in the log and never will be (the intent is then removed).
   */
  async resolve(
    intent: Intent,
    journal: IntentJournal,
    options: CallOptions = {},
  ): Promise<StoredRecord[] | null> {
    const { artifactId, commitId, baseSeq, seq, body } = intent;
    if (intent.state === 'prepared') {
      journal.remove(commitId);
      return null;
    }
    if (seq === undefined || body === undefined)
      throw new ArtifactError(
        'Internal',
        `intent ${commitId} in state ${intent.state} has no slot or no body`,
      );
    const tracked = new TrackedIntent(journal, intent);
    try {
      // What was in it may be lost meanwhile.
      await refuseHole(this.#context.store, artifactId, seq);
      await this.#settle(artifactId, seq, Buffer.from(body), commitId, options);
      const base = await this.#readBase(artifactId, baseSeq, options);
      const records = await readLog(this.#context.store, artifactId, baseSeq, base?.hash ?? '', options);
      const mine = records.findIndex(({ record }) => record.commitId === commitId);
      if (mine >= 0) return records.slice(0, mine + 1);
    } catch (error) {
      throw await tracked.failed(error);
    }
    journal.remove(commitId);
    return null;
  }

  async #append(
    request: AppendRequest,
    decide: (log: LogView) => Promise<RecordBody>,
    intent: TrackedIntent,
    options: CallOptions,
  ): Promise<StoredRecord[]> {
    const { artifactId, commitId, sinceSeq } = request;
    const { store, host, user } = this.#context;
    const seen = (await request.log?.catch(() => undefined)) ?? (await this.look(request, options));
    const { base } = seen;
    const since = [...seen.since];
    for (let lost = 0; ; lost++) {
      const mine = since.findIndex(({ record }) => record.commitId === commitId);
      if (mine >= 0) return since.slice(0, mine + 1);
      if (lost > limits.slotsLostMax) throw tooBusy(artifactId, lost);
      if (lost > 0) await this.#pause(lost, options.signal);

      const body = await decide({ base, since });
      throwIfAborted(options.signal);
      const head = since.at(-1) ?? base;
      const seq = sinceSeq + since.length + 1;
      const prev = head?.hash ?? '';
      const bytes = encodeRecord({ seq, prev, commitId, host, user, time: this.#timeAfter(head) }, body);
      crashPoint('append-decided');
      await intent.enterSlot(seq, bytes);
      crashPoint('append-slot-saved');
      const found = await this.#settle(artifactId, seq, bytes, commitId, options);
      if (found !== null) return [...since, decodeRecord(recordName(artifactId, seq), found, seq, prev)];
      await intent.prepare();
      since.push(...(await readLog(store, artifactId, seq - 1, prev, { ...options, ...asWriter })));
    }
  }

  /**
   * Puts a record into a slot until the slot tells whose it is: its bytes when ours, null when another's. Whatever a
   * PUT answered, only what a GET finds there counts. Throws when that cannot be found out now: the record may be there,
   * or may still arrive.
   */
  async #settle(
    artifactId: string,
    seq: number,
    bytes: Buffer,
    commitId: string,
    options: CallOptions,
  ): Promise<Buffer | null> {
    const { store } = this.#context;
    let cause: unknown;
    for (let attempt = 0; attempt < limits.slotAttemptsMax; attempt++) {
      if (attempt > 0) await this.#pause(attempt, options.signal);
      if (attempt > 0 && options.signal?.aborted === true) break;
      try {
        await store.putIfAbsent(logKey(artifactId, seq), bytes, options);
        crashPoint('append-slot-put');
      } catch (error) {
        cause = error;
        if (isCode(error, 'Busy')) continue;
      }
      try {
        // Without the caller's signal: after a PUT one last look tells more than giving up at once.
        const found = await readSlot(store, artifactId, seq);
        if (found === null) continue;
        const owner = slotOwner(found, commitId);
        crashPoint('append-slot-read');
        if (owner !== 'unreadable') return owner === 'mine' ? found : null;
        cause = corrupt(recordName(artifactId, seq), `is not JSON: ${shown(found.toString())}`);
      } catch (error) {
        cause = error;
      }
    }
    throw new ArtifactError(
      'StoreUnavailable',
      `cannot tell what is in ${recordName(artifactId, seq)}`,
      {},
      cause,
    );
  }

  /** The record at the caller's position: it gives the time, and proves that this is the log the caller knows. */
  async #readBase(
    artifactId: string,
    seq: number,
    options: CallOptions,
    hash?: string,
  ): Promise<StoredRecord | null> {
    if (seq === 0) return null;
    const base = await readRecord(this.#context.store, artifactId, seq, options);
    const where = recordName(artifactId, seq);
    if (base === null) throw corrupt(where, 'is gone; a log never loses records');
    if (hash !== undefined && base.hash !== hash)
      throw corrupt(where, `has the hash ${base.hash}; when it was read before it had ${hash}`);
    return base;
  }

  #timeAfter(head: StoredRecord | null): number {
    const { s, ns } = this.#context.clock();
    return Math.max(s * 1000 + Math.floor(ns / 1e6), (head?.record.time ?? -1) + 1);
  }

  /** Full jitter: committers that collided once must not collide again. */
  async #pause(tries: number, signal: AbortSignal | undefined): Promise<void> {
    const most = Math.min(limits.storeRetryDelayMsMax, limits.storeRetryDelayMsMin * 2 ** tries);
    await this.#context.sleep(this.#context.random() * most, signal);
  }
}

/** An intent and what is durably known of it. */
class TrackedIntent {
  readonly #journal: IntentJournal;
  #intent: Intent;

  constructor(journal: IntentJournal, intent: Omit<Intent, 'state'> & { state?: Intent['state'] }) {
    this.#journal = journal;
    this.#intent = { ...intent, state: intent.state ?? 'prepared' };
  }

  /** Nothing of ours is in the log, nor can it arrive there any more. */
  prepare(): Promise<void> {
    const { commitId, artifactId, stageId, baseSeq } = this.#intent;
    return this.#save({ commitId, artifactId, stageId, baseSeq, state: 'prepared' });
  }

  /** From when this resolves, `body` may be in slot `seq`. */
  enterSlot(seq: number, body: Buffer): Promise<void> {
    return this.#save({ ...this.#intent, state: 'slot', seq, body: body.toString() });
  }

  /** The error to throw: a failure once it is sure that our record is not in the log, else `OutcomeUnknown`. */
  async failed(error: unknown): Promise<unknown> {
    const { artifactId, commitId, state, seq } = this.#intent;
    if (state === 'prepared') {
      this.#journal.remove(commitId);
      return error;
    }
    if (state === 'slot') await this.#save({ ...this.#intent, state: 'unknown' });
    return new ArtifactError(
      'OutcomeUnknown',
      `it is not known whether log record ${seq} of artifact ${artifactId} was written; it is being resolved`,
      { artifactId, commitId, seq, hint: 'wait until the store answers again; nothing is lost meanwhile' },
      error,
    );
  }

  async #save(intent: Intent): Promise<void> {
    await this.#journal.save(intent);
    this.#intent = intent;
  }
}

/**
 * A writer knows the head, but for what others wrote since: the first slot that it asks for is mostly empty. It must be one
 * where nothing was lost.
 */
const asWriter = { firstWindow: 1, looksBeyond: true };

const tooBusy = (artifactId: string, lost: number) =>
  new ArtifactError('Busy', `gave up after ${lost} others wrote to the log of artifact ${artifactId} first`, {
    hint: 'try again when fewer machines commit to it',
  });
