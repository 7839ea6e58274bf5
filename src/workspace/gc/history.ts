import type { StoredRecord } from '../records.js';
import { applyRecord, emptyArtifactState, type ReplayState } from '../replay.js';

/** A log replayed up to one position, with the number of the record that made each thing what it is. */
export interface History {
  readonly records: readonly StoredRecord[];
  readonly state: ReplayState;
  /** Stage -> the record that published it. */
  readonly committedBy: ReadonlyMap<string, number>;
  /** Stage -> the first record that declares it dead. */
  readonly abandonedBy: ReadonlyMap<string, number>;
  /** Version -> the first record that expires it. */
  readonly expiredBy: ReadonlyMap<number, number>;
}

/** What a record of garbage collection says, or would say. */
export interface Proposal {
  readonly expire: readonly number[];
  readonly abandon: readonly string[];
}

/** Of all records from the first one on. `assumed` is taken as if records said it after the last one. */
export function historyOf(records: readonly StoredRecord[], assumed?: Proposal): History {
  const state = emptyArtifactState();
  const committedBy = new Map<string, number>();
  const abandonedBy = new Map<string, number>();
  const expiredBy = new Map<number, number>();
  const expire = (versions: readonly number[], seq: number): void => {
    for (const version of versions)
      if (state.versions[version]?.expired === false && !expiredBy.has(version)) expiredBy.set(version, seq);
  };
  const abandon = (stages: readonly string[], seq: number): void => {
    for (const stageId of stages) if (!abandonedBy.has(stageId)) abandonedBy.set(stageId, seq);
  };
  for (const stored of records) {
    const { record } = stored;
    if (record.type === 'commit') for (const stageId of record.stages) committedBy.set(stageId, record.seq);
    if (record.type === 'expire') expire(record.versions, record.seq);
    if (record.type === 'abandon') abandon(record.stages, record.seq);
    applyRecord(state, stored);
  }
  if (assumed !== undefined) {
    const seq = state.headSeq + 1;
    expire(assumed.expire, seq);
    abandon(assumed.abandon, seq);
    for (const version of assumed.expire) {
      const found = state.versions[version];
      if (found !== undefined) found.expired = true;
    }
    for (const stageId of assumed.abandon) state.abandonedStages.add(stageId);
  }
  return { records, state, committedBy, abandonedBy, expiredBy };
}
