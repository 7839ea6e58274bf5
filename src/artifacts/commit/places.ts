import { type Ino, joinPath, splitPath } from '../../model/entry.js';
import { LoopTurn } from '../../util/loop-turn.js';
import type { SealedRow, SealedRows } from '../stage-db/sealed-rows.js';

/** Where things of the old base and the sealed stage are in the new version. */
export class Places {
  readonly #rows: SealedRows;
  readonly #s: number;
  readonly #moved = new Map<string, string>();
  #hasMoved = false;
  /** What was read already: sealed rows do not change. */
  readonly #known = new Map<Ino, SealedRow | undefined>();

  private constructor(rows: SealedRows, s: number) {
    this.#rows = rows;
    this.#s = s;
  }

  /**
   * Over the rows of stage `s`, which must stay while this is used. Those of `inos` are read here, a few at a time, so
   * that who needs them all in one turn has them.
   */
  static async make(rows: SealedRows, s: number, inos: readonly Ino[]): Promise<Places> {
    const places = new Places(rows, s);
    const turn = new LoopTurn();
    await turn.each(rows.moved(s), ({ was, path }) => {
      places.#moved.set(was, path);
      places.#hasMoved ||= was !== path;
    });
    for (const ino of inos) places.#known.set(ino, undefined);
    const ascending = Float64Array.from(inos).sort();
    await turn.each(rows.of(s, ascending), (row) => void places.#known.set(row.ino, row));
    return places;
  }

  /** What the commit published of a staged inode. */
  row(ino: Ino): SealedRow | undefined {
    if (this.#known.has(ino)) return this.#known.get(ino);
    const row = this.#rows.get(this.#s, ino);
    this.#known.set(ino, row);
    return row;
  }

  /** null: it is not in the new version. */
  pathOf(ino: Ino, base: string | null): string | null {
    const sealed = this.row(ino);
    if (sealed !== undefined) return sealed.path;
    return base === null ? null : this.#fromBase(base);
  }

  /** The nearest directory above that was staged says where what it shows has gone. */
  #fromBase(path: string): string {
    if (!this.#hasMoved) return path;
    let below = '';
    for (let at = path; ; ) {
      const moved = this.#moved.get(at);
      if (moved !== undefined) return joinPath(moved, below);
      if (at === '') return path;
      const { dir, name } = splitPath(at);
      below = below === '' ? name : `${name}/${below}`;
      at = dir;
    }
  }
}
