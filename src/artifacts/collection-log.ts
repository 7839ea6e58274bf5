import type { RecordBody, StoredRecord } from '../workspace/records.js';
import { RecordLog } from './record-log.js';

/** Names of a collection as they are after the records that a writer has not seen yet. */
export type Names = (name: string) => string | undefined;

/** The names in a collection, which live in its log, and how they are changed. */
export class CollectionLog extends RecordLog {
  nameOwner(collectionId: string, name: string): string | undefined {
    return this.catalog.child(collectionId, name)?.artifactId;
  }

  /**
   * Appends the record that `decide` answers for the names as they are, or nothing when it answers null. `decide`
   * throws when the names do not allow it. Answers the records that were new here.
   */
  changeNames(
    collectionId: string,
    decide: (names: Names, since: readonly StoredRecord[]) => RecordBody | null,
    commitId?: string,
  ): Promise<readonly StoredRecord[]> {
    return this.append(
      collectionId,
      (since) => decide(this.#namesAfter(collectionId, since), since),
      commitId,
    );
  }

  #namesAfter(collectionId: string, since: readonly StoredRecord[]): Names {
    const changed = new Map<string, string | null>();
    const names: Names = (name) => {
      const known = changed.get(name);
      return known === undefined ? this.catalog.child(collectionId, name)?.artifactId : (known ?? undefined);
    };
    for (const { record } of since) {
      if (record.type === 'link' && names(record.name) === undefined)
        changed.set(record.name, record.artifactId);
      if (record.type === 'unlink' && names(record.name) === record.artifactId)
        changed.set(record.name, null);
      if (
        record.type === 'rename' &&
        names(record.from) === record.artifactId &&
        names(record.to) === undefined
      ) {
        changed.set(record.from, null);
        changed.set(record.to, record.artifactId);
      }
    }
    return names;
  }
}

/** Names that records made mean something else. */
export function changedNames(records: readonly StoredRecord[]): Set<string> {
  const names = new Set<string>();
  for (const { record } of records) {
    if (record.type === 'link' || record.type === 'unlink') names.add(record.name);
    if (record.type === 'rename') names.add(record.from).add(record.to);
  }
  return names;
}
