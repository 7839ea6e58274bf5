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
    if (!(await this.#unlinkOld(move, move.fromName))) await this.#undo(move);
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
    const isLinked = log.nameOwner(move.toId, move.toName) === move.artifactId;
    // Where the old name is gone it was our record, as a rule, that took it away before we were killed.
    if (isLinked) await this.#unlinkOld(move);
    if (isLinked || !this.#isPending(move.toId)) transaction(db.db, () => db.moves.delete(move.artifactId));
  }

  /** Of those who take the old name away the first one has the artifact: else it would have two names. */
  async #undo(move: MoveRow): Promise<never> {
    const { db, log, namesChanged } = this.#parts;
    const records = await log.changeNames(move.toId, (names) =>
      names(move.toName) === move.artifactId
        ? { type: 'unlink', name: move.toName, artifactId: move.artifactId }
        : null,
    );
    namesChanged(move.toId, records, move.toName);
    transaction(db.db, () => db.moves.delete(move.artifactId));
    throw new ArtifactError(
      'Conflict',
      `${move.fromName} was renamed, moved or removed by somebody else meanwhile`,
      { paths: [move.fromName], hint: 'list where it is now with "artifactfs ls"' },
    );
  }

  async #refresh(collectionId: string): Promise<void> {
    const { log, namesChanged } = this.#parts;
    namesChanged(collectionId, await log.refresh(collectionId));
  }

  /** False: the old name does not mean the artifact any more. The move is forgotten only when it was done. */
  async #unlinkOld(move: MoveRow, own?: string): Promise<boolean> {
    const { db, log, namesChanged } = this.#parts;
    let isOurs = false;
    const records = await log.changeNames(move.fromId, (names) => {
      isOurs = names(move.fromName) === move.artifactId;
      return isOurs ? { type: 'unlink', name: move.fromName, artifactId: move.artifactId } : null;
    });
    namesChanged(move.fromId, records, isOurs ? own : undefined);
    if (isOurs) transaction(db.db, () => db.moves.delete(move.artifactId));
    return isOurs;
  }

  #isPending(artifactId: string): boolean {
    return this.#parts.db.intents.pending(artifactId).length > 0;
  }
}
