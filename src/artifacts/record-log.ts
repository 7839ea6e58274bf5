import type { Catalog } from '../catalog/ports.js';
import { newCommitId, newStageId } from '../model/ids.js';
import type { IntentJournal, Publisher } from '../workspace/commit-types.js';
import type { IntactLog, LogRead } from '../workspace/log.js';
import type { RecordBody, StoredRecord } from '../workspace/records.js';

export interface RecordLogParts {
  readonly publisher: Publisher;
  readonly catalog: Catalog;
  readonly intents: IntentJournal;
}

/** Thrown by `decide` when nothing has to be written: the log says already what was wanted. */
class AlreadySo extends Error {}

/** The logs of artifacts as the catalog knows them, and how records other than commits are appended. */
export class RecordLog {
  protected readonly catalog: Catalog;
  readonly #publisher: Publisher;
  readonly #intents: IntentJournal;

  constructor(parts: RecordLogParts) {
    this.catalog = parts.catalog;
    this.#publisher = parts.publisher;
    this.#intents = parts.intents;
  }

  /** Reads an artifact's new records into the catalog, as far as they can be read; answers them. */
  async advance(artifactId: string, options: LogRead = {}): Promise<IntactLog> {
    const head = this.catalog.artifact(artifactId);
    const { headSeq = 0, headHash = '' } = head ?? {};
    const log = await this.#publisher.readIntactLog(artifactId, headSeq, headHash, options);
    if (log.records.length > 0) this.catalog.apply(artifactId, log.records);
    return log;
  }

  /** The same; throws when there are some that cannot be read. */
  async refresh(artifactId: string): Promise<readonly StoredRecord[]> {
    const { records, damage } = await this.advance(artifactId);
    if (damage !== null) throw damage;
    return records;
  }

  /**
   * Appends the record that `decide` answers for what the catalog knows and the records that it does not, or nothing when it
   * answers null. It is asked again whenever somebody else wrote first, and throws when the log does not allow what was
   * wanted. Answers the records that were new here. `commitId`: of the record, for who wants to know it again.
   */
  async append(
    artifactId: string,
    decide: (since: readonly StoredRecord[]) => RecordBody | null,
    commitId = newCommitId(),
  ): Promise<readonly StoredRecord[]> {
    const head = this.catalog.artifact(artifactId);
    const request = {
      artifactId,
      commitId,
      stageId: newStageId(),
      sinceSeq: head?.headSeq ?? 0,
      sincePrev: head?.headHash ?? '',
    };
    const decideNow = (since: readonly StoredRecord[]): RecordBody => {
      // A refresh may have told the catalog of some meanwhile.
      const known = this.catalog.artifact(artifactId)?.headSeq ?? 0;
      const body = decide(since.filter(({ record }) => record.seq > known));
      if (body === null) throw new AlreadySo();
      return body;
    };
    try {
      const records = await this.#publisher.append(request, decideNow, this.#intents);
      this.catalog.apply(artifactId, records);
      this.#intents.remove(commitId);
      return records;
    } catch (error) {
      if (!(error instanceof AlreadySo)) throw error;
      return this.refresh(artifactId);
    }
  }
}
