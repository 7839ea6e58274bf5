import type { Staging } from '../content/ports.js';
import { ArtifactError } from '../model/errors.js';
import { transaction } from '../util/sqlite.js';
import type { Publisher } from '../workspace/commit-types.js';
import type { StoredRecord } from '../workspace/records.js';
import type { CollectionLog } from './collection-log.js';
import type { MoveRow } from './stage-db/move-rows.js';
import type { StageDatabase } from './stage-db/stage-database.js';

export interface RecoveryParts {
  readonly db: StageDatabase;
  readonly log: CollectionLog;
  readonly publisher: Publisher;
  readonly staging: Staging;
  /** These records of a collection were read. `own`: the name that the caller, who came through the kernel, knows of. */
  readonly namesChanged: (collectionId: string, records: readonly StoredRecord[], own?: string) => void;
}

/** What is finished by the next daemon when one is killed in between: records of collections, moves, staging files. */
export class Recovery {
  readonly #parts: RecoveryParts;

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  /** Intents of commits are left to their stage. What the store cannot tell now stays for the next start. */
  async settle(onError: (error: unknown, doing: string) => void): Promise<void> {
    const { db, publisher } = this.#parts;
    const ofStages = new Set(db.stages.all().map((row) => row.commitId));
    for (const intent of db.intents.pending()) {
      if (ofStages.has(intent.commitId)) continue;
      try {
        await publisher.resolve(intent, db.intents);
        await this.#refresh(intent.artifactId);
        db.intents.remove(intent.commitId);
      } catch (error) {
        onError(error, `resolving an unfinished record of artifact ${intent.artifactId}`);
      }
    }
    for (const move of db.moves.all()) {
      try {
        await this.#finishMove(move);
      } catch (error) {
        onError(error, `finishing the move of ${move.fromName}`);
      }
    }
  }

  /** Linked in the new collection first, so that the artifact always has a name. */
  async move(move: MoveRow): Promise<void> {
    const { db, log, namesChanged } = this.#parts;
    transaction(db.db, () => db.moves.put(move));
    let records: readonly StoredRecord[];
    try {
      records = await log.changeNames(move.toId, (names) => {
        const owner = names(move.toName);
        if (owner === move.artifactId) return null;
        if (owner !== undefined) throw new ArtifactError('Exists', `${move.toName} exists in the collection`);
        return { type: 'link', name: move.toName, artifactId: move.artifactId };
      });
    } catch (error) {
      if (!this.#isPending(move.toId)) transaction(db.db, () => db.moves.delete(move.artifactId));
      throw error;
    }
    namesChanged(move.toId, records, move.toName);
    await this.#unlinkOld(move, move.fromName);
  }

  /** Removes staging files that no stage names, before anything is written; `resume` then drops their uploads. */
  async sweep(): Promise<void> {
    const { db, staging } = this.#parts;
    const named = db.inodes.stagingFiles();
    for (const file of await staging.files()) if (!named.has(file)) staging.remove(file);
  }

  async #finishMove(move: MoveRow): Promise<void> {
    const { db, log } = this.#parts;
    await this.#refresh(move.toId);
    await this.#refresh(move.fromId);
    if (log.nameOwner(move.toId, move.toName) === move.artifactId) await this.#unlinkOld(move);
    else if (!this.#isPending(move.toId)) transaction(db.db, () => db.moves.delete(move.artifactId));
  }

  async #refresh(collectionId: string): Promise<void> {
    const { log, namesChanged } = this.#parts;
    namesChanged(collectionId, await log.refresh(collectionId));
  }

  async #unlinkOld(move: MoveRow, own?: string): Promise<void> {
    const { db, log, namesChanged } = this.#parts;
    const records = await log.changeNames(move.fromId, (names) =>
      names(move.fromName) === move.artifactId
        ? { type: 'unlink', name: move.fromName, artifactId: move.artifactId }
        : null,
    );
    namesChanged(move.fromId, records, own);
    transaction(db.db, () => db.moves.delete(move.artifactId));
  }

  #isPending(artifactId: string): boolean {
    return this.#parts.db.intents.pending(artifactId).length > 0;
  }
}
