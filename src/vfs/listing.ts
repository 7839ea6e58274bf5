import { compareNames } from '../model/entry.js';
import { limits } from '../model/limits.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { Directory, Listed, Node } from './node.js';

interface Page<T> {
  readonly number: number;
  /** At the index of its name; undefined where a name was removed before the page was read again. */
  readonly items: readonly (T | undefined)[];
  /** The directory's `changes` when the page was listed. */
  readonly changes: number;
}

/** Takes one name, or answers false when it has no room for it. `nodeOf` is undefined for a name that changed since. */
export type EmitItem<T> = (item: T, index: number, nodeOf: () => Node | undefined) => boolean;

const pageEntries = limits.directoryPageEntries;

/**
 * The names of a directory as one pass over it meets them, each at an index that it keeps however the directory changes
 * meanwhile. It is read in pages, of which the newest two are held while somebody reads. Of others the name they start
 * after is kept and a hash of each name, so that an index leads to the same place also when names went and came.
 */
export class Listing<T extends Listed> {
  /** Tells it from others of the directory. */
  readonly number: number;
  readonly #directory: Directory<T>;
  /** after[p]: the name that page p starts after. */
  readonly #after: (string | null)[] = [null];
  /** hashes[p]: of the names of page p, in their order, once it was dropped. */
  readonly #hashes: (Uint32Array | undefined)[] = [];
  #lastPage: number | null = null;
  #held: Page<T>[] = [];
  #readers = 0;

  constructor(directory: Directory<T>, number: number) {
    this.#directory = directory;
    this.number = number;
  }

  /** What it keeps when nobody reads costs four bytes for each of so many names, rounded up to a page. */
  get names(): number {
    return this.#after.length * pageEntries;
  }

  enter(): void {
    this.#readers++;
  }

  leave(): void {
    this.#readers--;
    if (this.#readers > 0) return;
    while (this.#held.length > 0) this.#dropOldest();
  }

  /**
   * Gives the names from this index on until one is not taken, there are no more, or more would have to be waited for: what was
   * given may be old when it is answered later. Gives none only behind the end. Only between enter and leave.
   */
  read(index: number, emit: EmitItem<T>): MaybePromise<void> {
    let given = false;
    const give: EmitItem<T> = (item, at, nodeOf) => {
      const taken = emit(item, at, nodeOf);
      given ||= taken;
      return taken;
    };
    let next: number | null = index;
    while (next !== null) {
      const at: number = next;
      const page: MaybePromise<Page<T> | null> = this.#page(Math.floor(at / pageEntries));
      if (page instanceof Promise) {
        if (given) return void page.catch(() => undefined); // who asks for it next is told
        return page.then((loaded) => {
          const rest = this.#emitPage(loaded, at, give);
          if (rest !== null && !given) return this.read(rest, emit);
        });
      }
      next = this.#emitPage(page, at, give);
    }
  }

  /** Answers the index to go on with, null when one was not taken or the directory has ended. */
  #emitPage(page: Page<T> | null, index: number, emit: EmitItem<T>): number | null {
    if (page === null || this.#readers === 0) return null;
    const directory = this.#directory;
    const first = page.number * pageEntries;
    for (let i = index - first; i < page.items.length; i++) {
      const item = page.items[i];
      if (item === undefined) continue;
      const nodeOf = (): Node | undefined =>
        page.changes === directory.changes ? directory.nodeOf(item) : undefined;
      if (!emit(item, first + i, nodeOf)) return null;
    }
    return page.number === this.#lastPage ? null : first + pageEntries;
  }

  /** null: behind the end. A place never read before is reached page by page. */
  #page(number: number): MaybePromise<Page<T> | null> {
    for (;;) {
      if (this.#lastPage !== null && number > this.#lastPage) return null;
      const held = this.#held.find((page) => page.number === number);
      if (held !== undefined) return held;
      const loaded = this.#load(Math.min(number, this.#after.length - 1));
      if (loaded instanceof Promise) {
        return loaded.then((page) => (page.number === number ? page : this.#page(number)));
      }
      if (loaded.number === number) return loaded;
    }
  }

  #load(number: number): MaybePromise<Page<T>> {
    const { changes } = this.#directory;
    const after = this.#after[number] ?? null;
    const known = this.#hashes[number];
    const items =
      known === undefined ? this.#directory.list(after, pageEntries) : this.#listAgain(number, known);
    return items instanceof Promise
      ? items.then((listed) => this.#install({ number, items: listed, changes }))
      : this.#install({ number, items, changes });
  }

  /**
   * The names of a page that was dropped, where they were then: both lists are in name order. What has come since is
   * left out: it has no index, and a program that wants to see it starts anew.
   */
  async #listAgain(number: number, hashes: Uint32Array): Promise<readonly (T | undefined)[]> {
    const placed: (T | undefined)[] = new Array(hashes.length).fill(undefined);
    const nextAfter = this.#after[number + 1] ?? null;
    let after = this.#after[number] ?? null;
    let from = 0;
    while (from < hashes.length) {
      const items = await this.#directory.list(after, pageEntries);
      for (const item of items) {
        const index = hashes.indexOf(hashOf(item.name), from);
        if (index === -1) continue;
        placed[index] = item;
        from = index + 1;
      }
      const last = items.at(-1);
      if (last === undefined || items.length < pageEntries) break;
      if (nextAfter !== null && compareNames(last.name, nextAfter) >= 0) break;
      after = last.name;
    }
    return placed;
  }

  #install(page: Page<T>): Page<T> {
    const { number, items } = page;
    const sooner = this.#held.find((held) => held.number === number);
    if (sooner !== undefined) return sooner;
    if (this.#hashes[number] === undefined) {
      const last = items.at(-1);
      if (items.length < pageEntries || last === undefined) this.#lastPage = number;
      else this.#after.push(last.name);
    }
    for (const item of items) if (item !== undefined) this.#directory.hold(item);
    this.#held.push(page);
    while (this.#held.length > (this.#readers > 0 ? 2 : 0)) this.#dropOldest();
    return page;
  }

  #dropOldest(): void {
    const page = this.#held.shift();
    if (page === undefined) return;
    this.#hashes[page.number] ??= Uint32Array.from(page.items, (item) => hashOf(item?.name ?? ''));
    for (const item of page.items) if (item !== undefined) this.#directory.drop(item);
  }
}

/** FNV-1a over the name's UTF-16 units. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
