import { ArtifactError, isCode } from '../model/errors.js';
import { newCommitId } from '../model/ids.js';
import { transaction } from '../util/sqlite.js';
import type { Publisher } from '../workspace/commit-types.js';
import type { RecordBody, StoredRecord } from '../workspace/records.js';
import type { CollectionLog, Names } from './collection-log.js';
import type { NameSearch } from './name-search.js';
import type { MoveRow } from './stage-db/move-rows.js';
import type { StageDatabase } from './stage-db/stage-database.js';

export interface MovesParts {
  readonly db: StageDatabase;
  readonly log: CollectionLog;
  readonly publisher: Publisher;
  readonly search: NameSearch;
  /** These records of a collection were read. `own`: the name that the caller, who came through the kernel, knows of. */
  readonly namesChanged: (collectionId: string, records: readonly StoredRecord[], own?: string) => void;
}

type Move = Omit<MoveRow, 'linkId' | 'unlinkId'>;

/** What links the new name, decided for the names as they are; throws when they do not allow it. */
type LinkDecision = (names: Names, since: readonly StoredRecord[]) => RecordBody;

/**
 * Names given in one collection while another, or nobody, has the artifact: two logs, which are not written at once. The new
 * name comes first, so that there is always one. Who has linked it looks what others did before and takes it back when the
 * artifact may not have it. Of those that do so at the same time at least one sees the other, because all look after they
 * have linked. What is cut off is finished by the next start or refresh.
 */
export class Moves {
  readonly #parts: MovesParts;
  readonly #moving = new Set<string>();

  constructor(parts: MovesParts) {
    this.#parts = parts;
  }

