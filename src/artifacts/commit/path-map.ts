import { compareNames } from '../../model/entry.js';
import type { LoopTurn } from '../../util/loop-turn.js';
import type { Placed } from './merged.js';

/** Values by directory and name: of many paths no text is made but their names, and they come out in tree order. */
export class PathMap<T> {
  readonly #dirs = new Map<string, Map<string, T>>();
  /** The directory used last: mostly the next one, too. */
  #last: { readonly dir: string; readonly names: Map<string, T> } | null = null;

  has(dir: string, name: string): boolean {
    return this.#namesIn(dir)?.has(name) === true;
  }

  set(dir: string, name: string, value: T): void {
    let names = this.#namesIn(dir);
    if (names === undefined) {
      names = new Map();
      this.#dirs.set(dir, names);
      this.#last = { dir, names };
    }
    names.set(name, value);
  }

  /** All of it, a directory at a time, in tree order. */
  async *pages(turn: LoopTurn): AsyncGenerator<Placed<T>[], void> {
    for (const dir of await turn.sorted([...this.#dirs.keys()], compareNames)) {
      const names = await turn.sorted([...(this.#dirs.get(dir) ?? [])], byName);
      yield names.map(([name, value]) => ({ dir, name, value }));
    }
  }

  #namesIn(dir: string): Map<string, T> | undefined {
    if (this.#last?.dir === dir) return this.#last.names;
    const names = this.#dirs.get(dir);
    if (names !== undefined) this.#last = { dir, names };
    return names;
  }
}

const byName = ([a]: readonly [string, unknown], [b]: readonly [string, unknown]) => compareNames(a, b);
