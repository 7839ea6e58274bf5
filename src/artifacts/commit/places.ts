import { type Ino, joinPath, splitPath } from '../../model/entry.js';
import type { SealedRow, SealedRows } from '../stage-db/sealed-rows.js';

/** Where things of the old base and the sealed stage are in the new version. */
export class Places {
  readonly #rows: SealedRows;
  readonly #s: number;
  readonly #moved = new Map<string, string>();

  /** Over the rows of stage `s`, which must stay while this is used. */
  constructor(rows: SealedRows, s: number) {
    this.#rows = rows;
    this.#s = s;
    for (const { was, path } of rows.moved(s)) this.#moved.set(was, path);
  }

  /** What the commit published of a staged inode. */
  row(ino: Ino): SealedRow | undefined {
    return this.#rows.get(this.#s, ino);
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