  async move(wanted: Move, link: LinkDecision): Promise<void> {
    const { db, log, namesChanged } = this.#parts;
    await this.#alone(wanted, async () => {
      const earlier = db.moves.all().find(({ artifactId }) => artifactId === wanted.artifactId);
      if (earlier !== undefined && (await this.#finish(earlier))) {
        if (earlier.toId === wanted.toId && earlier.toName === wanted.toName) return;
        throw new ArtifactError(
          'Conflict',
          `${wanted.fromName} is ${earlier.toName} now: an earlier move was finished`,
        );
      }
      const move = { ...wanted, linkId: newCommitId(), unlinkId: newCommitId() };
      transaction(db.db, () => db.moves.put(move));
      let records: readonly StoredRecord[];
      try {
        records = await log.changeNames(move.toId, link, move.linkId);
      } catch (error) {
        if (db.intents.find(move.linkId) === undefined) this.#forget(move);
        throw error;
      }
      namesChanged(move.toId, records, move.toName);
      const refusal = await this.#complete(move, move.fromName);
      if (refusal !== null) throw refusal;
    });
  }

  /** Finishes what an earlier daemon, or a store that was away, cut off. */
  async finishAll(onError: (error: unknown, doing: string) => void): Promise<void> {
    for (const move of this.#parts.db.moves.all()) {
      if (this.#moving.has(move.artifactId)) continue;
      try {
        await this.#alone(move, () => this.#finish(move));
      } catch (error) {
        onError(error, `finishing the move of ${move.fromName}`);
      }
    }
  }

  async #alone<T>({ artifactId, fromName }: Move, body: () => Promise<T>): Promise<T> {
    if (this.#moving.has(artifactId)) throw new ArtifactError('Busy', `${fromName} is being moved`);
    this.#moving.add(artifactId);
    try {
      return await body();
    } finally {
      this.#moving.delete(artifactId);
    }
  }

  /** True: the artifact has the new name alone. */
  async #finish(move: MoveRow): Promise<boolean> {
    const { db, log, publisher } = this.#parts;
    for (const commitId of [move.linkId, move.unlinkId]) {
      const intent = commitId === null ? undefined : db.intents.find(commitId);
      if (intent === undefined) continue;
      await publisher.resolve(intent, db.intents);
      await this.#refresh(intent.artifactId);
      db.intents.remove(intent.commitId);
    }
    await this.#refresh(move.toId);
    const isLinked =
      log.nameOwner(move.toId, move.toName) === move.artifactId &&
      (await this.#hasWritten(move.toId, move.linkId));
    if (isLinked) return (await this.#complete(move)) === null;
    if (move.linkId !== null || db.intents.pending(move.toId).length === 0) this.#forget(move);
    return false;
  }

  /** The new name is there. Answers why the artifact must not have it: then it is taken back. */
  async #complete(move: MoveRow, own?: string): Promise<ArtifactError | null> {
    const refusal = await this.#refusal(move, own);
    if (refusal !== null) {
      const { log, namesChanged } = this.#parts;
      const { artifactId, toId, toName: name } = move;
      const records = await log.changeNames(toId, (names) =>
        names(name) === artifactId ? { type: 'unlink', name, artifactId } : null,
      );
      namesChanged(toId, records);
    }
    this.#forget(move);
    return refusal;
  }

  async #refusal(move: MoveRow, own?: string): Promise<ArtifactError | null> {
    const { search } = this.#parts;
    const { artifactId, fromId, fromName, toId, toName } = move;
    try {
      if (await search.holds(artifactId, toId))
        return new ArtifactError(
          'Conflict',
          `${fromName} cannot be moved into itself: the collection is below it now`,
          {
            paths: [fromName],
            hint: 'somebody else moves what it should go into; list where that is with "artifactfs ls"',
          },
        );
      if (fromId === '')
        return (await search.hasOtherName(artifactId, toId, toName)) ? restoredByOthers(fromName) : null;
    } catch (error) {
      // Nobody can tell what is there.
      if (isCode(error, 'Corrupt', 'UnsupportedFormat')) return error;
      throw error;
    }
    let forbidden: ArtifactError | null = null;
    try {
      if (await this.#unlinkOld(move, own)) return null;
    } catch (error) {
      // A newer build may have forbidden it after we did it.
      if (!isCode(error, 'UnsupportedFormat')) throw error;
      forbidden = error;
    }
    return (await this.#hasWritten(fromId, move.unlinkId)) ? null : (forbidden ?? takenByOthers(fromName));
  }

  /** Of those who take the old name away the first one has the artifact. False: it does not mean the artifact any more. */
  async #unlinkOld(move: MoveRow, own?: string): Promise<boolean> {
    const { log, namesChanged } = this.#parts;
    const { artifactId, fromId, fromName: name } = move;
    let isOurs = false;
    const records = await log.changeNames(
      fromId,
      (names) => {
        isOurs = names(name) === artifactId;
        return isOurs ? { type: 'unlink', name, artifactId } : null;
      },
      move.unlinkId ?? undefined,
    );
    namesChanged(fromId, records, isOurs ? own : undefined);
    return isOurs;
  }

  /** Whether a record of ours is in a log. Of a move of an earlier build nobody knows: mostly it was. */
  async #hasWritten(collectionId: string, commitId: string | null): Promise<boolean> {
    if (commitId === null) return true;
    const records = await this.#parts.publisher.readLog(collectionId, 0, '');
    return records.some(({ record }) => record.commitId === commitId);
  }

  async #refresh(collectionId: string): Promise<void> {
    const { log, namesChanged } = this.#parts;
    namesChanged(collectionId, await log.refresh(collectionId));
  }

  #forget({ artifactId }: MoveRow): void {
    const { db } = this.#parts;
    transaction(db.db, () => db.moves.delete(artifactId));
  }
}

const takenByOthers = (path: string): ArtifactError =>
  new ArtifactError('Conflict', `${path} was renamed, moved or removed by somebody else meanwhile`, {
    paths: [path],
    hint: 'list where it is now with "artifactfs ls"',
  });

export const restoredByOthers = (path: string): ArtifactError =>
  new ArtifactError('Conflict', `${path} was restored by somebody else meanwhile`, {
    hint: 'list where it is now with "artifactfs ls", or restore it again',
  });
