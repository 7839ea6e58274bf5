import type { Staging } from '../content/ports.js';
import { ArtifactError } from '../model/errors.js';
import { transaction } from '../util/sqlite.js';
import type { Publisher } from '../workspace/commit-types.js';
import type { CollectionLog } from './collection-log.js';
import type { MoveRow } from './stage-db/move-rows.js';
import type { StageDatabase } from './stage-db/stage-database.js';

export interface RecoveryParts {
  readonly db: StageDatabase;
  readonly log: CollectionLog;
  readonly publisher: Publisher;
  readonly staging: Staging;
}

/** What is finished by the next daemon when one is killed in between: records of collections, moves, staging files. */
export class Recovery {
  readonly #parts: RecoveryParts;

  constructor(parts: RecoveryParts) {
    this.#parts = parts;
  }

  /** Intents of commits are left to their stage. What the store cannot tell now stays for the next start. */
  async settle(onError: (error: unknown, doing: string) => void): Promise<void> {
    const { db, log, publisher } = this.#parts;
    const ofStages = new Set(db.stages.all().map((row) => row.commitId));
    for (const intent of db.intents.pending()) {
      if (ofStages.has(intent.commitId)) continue;
      try {
        await publisher.resolve(intent, db.intents);
        await log.refresh(intent.artifactId);
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
    const { db, log } = this.#parts;
    transaction(db.db, () => db.moves.put(move));
    try {
      await log.changeNames(move.toId, (names) => {
        const owner = names(move.toName);
        if (owner === move.artifactId) return null;
        if (owner !== undefined) throw new ArtifactError('Exists', `${move.toName} exists in the collection`);
        return { type: 'link', name: move.toName, artifactId: move.artifactId };
      });
    } catch (error) {
      if (!this.#isPending(move.toId)) transaction(db.db, () => db.moves.delete(move.artifactId));
      throw error;
    }
    await this.#unlinkOld(move);
  }

  /** Removes staging files that no stage names, before anything is written; `resume` then drops their uploads. */
  async sweep(): Promise<void> {
    const { db, staging } = this.#parts;
    const named = db.inodes.stagingFiles();
    for (const file of await staging.files()) if (!named.has(file)) staging.remove(file);
  }

  async #finishMove(move: MoveRow): Promise<void> {
    const { db, log } = this.#parts;
    await log.refresh(move.toId);
    await log.refresh(move.fromId);
    if (log.nameOwner(move.toId, move.toName) === move.artifactId) await this.#unlinkOld(move);
    else if (!this.#isPending(move.toId)) transaction(db.db, () => db.moves.delete(move.artifactId));
  }

  async #unlinkOld(move: MoveRow): Promise<void> {
    const { db, log } = this.#parts;
    await log.changeNames(move.fromId, (names) =>
      names(move.fromName) === move.artifactId
        ? { type: 'unlink', name: move.fromName, artifactId: move.artifactId }
        : null,
    );
    transaction(db.db, () => db.moves.delete(move.artifactId));
  }

  #isPending(artifactId: string): boolean {
    return this.#parts.db.intents.pending(artifactId).length > 0;
  }
}
