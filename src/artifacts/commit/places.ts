import { type Ino, joinPath, splitPath } from '../../model/entry.js';
import type { SealedRow } from '../stage-db/sealed-rows.js';

/** Where things of the old base and the sealed stage are in the new version. */
export class Places {
  readonly #rows: ReadonlyMap<Ino, SealedRow>;
  readonly #moved = new Map<string, string>();

  constructor(rows: ReadonlyMap<Ino, SealedRow>) {
    this.#rows = rows;
    for (const { was, path } of rows.values()) if (was !== null) this.#moved.set(was, path);
  }

  /** null: it is not in the new version. */
  pathOf(ino: Ino, base: string | null): string | null {
    const sealed = this.#rows.get(ino);
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
