import type { ExtentMap } from '../../content/extent-map.js';
import type { Ino } from '../../model/entry.js';
import { limits } from '../../model/limits.js';

/** Where bytes go: `at` in staging file `file`. */
export interface StagedPlace {
  readonly file: number;
  readonly at: number;
}

/**
 * Staging files that hold the bytes of many small files, one piece after another. Making a file costs local file
 * systems a hundred times what appending a page to an open one does, and removing it as much again.
 *
 * A slab takes bytes of one generation only, so that those of a sealed one do not change. Its space comes back when no
 * inode has a piece in it.
 */
export class Slabs {
  /** Inodes with a piece in each slab. */
  readonly #users = new Map<number, Set<Ino>>();
  readonly #newFile: () => number;
  readonly #remove: (file: number) => void;
  #current: { file: number; gen: number; end: number } | null = null;

  constructor(newFile: () => number, remove: (file: number) => void) {
    this.#newFile = newFile;
    this.#remove = remove;
  }

  has(file: number): boolean {
    return this.#users.has(file);
  }

  /** A staging file that an earlier daemon left, with the inodes that have pieces in it. */
  adopt(file: number, users: Iterable<Ino>): void {
    this.#users.set(file, new Set(users));
  }

  /** For [start, start + length) of a small file: over its old bytes where this generation wrote them, else fresh. */
  place(ino: Ino, map: ExtentMap, gen: number, start: number, length: number): StagedPlace {
    const [piece, second] = map.pieces(start, length);
    const current = this.#current;
    if (
      piece?.source.type === 'local' &&
      second === undefined &&
      piece.length === length &&
      current?.gen === gen &&
      piece.source.file === current.file
    ) {
      return { file: current.file, at: piece.source.offset };
    }
    return this.#append(ino, gen, length);
  }

  /** The inode has a piece in the slab. */
  use(file: number, ino: Ino): void {
    this.#users.get(file)?.add(ino);
  }

  /** The inode has no piece in the slab any more. */
  release(file: number, ino: Ino): void {
    const users = this.#users.get(file);
    if (users === undefined) return;
    users.delete(ino);
    if (users.size > 0) return;
    // Nothing in it is named or read any more: the next small files begin at its beginning.
    if (this.#current?.file === file) this.#current.end = firstOffset;
    else this.#drop(file);
  }

  /** Also of inodes that have no piece in a slab now, but have not let go of it yet. */
  renumbered(numbers: ReadonlyMap<Ino, Ino>): void {
    for (const users of this.#users.values()) {
      for (const [old, ino] of numbers) if (users.delete(old)) users.add(ino);
    }
  }

  /** The generation of the current slab is over. */
  close(): void {
    const current = this.#current;
    this.#current = null;
    if (current !== null && this.#users.get(current.file)?.size === 0) this.#drop(current.file);
  }

  #append(ino: Ino, gen: number, length: number): StagedPlace {
    let current = this.#current;
    if (current === null || current.gen !== gen || current.end + length > limits.slabBytesMax) {
      this.close();
      current = { file: this.#newFile(), gen, end: firstOffset };
      this.#current = current;
      this.#users.set(current.file, new Set());
    }
    const at = current.end;
    current.end += length;
    this.use(current.file, ino);
    return { file: current.file, at };
  }

  #drop(file: number): void {
    this.#users.delete(file);
    this.#remove(file);
  }
}

/** Not 0: a piece at the offset it has in its file would look like a staging file of its own. */
const firstOffset = 4096;
