import { isCode } from '../model/errors.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { corrupt } from './fields.js';
import { logKey, logPrefix, parseKey } from './keys.js';
import { decodeFirstRecord, decodeRecord } from './record-codec.js';
import type { StoredRecord } from './records.js';
import { storedJson } from './stored-json.js';

/** Slots asked for at once: one for a poll, more as long as they turn out to be there. */
const windowMax = 8;
/** The same once LIST has told that the records exist. */
const listedWindowMax = 32;
/** A reader that was this far behind asks LIST where the head is about. */
const farBehindRecords = 64;

/**
 * The records after `seq`, whose hash is `hash` (0 and '' for the beginning), up to the head: the first slot that is
 * proved absent. `firstWindow`: slots asked for at once at first. `Corrupt` names a slot that is missing below others, or one that does not chain.
 */
export async function readLog(
  store: ObjectStore,
  artifactId: string,
  seq: number,
  hash: string,
  options: CallOptions = {},
  firstWindow = seq === 0 ? 4 : 1,
): Promise<StoredRecord[]> {
  const records: StoredRecord[] = [];
  let window = firstWindow;
  let listed: number | null = null;
  let suspect = 0;
  for (;;) {
    const first = seq + records.length + 1;
    const slots = await readSlots(store, artifactId, first, window, options);
    if (appendRecords(records, slots, artifactId, first, records.at(-1)?.hash ?? hash)) {
      if (listed === null && records.length >= farBehindRecords)
        listed = await lastListed(store, artifactId, seq + records.length, options);
      const known = Math.min((listed ?? 0) - seq - records.length, listedWindowMax);
      window = Math.max(Math.min(window * 4, windowMax), known);
      continue;
    }
    const absent = seq + records.length + 1;
    const later = slots.slice(absent - first + 1).some((slot) => slot.status === 'fulfilled' && slot.value);
    if (!later && absent > (listed ?? 0)) return records;
    // Somebody may have written both while we asked for one and the other. Asked again, it must be there.
    if (suspect === absent)
      throw corrupt(recordName(artifactId, absent), 'is missing, but later records are there');
    suspect = absent;
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
      throw corrupt(recordName(artifactId, records.length + 1), 'is missing, but later records are there');
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
export async function readSlot(
  store: ObjectStore,
  artifactId: string,
  seq: number,
  options: CallOptions = {},
): Promise<Buffer | null> {
  try {
    return await storedJson(store, logKey(artifactId, seq), options);
  } catch (error) {
    if (isCode(error, 'NotFound')) return null;
    throw error;
  }
}

export const recordName = (artifactId: string, seq: number): string =>
  `log record ${logKey(artifactId, seq)}`;

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
