import { newCommitId } from '../../src/model/ids.js';
import type { ObjectStore } from '../../src/store/object-store.js';
import { logKey } from '../../src/workspace/keys.js';
import { readLog } from '../../src/workspace/log.js';
import { encodeRecord } from '../../src/workspace/record-codec.js';
import type { RecordBody, StoredRecord } from '../../src/workspace/records.js';

/** Appends a record as a build would do that knows every feature. */
export async function appendAsNewer(store: ObjectStore, artifactId: string, body: RecordBody): Promise<void> {
  const head = (await readAsNewer(store, artifactId)).at(-1);
  const [seq, prev] = [(head?.record.seq ?? 0) + 1, head?.hash ?? ''];
  const header = { seq, prev, commitId: newCommitId(), host: 'newer', user: 'newer', time: 0 };
  await store.putIfAbsent(logKey(artifactId, seq), encodeRecord(header, body));
}

/** Reads a log on, whatever features it names. */
export const readAsNewer = (
  store: ObjectStore,
  artifactId: string,
  seq = 0,
  hash = '',
): Promise<StoredRecord[]> => readLog(store, artifactId, seq, hash);
