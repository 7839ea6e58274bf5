import type { Catalog } from '../catalog/ports.js';
import { newCommitId, newStageId } from '../model/ids.js';
import type { IntentJournal, Publisher } from '../workspace/commit-types.js';
import type { RecordBody, StoredRecord } from '../workspace/records.js';

export interface CollectionLogParts {
  readonly publisher: Publisher;
  readonly catalog: Catalog;
  readonly intents: IntentJournal;
}

/** Names of a collection as they are after the records that a writer has not seen yet. */
export type Names = (name: string) => string | undefined;

/** Thrown by `decide` when nothing has to be written: the log says already what was wanted. */
class AlreadySo extends Error {}

/** The names in a collection, which live in its log, and how they are changed. */
export class CollectionLog {
  readonly #parts: CollectionLogParts;

  constructor(parts: CollectionLogParts) {
    this.#parts = parts;
  }

  nameOwner(collectionId: string, name: string): string | undefined {
    return this.#parts.catalog.child(collectionId, name)?.artifactId;
  }

  /** Reads the collection's new records into the catalog; answers them. */
  async refresh(collectionId: string): Promise<readonly StoredRecord[]> {
    const { publisher, catalog } = this.#parts;
    const head = catalog.artifact(collectionId);
    const records = await publisher.readLog(collectionId, head?.headSeq ?? 0, head?.headHash ?? '');
    if (records.length > 0) catalog.apply(collectionId, records);
    return records;
  }

  /**
   * Appends the record that `decide` answers for the names as they are, or nothing when it answers null. `decide`
   * throws when the names do not allow it. Answers the records that were new here.
   */
  async append(
    collectionId: string,
    decide: (names: Names) => RecordBody | null,
  ): Promise<readonly StoredRecord[]> {
    const { publisher, catalog, intents } = this.#parts;
    const head = catalog.artifact(collectionId);
    const request = {
      artifactId: collectionId,
      commitId: newCommitId(),
      stageId: newStageId(),
      sinceSeq: head?.headSeq ?? 0,
      sincePrev: head?.headHash ?? '',
    };
    const decideNow = (since: readonly StoredRecord[]): RecordBody => {
      const body = decide(this.#namesAfter(collectionId, since));
      if (body === null) throw new AlreadySo();
      return body;
    };
    try {
      const records = await publisher.append(request, decideNow, intents);
      catalog.apply(collectionId, records);
      intents.remove(request.commitId);
      return records;
    } catch (error) {
      if (!(error instanceof AlreadySo)) throw error;
      return this.refresh(collectionId);
    }
  }

  #namesAfter(collectionId: string, since: readonly StoredRecord[]): Names {
    const changed = new Map<string, string | null>();
    const names: Names = (name) => {
      const known = changed.get(name);
      return known === undefined
        ? this.#parts.catalog.child(collectionId, name)?.artifactId
        : (known ?? undefined);
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
