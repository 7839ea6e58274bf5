import { type ArtifactError, isCode } from '../../model/errors.js';
import type { CallOptions, ObjectStore } from '../../store/object-store.js';
import { requireReadable } from '../features.js';
import { logKey } from '../keys.js';
import { lastListed, readSlot, recordName } from '../log.js';
import { decodeFirstRecord } from '../record-codec.js';
import type { StoredRecord } from '../records.js';
import { applyRecord, emptyArtifactState, type ReplayState } from '../replay.js';
import { type Finding, finding, type Place } from './findings.js';

/** A log as far as it is whole. */
export interface CheckedLog {
  readonly place: Place;
  /** Replayed up to the first damage. */
  readonly state: ReplayState;
  /** Every record was read and follows. Otherwise nobody can tell what comes after `state`. */
  readonly isWhole: boolean;
  readonly findings: readonly Finding[];
}

const slotsAtOnce = 16;

/**
 * Reads a log from its first record to its head and replays it. What is wrong ends the replay and is named; a store that
 * does not answer is thrown, because it proves nothing.
 */
export async function checkLog(
  store: ObjectStore,
  place: Place,
  options: CallOptions = {},
): Promise<CheckedLog> {
  const { artifactId } = place;
  const listed = await lastListed(store, artifactId, 0, options);
  const state = emptyArtifactState();
  const findings: Finding[] = [];
  for (let first = 1; ; first += slotsAtOnce) {
    const slots = await readSlots(store, artifactId, first, options);
    const last = Math.max(listed, first + slots.findLastIndex((slot) => slot !== null));
    for (let seq = first; seq < first + slotsAtOnce; seq++) {
      let slot = slots[seq - first] ?? null;
      if (slot === null && last < seq) return { place, state, isWhole: true, findings };
      // Somebody may have written both while we asked for one and the other.
      slot ??= await readSlot(store, artifactId, seq, options);
      const damage = slot === null ? gap(place, seq, last) : applySlot(place, state, seq, slot, findings);
      if (damage === null) continue;
      findings.push(withConsequence(damage, state, Math.max(last, seq)));
      return { place, state, isWhole: false, findings };
    }
  }
}

type Slot = Buffer | ArtifactError | null;

function readSlots(
  store: ObjectStore,
  artifactId: string,
  first: number,
  options: CallOptions,
): Promise<Slot[]> {
  const read = async (_: unknown, i: number): Promise<Slot> => {
    try {
      return await readSlot(store, artifactId, first + i, options);
    } catch (error) {
      if (isCode(error, 'Corrupt')) return error;
      throw error;
    }
  };
  return Promise.all(Array.from({ length: slotsAtOnce }, read));
}

/** What is wrong with the slot, or null when the record in it was applied. */
function applySlot(
  place: Place,
  state: ReplayState,
  seq: number,
  slot: Buffer | ArtifactError,
  findings: Finding[],
): Finding | null {
  const key = logKey(place.artifactId, seq);
  let stored: StoredRecord;
  try {
    if (!Buffer.isBuffer(slot)) throw slot;
    stored = decodeFirstRecord(recordName(place.artifactId, seq), slot, seq);
  } catch (error) {
    return unreadable(place, key, error);
  }
  const { prev } = stored.record;
  if (prev !== state.headHash) return brokenChain(place, key, seq, prev, state.headHash);
  try {
    const isEffective = applyRecord(state, stored);
    requireReadable(`artifact ${place.path}`, state.features);
    if (!isEffective) findings.push(withoutEffect(place, key, stored));
    return null;
  } catch (error) {
    if (isCode(error, 'UnsupportedFormat')) return newerFormat(place, key, error);
    if (!isCode(error, 'Corrupt')) throw error;
    return finding(place, { severity: 'damage', code: 'log-contradiction', key, what: error.message });
  }
}

function unreadable(place: Place, key: string, error: unknown): Finding {
  if (isCode(error, 'UnsupportedFormat')) return newerFormat(place, key, error);
  if (!isCode(error, 'Corrupt')) throw error;
  return finding(place, { severity: 'damage', code: 'log-unreadable', key, what: error.message });
}

const newerFormat = (place: Place, key: string, { message }: ArtifactError): Finding =>
  finding(place, { severity: 'warning', code: 'newer-format', key, what: message });

function brokenChain(place: Place, key: string, seq: number, prev: string, hash: string): Finding {
  const before = seq === 1 ? 'nothing comes before it' : `record ${seq - 1} has the hash ${hash}`;
  const what = `record ${seq} follows ${prev === '' ? 'nothing' : prev}, but ${before}`;
  const means =
    seq === 1 ? '' : `one of the records ${seq - 1} and ${seq} was changed after it was written. `;
  return finding(place, { severity: 'damage', code: 'log-broken-chain', key, what, means });
}

function gap(place: Place, seq: number, last: number): Finding {
  const what = `record ${seq} is missing, but record ${last} is there`;
  return finding(place, { severity: 'damage', code: 'log-gap', key: logKey(place.artifactId, seq), what });
}

/** Who reads the log stops where we did. */
function withConsequence(damage: Finding, state: ReplayState, last: number): Finding {
  const from = state.headSeq + 1;
  const records = last > from ? `the records ${from} to ${last} count` : `record ${from} counts`;
  const known =
    state.versions.length === 0
      ? 'no version is known'
      : `what came before is as it was (${state.versions.length} versions)`;
  const until = damage.code === 'newer-format' ? 'a newer artifactfs is installed' : 'the object is restored';
  const means = `${damage.means}${records} for nobody here and nothing can be committed until ${until}; ${known}`;
  return { ...damage, means };
}

function withoutEffect(place: Place, key: string, { record }: StoredRecord): Finding {
  const what = `${record.type} record ${record.seq} expects what was not so, and has no effect`;
  return finding(place, { severity: 'info', code: 'record-without-effect', key, what });
}
