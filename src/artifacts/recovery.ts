import type { Staging } from '../content/ports.js';
import type { Publisher } from '../workspace/commit-types.js';
import type { StoredRecord } from '../workspace/records.js';
import type { CollectionLog } from './collection-log.js';
import type { Moves } from './moves.js';
import type { StageDatabase } from './stage-db/stage-database.js';

export interface RecoveryParts {
  readonly db: StageDatabase;
  readonly log: CollectionLog;
  readonly publisher: Publisher;
  readonly staging: Staging;
  readonly moves: Moves;
  /** These records of a collection were read. */
  readonly namesChanged: (collectionId: string, records: readonly StoredRecord[]) => void;
}

/** What is finished by the next daemon when one is killed in between: records of collections, moves, staging files. */
export class Recovery {
  readonly #parts: RecoveryParts;

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  /** Intents of commits are left to their stage. What the store cannot tell now stays for the next start. */
  async settle(onError: (error: unknown, doing: string) => void): Promise<void> {
    const { db, log, publisher, moves, namesChanged } = this.#parts;
    const ofStages = new Set(db.stages.all().map((row) => row.commitId));
    for (const intent of db.intents.pending()) {
      if (ofStages.has(intent.commitId)) continue;
      try {
        await publisher.resolve(intent, db.intents);
        namesChanged(intent.artifactId, await log.refresh(intent.artifactId));
        db.intents.remove(intent.commitId);
      } catch (error) {
        onError(error, `resolving an unfinished record of artifact ${intent.artifactId}`);
      }
    }
    await moves.finishAll(onError);
  }

  /** Removes staging files that no stage names, before anything is written; `resume` then drops their uploads. */
  async sweep(): Promise<void> {
    const { db, staging } = this.#parts;
    const named = db.inodes.stagingFiles();
    for (const file of await staging.files()) if (!named.has(file)) staging.remove(file);
  }
}
