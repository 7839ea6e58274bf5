import { setImmediate as nextTurn } from 'node:timers/promises';
import { type Ino, joinPath, splitPath } from '../../model/entry.js';
import type { SealedRow, SealedRows } from '../stage-db/sealed-rows.js';

const rowsPerTurn = 200;

/** Where things of the old base and the sealed stage are in the new version. */
export class Places {
  readonly #rows: SealedRows;
  readonly #s: number;
  readonly #moved = new Map<string, string>();
  /** What was read already: sealed rows do not change. */
  readonly #known = new Map<Ino, SealedRow | undefined>();

  /** Over the rows of stage `s`, which must stay while this is used. */
  constructor(rows: SealedRows, s: number) {
    this.#rows = rows;
    this.#s = s;
    for (const { was, path } of rows.moved(s)) this.#moved.set(was, path);
  }

  /** What the commit published of a staged inode. */
  row(ino: Ino): SealedRow | undefined {
    if (this.#known.has(ino)) return this.#known.get(ino);
    const row = this.#rows.get(this.#s, ino);
    this.#known.set(ino, row);
    return row;
  }

  /** Reads the rows of these inodes a few at a time, so that who needs them all in one turn has them. */
  async prepare(inos: readonly Ino[]): Promise<void> {
    for (const [index, ino] of inos.entries()) {
      this.row(ino);
      if (index % rowsPerTurn === rowsPerTurn - 1) await nextTurn();
    }
  }

  /** null: it is not in the new version. */
  pathOf(ino: Ino, base: string | null): string | null {
    const sealed = this.row(ino);
    if (sealed !== undefined) return sealed.path;
    return base === null ? null : this.#fromBase(base);
  }

  /** The nearest directory above that was staged says where what it shows has gone. */
  #fromBase(path: string): string {
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
