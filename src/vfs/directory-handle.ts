import { compareNames } from '../model/entry.js';
import { limits } from '../model/limits.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { OpenReply } from './file-system.js';
import type { Directory, EmitName, Listed, Node, OpenDirectory } from './node.js';

interface Page<T> {
  readonly number: number;
  /** At the index of its offset; undefined where a name was removed before the page was read again. */
  readonly items: readonly (T | undefined)[];
  /** The directory's `changes` when the page was listed. */
  readonly changes: number;
}

const pageEntries = limits.directoryPageEntries;
const noNode = (): undefined => undefined;

/**
 * An open directory. Offsets are 0 for '.', 1 for '..', and index + 2 for the rest; the listing is read in pages, of
 * which the newest two are held, so that a program sees each name once however the directory changes meanwhile.
 * Of older pages the name they start after is kept and a hash of each name, so that seekdir finds the same place also
 * when names went and came meanwhile. Offset 0 starts anew.
 */
export class DirectoryHandle<T extends Listed> implements OpenDirectory {
  readonly node: Directory<T>;
  readonly reply: Omit<OpenReply, 'handle'>;
  readonly #onReleased: () => void;
  /** after[p]: the name that page p starts after. */
  #after: (string | null)[] = [null];
  /** hashes[p]: of the names of page p, in their order, once it was dropped. */
  #hashes: (Uint32Array | undefined)[] = [];
  #lastPage: number | null = null;
  #held: Page<T>[] = [];
  #released = false;

  constructor(node: Directory<T>, reply: Omit<OpenReply, 'handle'>, onReleased: () => void = () => {}) {
    this.node = node;
    this.reply = reply;
    this.#onReleased = onReleased;
  }

  read(offset: number, emit: EmitName): MaybePromise<void> {
    if (offset === 0) {
      this.#dropPages();
      if (!emit('.', 'dir', this.node.ino, 1, noNode)) return;
    }
    if (offset <= 1 && !emit('..', 'dir', this.node.parentIno(), 2, noNode)) return;
    return this.#readFrom(Math.max(0, offset - 2), emit);
  }

  release(): void {
    this.#released = true;
    this.#dropPages();
    this.#onReleased();
  }

  #readFrom(index: number, emit: EmitName): MaybePromise<void> {
    let next: number | null = index;
    while (next !== null) {
      const at: number = next;
      const page: MaybePromise<Page<T> | null> = this.#page(Math.floor(at / pageEntries));
      if (page instanceof Promise) {
        return page.then((loaded) => {
          const rest = this.#emitPage(loaded, at, emit);
          return rest === null ? undefined : this.#readFrom(rest, emit);
        });
      }
      next = this.#emitPage(page, at, emit);
    }
  }

  /** Answers the index to go on with, null when the buffer is full or the directory has ended. */
  #emitPage(page: Page<T> | null, index: number, emit: EmitName): number | null {
    if (page === null) return null;
    const { node } = this;
    const first = page.number * pageEntries;
    for (let i = index - first; i < page.items.length; i++) {
      const item = page.items[i];
      if (item === undefined) continue;
      const nodeOf = (): Node | undefined => (page.changes === node.changes ? node.nodeOf(item) : undefined);
      if (!emit(item.name, node.kindOf(item), node.inoOf(item), first + i + 3, nodeOf)) return null;
    }
    return page.number === this.#lastPage ? null : first + pageEntries;
  }

  /** null: behind the end. A place never read before is reached page by page. */
  #page(number: number): MaybePromise<Page<T> | null> {
    for (;;) {
      if (this.#lastPage !== null && number > this.#lastPage) return null;
      const held = this.#held.find((page) => page.number === number);
      if (held !== undefined) return held;
      const wanted = Math.min(number, this.#after.length - 1);
      const loaded = this.#load(wanted);
      if (loaded instanceof Promise) return loaded.then(() => this.#page(number));
    }
  }

  #load(number: number): MaybePromise<void> {
    const { changes } = this.node;
    const after = this.#after[number] ?? null;
    const known = this.#hashes[number];
    const items = known === undefined ? this.node.list(after, pageEntries) : this.#listAgain(number, known);
    return items instanceof Promise
      ? items.then((listed) => this.#install(number, listed, changes))
      : this.#install(number, items, changes);
  }

  /**
   * The names of a page that was dropped, where they were then: both lists are in name order. What has come since is
   * left out: it has no offset, and a program that wants to see it starts anew.
   */
  async #listAgain(number: number, hashes: Uint32Array): Promise<readonly (T | undefined)[]> {
    const placed: (T | undefined)[] = new Array(hashes.length).fill(undefined);
    const nextAfter = this.#after[number + 1] ?? null;
    let after = this.#after[number] ?? null;
    let from = 0;
    while (from < hashes.length) {
      const items = await this.node.list(after, pageEntries);
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

  #install(number: number, items: readonly (T | undefined)[], changes: number): void {
    if (this.#hashes[number] === undefined) {
      const last = items.at(-1);
      if (items.length < pageEntries || last === undefined) this.#lastPage = number;
      else this.#after.push(last.name);
    }
    const held = this.#released ? [] : items;
    for (const item of held) if (item !== undefined) this.node.hold(item);
    this.#held.push({ number, items: held, changes });
    if (this.#held.length > 2) this.#dropOldest();
  }

  #dropOldest(): void {
    const page = this.#held.shift();
    if (page === undefined) return;
    this.#hashes[page.number] ??= Uint32Array.from(page.items, (item) => hashOf(item?.name ?? ''));
    this.#dropPage(page);
  }

  #dropPages(): void {
    for (const page of this.#held) this.#dropPage(page);
    this.#held = [];
    this.#after = [null];
    this.#hashes = [];
    this.#lastPage = null;
  }

  #dropPage(page: Page<T>): void {
    for (const item of page.items) if (item !== undefined) this.node.drop(item);
  }
}

/** FNV-1a over the name's UTF-16 units. */
function hashOf(name: string): number {
  let hash = 0x811c9dc5;
  for (let i = 0; i < name.length; i++) hash = Math.imul(hash ^ name.charCodeAt(i), 0x01000193);
  return hash >>> 0;
}
