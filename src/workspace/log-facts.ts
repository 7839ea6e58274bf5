import type { CallOptions, ObjectStore } from '../store/object-store.js';
import type { LogView } from './commit-types.js';
import { corrupt } from './fields.js';
import { readRecord, recordName } from './log.js';
import type { CommitBody, LogRecord, Manifest, StoredRecord } from './records.js';

/** What was true at a caller's position in the log. */
export interface LogFacts {
  /** Of the newest commit, expired or not; -1 before the first. */
  readonly lastVersion: number;
  readonly manifest: Manifest;
}

const readAtOnce = 16;

/** Looks back from `base` to the newest commit: in nearly every log that is the record itself or one close by. */
export async function factsAt(
  store: ObjectStore,
  artifactId: string,
  base: StoredRecord | null,
  options: CallOptions,
): Promise<LogFacts> {
  let manifest: Manifest | undefined;
  let record = base;
  let ahead: (StoredRecord | null)[] = [];
  while (record !== null) {
    const { record: body } = record;
    if (body.type === 'commit' || body.type === 'meta') manifest ??= body.manifest;
    if (body.type === 'commit') return { lastVersion: body.version, manifest: manifest ?? {} };
    if (body.seq === 1) break;
    const before = body.seq - 1;
    if (ahead.length === 0) ahead = await readBackwards(store, artifactId, before, options);
    const previous = ahead.shift() ?? null;
    if (previous === null || previous.hash !== body.prev)
      throw corrupt(recordName(artifactId, before), 'is not the one that the next record names');
    record = previous;
  }
  return { lastVersion: -1, manifest: manifest ?? {} };
}

export const isCommit = (stored: StoredRecord): stored is StoredRecord<CommitBody> =>
  stored.record.type === 'commit';

/** Versions that records expire. */
export function expiredIn(since: LogView['since']): ReadonlySet<number> {
  return new Set(since.flatMap(({ record }) => (record.type === 'expire' ? record.versions : [])));
}

/** The manifest after `since`; undefined when no record in it sets one. */
export function manifestIn(since: LogView['since']): Manifest | undefined {
  const setter = since.findLast(({ record }) => record.type === 'commit' || record.type === 'meta');
  const record: LogRecord | undefined = setter?.record;
  return record?.type === 'commit' || record?.type === 'meta' ? record.manifest : undefined;
}

function readBackwards(
  store: ObjectStore,
  artifactId: string,
  from: number,
  options: CallOptions,
): Promise<(StoredRecord | null)[]> {
  const count = Math.min(readAtOnce, from);
  return Promise.all(
    Array.from({ length: count }, (_, i) => readRecord(store, artifactId, from - i, options)),
  );
}
