import type { Ino } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { drawInoPrefix, inosPerPrefix, newStageId } from '../../model/ids.js';
import { isPromise } from '../../util/maybe-promise.js';
import { usesNothing } from '../../workspace/commit-types.js';
import type { StageDatabase } from '../stage-db/stage-database.js';
import type { NamePlace, StageBase, StageRow } from '../stage-db/stage-rows.js';

const inosReserved = 256;

/**
 * The stage row of one artifact in memory. There is a row while anything is staged, or the artifact is new; without
 * one the base follows the log. The row is a value that is replaced, so that a failed transaction can put it back.
 */
export class Stage {
  readonly artifactId: string;
  readonly #db: StageDatabase;
  #row: StageRow | null;
  #base: StageBase | null;
  /** Where the artifact's name is; remembered in the row, so that a stage is found again. */
  place: NamePlace | null;
  #inoNext = 0;
  #inoEnd = 0;
  /** Numbers for files without a name: a prefix of their own, which the stage owns once one of them has a name. */
  #unnamedNext = 0;
  #unnamedEnd = 0;
  #isOver = false;
  /** Without a row: the generation goes on counting, so that numbers of nodes in memory stay meaningful. */
  #gen = 1;

  constructor(db: StageDatabase, artifactId: string, base: StageBase | null, place: NamePlace | null) {
    this.#db = db;
    this.artifactId = artifactId;
    this.#row = db.stages.byArtifact(artifactId) ?? null;
    this.#base = this.#row === null ? base : this.#row.base;
    this.place = place ?? this.#row?.place ?? null;
  }

  get exists(): boolean {
    return this.#row !== null;
  }

  /** Number of the stage's rows in all tables; 0, which no row has, without a stage. */
  get s(): number {
    return this.#row?.s ?? 0;
  }

  get row(): StageRow | null {
    return this.#row;
  }

  get stageId(): string {
    return this.#row?.stageId ?? '';
  }

  get base(): StageBase | null {
    return this.#base;
  }

  get gen(): number {
    return this.#row?.gen ?? this.#gen;
  }

  /** The generation under commit; null when none is. */
  get sealed(): number | null {
    return this.#row?.sealed ?? null;
  }

  /** The name is not linked yet. */
  get isNew(): boolean {
    return this.#row?.isNew ?? false;
  }

  /** The artifact is gone: nothing is staged in it from now on. */
  end(): void {
    this.#isOver = true;
  }

  /**
   * Makes the row when there is none. Inside a transaction. `Stale`: the artifact is gone. INVARIANT: whoever changes something has
   * waited until changes are admitted.
   */
  ensure(inoPrefixesUsed: readonly number[], isNew = false): StageRow {
    const admitted = this.#db.admitChange();
    if (isPromise(admitted)) {
      admitted.catch(() => undefined);
      throw new ArtifactError('Internal', 'a change did not wait until changes are admitted');
    }
    if (this.#row !== null) return this.#row;
    if (this.#isOver) throw new ArtifactError('Stale', 'the artifact was removed');
    const row = {
      artifactId: this.artifactId,
      stageId: newStageId(),
      base: this.#base,
      inoPrefixes: [drawInoPrefix(inoPrefixesUsed)],
      inoNext: 0,
      gen: this.#gen,
      sealed: null,
      commitId: null,
      manifest: null,
      manifestGen: 0,
      conflicts: [],
      place: this.place,
      isNew,
      uses: usesNothing,
    };
    this.#row = { ...row, s: this.#db.stages.insert(row) };
    this.#inoNext = 0;
    this.#inoEnd = 0;
    return this.#row;
  }

  /** Inside a transaction, after `ensure`. */
  nextIno(): Ino {
    if (this.#inoNext === this.#inoEnd) this.#reserveInos();
    return this.#inoNext++;
  }

  /** For an inode that is not stored: without a stage, too. */
  unnamedIno(inoPrefixesUsed: readonly number[]): Ino {
    if (this.#unnamedNext === this.#unnamedEnd) {
      const prefix = drawInoPrefix([...inoPrefixesUsed, ...(this.#row?.inoPrefixes ?? [])]);
      this.#unnamedNext = prefix * inosPerPrefix;
      this.#unnamedEnd = this.#unnamedNext + inosPerPrefix;
    }
    return this.#unnamedNext++;
  }

  /** The number is of an inode of this stage from now on. Inside a transaction, after `ensure`. */
  own(ino: Ino): void {
    const prefix = Math.floor(ino / inosPerPrefix);
    const inoPrefixes = this.#row?.inoPrefixes ?? [];
    // In front: new numbers come from the last.
    if (!inoPrefixes.includes(prefix)) this.update({ inoPrefixes: [prefix, ...inoPrefixes] });
  }

  /** Stores changed fields of the row. Inside a transaction. */
  update(fields: Partial<Omit<StageRow, 's' | 'artifactId'>>): void {
    if (this.#row === null) return;
    this.#row = { ...this.#row, ...fields };
    this.#base = this.#row.base;
    this.#db.stages.update(this.#row);
  }

  /** Leaves all rows of the stage behind, for `StageDatabase.deleteRows`. Inside a transaction. */
  leaveRows(): void {
    if (this.#row === null) return;
    this.#row = { ...this.#row, s: this.#db.stages.renumber(this.#row) };
  }

  /** Removes the row; the artifact goes on from `base`. Inside a transaction. */
  remove(base: StageBase | null): void {
    if (this.#row !== null) {
      this.#gen = this.#row.gen + 1;
      this.#db.stages.delete(this.#row.s);
    }
    this.#row = null;
    this.#base = base;
  }

  /** The base of an artifact with nothing staged moves with the log. */
  follow(base: StageBase | null): void {
    this.#base = base;
  }

  save(): StageState {
    return { row: this.#row, base: this.#base };
  }

  restore(state: StageState): void {
    this.#row = state.row;
    this.#base = state.base;
    this.#inoNext = 0;
    this.#inoEnd = 0;
  }

  #reserveInos(): void {
    const row = this.#row;
    if (row === null) throw new Error('unreachable: a stage exists before it hands out numbers');
    let next = row.inoNext;
    if (next + inosReserved > inosPerPrefix) {
      const inoPrefixes = [...row.inoPrefixes, drawInoPrefix(row.inoPrefixes)];
      this.update({ inoPrefixes });
      next = 0;
    }
    const inoNext = next + inosReserved;
    this.#row = { ...(this.#row ?? row), inoNext };
    this.#db.stages.setInoNext(row.s, inoNext);
    const prefix = this.#row.inoPrefixes.at(-1) ?? 0;
    this.#inoNext = prefix * inosPerPrefix + next;
    this.#inoEnd = this.#inoNext + inosReserved;
  }
}

export interface StageState {
  readonly row: StageRow | null;
  readonly base: StageBase | null;
}
