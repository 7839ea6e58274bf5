import { compareNames } from '../model/entry.js';
import { limits } from '../model/limits.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { OpenReply } from './file-system.js';
import type { Directory, EmitName, Listed, Node, OpenDirectory } from './node.js';

interface Page<T> {
  readonly number: number;
  readonly items: readonly T[];
  /** The directory's `changes` when the page was listed. */
  readonly changes: number;
}

const pageEntries = limits.directoryPageEntries;
const noNode = (): undefined => undefined;

/**
 * An open directory. Offsets are 0 for '.', 1 for '..', and index + 2 for the rest; the listing is read in pages, of
 * which the newest two are held, so that a program sees each name once however the directory changes meanwhile.
 * Older pages are known by the name they start after, so seekdir finds the same place. Offset 0 starts anew.
 */
export class DirectoryHandle<T extends Listed> implements OpenDirectory {
  readonly node: Directory<T>;
  readonly reply: Omit<OpenReply, 'handle'>;
  /** after[p]: the name that page p starts after. */
  #after: (string | null)[] = [null];
  #lastPage: number | null = null;
  #held: Page<T>[] = [];
  #released = false;

  constructor(node: Directory<T>, reply: Omit<OpenReply, 'handle'>) {
    this.node = node;
    this.reply = reply;
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
      if (item === undefined) break;
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
    const changes = this.node.changes;
    const items = this.node.list(this.#after[number] ?? null, pageEntries);
    return items instanceof Promise
      ? items.then((listed) => this.#install(number, listed, changes))
      : this.#install(number, items, changes);
  }

  #install(number: number, listed: readonly T[], changes: number): void {
    const nextAfter = this.#after[number + 1];
    let items = listed;
    if (nextAfter !== undefined && nextAfter !== null) {
      // Read again: what has moved into the next page is listed there.
      items = listed.filter((item) => compareNames(item.name, nextAfter) <= 0);
    } else if (number === this.#after.length - 1) {
      const last = listed.at(-1);
      if (listed.length < pageEntries || last === undefined) this.#lastPage = number;
      else this.#after.push(last.name);
    }
    if (!this.#released) for (const item of items) this.node.hold(item);
    this.#held.push({ number, items: this.#released ? [] : items, changes });
    if (this.#held.length > 2) this.#dropPage(this.#held.shift());
  }

  #dropPages(): void {
    for (const page of this.#held) this.#dropPage(page);
    this.#held = [];
    this.#after = [null];
    this.#lastPage = null;
  }

  #dropPage(page: Page<T> | undefined): void {
    for (const item of page?.items ?? []) this.node.drop(item);
  }
}
