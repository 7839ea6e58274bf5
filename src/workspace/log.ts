import { type ArtifactError, isCode } from '../model/errors.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { corrupt } from './fields.js';
import { logKey, logPrefix, parseKey } from './keys.js';
import { decodeFirstRecord, decodeRecord } from './record-codec.js';
import type { StoredRecord } from './records.js';
import { storedJsonIfThere } from './stored-json.js';

/** Slots asked for at once: one for a poll, more as long as they turn out to be there. */
const windowMax = 8;
/** The same once LIST has told that the records exist. */
const listedWindowMax = 32;
/** A reader that was this far behind asks LIST where the head is about. */
const farBehindRecords = 64;

export interface LogRead extends CallOptions {
  /** Slots asked for at once at first. */
  readonly firstWindow?: number;
  /**
   * Ask LIST, too, whether anything comes after the head. A GET proves that a slot is empty, but not that no record was
   * lost there: who writes into it would cut off all that comes after.
   */
  readonly looksBeyond?: boolean;
}

/** A log as far as it can be read. */
export interface IntactLog {
  readonly records: StoredRecord[];
  /** Why what comes after `records` cannot be read, `Corrupt` or `UnsupportedFormat`; null: nothing comes after them. */
  readonly damage: ArtifactError | null;
}

/**
 * The records after `seq`, whose hash is `hash` (0 and '' for the beginning), up to the head: the first slot that is
 * proved absent. `Corrupt` names a slot that is missing below others, or one that does not chain.
 */
export async function readLog(
  store: ObjectStore,
  artifactId: string,
  seq: number,
  hash: string,
  options: LogRead = {},
): Promise<StoredRecord[]> {
  const { records, damage } = await readIntactLog(store, artifactId, seq, hash, options);
  if (damage !== null) throw damage;
  return records;
}

/** The same up to the first damage. Throws what the store fails with: that proves nothing. */
export async function readIntactLog(
  store: ObjectStore,
  artifactId: string,
  seq: number,
  hash: string,
  options: LogRead = {},
): Promise<IntactLog> {
  const records: StoredRecord[] = [];
  try {
    await readOn(records, store, artifactId, seq, hash, options);
  } catch (error) {
    if (isCode(error, 'Corrupt', 'UnsupportedFormat')) return { records, damage: error };
    throw error;
  }
  return { records, damage: null };
}

async function readOn(
  records: StoredRecord[],
  store: ObjectStore,
  artifactId: string,
  seq: number,
  hash: string,
  { firstWindow = seq === 0 ? 4 : 1, looksBeyond = false, ...options }: LogRead,
): Promise<void> {
  let window = firstWindow;
  let beyond = looksBeyond ? lastListed(store, artifactId, seq, options) : null;
  // Awaited only when the end is reached.
  beyond?.catch(() => {});
  let listed: number | null = null;
  let suspect = 0;
  for (;;) {
    const first = seq + records.length + 1;
    const slots = await readSlots(store, artifactId, first, window, options);
    if (appendRecords(records, slots, artifactId, first, records.at(-1)?.hash ?? hash)) {
      if (listed === null && records.length >= farBehindRecords)
        listed = await (beyond ?? lastListed(store, artifactId, seq + records.length, options));
      const known = Math.min((listed ?? 0) - seq - records.length, listedWindowMax);
      window = Math.max(Math.min(window * 4, windowMax), known);
      continue;
    }
    const absent = seq + records.length + 1;
    const seen = first + slots.findLastIndex((slot) => slot.status === 'fulfilled' && slot.value !== null);
    const later = Math.max(seen, listed ?? 0, (await beyond) ?? 0);
    if (later < absent) return;
    // Somebody may have written both while we asked for one and the other. Asked again, it must be there.
    if (suspect === absent) throw missing(artifactId, absent, later);
    suspect = absent;
    beyond ??= lastListed(store, artifactId, absent, options);
  }
}

/** The records 1 to `last`, which are there; `Corrupt` when they are not. */
export async function readLogUpTo(
  store: ObjectStore,
  artifactId: string,
  last: number,
  options: CallOptions = {},
): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  while (records.length < last) {
    const first = records.length + 1;
    const count = Math.min(windowMax, last - records.length);
    const slots = await readSlots(store, artifactId, first, count, options);
    if (!appendRecords(records, slots, artifactId, first, records.at(-1)?.hash ?? ''))
      throw missing(artifactId, records.length + 1, last);
  }
  return records;
}

/** One record by itself, its own hash unproved; null when the slot is empty. */
export async function readRecord(
  store: ObjectStore,
  artifactId: string,
  seq: number,
  options: CallOptions = {},
): Promise<StoredRecord | null> {
  const bytes = await readSlot(store, artifactId, seq, options);
  return bytes === null ? null : decodeFirstRecord(recordName(artifactId, seq), bytes, seq);
}

/** The bytes in a slot; null when the store proves that there are none. */
export function readSlot(
  store: ObjectStore,
  artifactId: string,
  seq: number,
  options: CallOptions = {},
): Promise<Buffer | null> {
  return storedJsonIfThere(store, logKey(artifactId, seq), options);
}

/** `Corrupt` when the slot `seq` is empty, but one of those after it is not. */
export async function refuseHole(store: ObjectStore, artifactId: string, seq: number): Promise<void> {
  const later = await lastListed(store, artifactId, seq, {});
  if (later > seq && (await readSlot(store, artifactId, seq)) === null) throw missing(artifactId, seq, later);
}

export const recordName = (artifactId: string, seq: number): string =>
  `log record ${logKey(artifactId, seq)}`;

const missing = (artifactId: string, seq: number, later: number): ArtifactError =>
  corrupt(recordName(artifactId, seq), `is missing, but record ${later} is there`);

type Slot = PromiseSettledResult<Buffer | null>;

const readSlots = (
  store: ObjectStore,
  artifactId: string,
  first: number,
  count: number,
  options: CallOptions,
): Promise<Slot[]> =>
  Promise.allSettled(
    Array.from({ length: count }, (_, i) => readSlot(store, artifactId, first + i, options)),
  );

/** Decodes slots up to the first absent one; true when all were there. A failed GET counts only when it is reached. */
function appendRecords(
  records: StoredRecord[],
  slots: readonly Slot[],
  artifactId: string,
  first: number,
  hash: string,
): boolean {
  let prev = hash;
  for (const [i, slot] of slots.entries()) {
    if (slot.status === 'rejected') throw slot.reason;
    if (slot.value === null) return false;
    const stored = decodeRecord(recordName(artifactId, first + i), slot.value, first + i, prev);
    records.push(stored);
    prev = stored.hash;
  }
  return true;
}

/** The highest slot that LIST shows: a hint, because only a GET proves where the log ends. */
export async function lastListed(
  store: ObjectStore,
  artifactId: string,
  seq: number,
  options: CallOptions,
): Promise<number> {
  let last = seq;
  const startAfter = logKey(artifactId, seq);
  for await (const { key } of store.list(logPrefix(artifactId), { ...options, startAfter })) {
    const parsed = parseKey(key);
    if (parsed?.type === 'log') last = parsed.seq;
  }
  return last;
}
