import { compareEntries, compareNames } from '../../model/entry.js';

/** What is said of one path. */
export interface Placed<T> {
  readonly dir: string;
  readonly name: string;
  readonly value: T;
}

/** Something in tree order, which can be gone through again and again. */
export interface Source<T> {
  /** Nothing of it is before this directory's first name. */
  readonly from: string;
  pages(): AsyncIterable<readonly Placed<T>[]>;
}

/**
 * Several sources as one. Of what they say of one path that of the source named first counts. Each is begun when its first
 * directory comes, so that of many that lie beside each other few are held.
 */
export async function* merged<T>(sources: readonly Source<T>[]): AsyncGenerator<Placed<T>[], void> {
  const waiting = sources.map((source, rank) => ({ source, rank }));
  waiting.sort((a, b) => compareNames(a.source.from, b.source.from));
  let open: Cursor<T>[] = [];
  let next = 0;
  for (let page: Placed<T>[] = []; ; ) {
    let least = leastOf(open);
    for (let coming = waiting[next]; isDue(coming?.source, least); coming = waiting[next]) {
      next++;
      if (coming === undefined) break;
      const cursor = new Cursor(coming.source, coming.rank);
      await cursor.fill();
      if (cursor.first !== undefined) open.push(cursor);
      least = leastOf(open);
    }
    const { first } = least ?? {};
    if (first !== undefined) page.push(first);
    if (page.length >= pageMax || (first === undefined && page.length > 0)) {
      yield page;
      page = [];
    }
    if (first === undefined) return;
    for (const cursor of open) {
      if (cursor.first === undefined || compareEntries(cursor.first, first) !== 0) continue;
      cursor.take();
      if (cursor.isEmpty) await cursor.fill();
    }
    if (open.some((cursor) => cursor.first === undefined))
      open = open.filter((cursor) => cursor.first !== undefined);
  }
}

const pageMax = 500;

class Cursor<T> {
  readonly rank: number;
  readonly #pages: AsyncIterator<readonly Placed<T>[]>;
  #page: readonly Placed<T>[] = [];
  #next = 0;

  constructor(source: Source<T>, rank: number) {
    this.rank = rank;
    this.#pages = source.pages()[Symbol.asyncIterator]();
  }

  /** undefined: nothing is left. */
  get first(): Placed<T> | undefined {
    return this.#page[this.#next];
  }

  /** Of what was read. */
  get isEmpty(): boolean {
    return this.#next >= this.#page.length;
  }

  take(): void {
    this.#next++;
  }

  async fill(): Promise<void> {
    while (this.isEmpty) {
      const { done, value } = await this.#pages.next();
      if (done) return;
      this.#page = value;
      this.#next = 0;
    }
  }
}

function leastOf<T>(cursors: readonly Cursor<T>[]): Cursor<T> | undefined {
  let least: Cursor<T> | undefined;
  for (const cursor of cursors) if (least === undefined || isBefore(cursor, least)) least = cursor;
  return least;
}

function isBefore<T>(a: Cursor<T>, b: Cursor<T>): boolean {
  if (a.first === undefined || b.first === undefined) return a.first !== undefined;
  const order = compareEntries(a.first, b.first);
  return order < 0 || (order === 0 && a.rank < b.rank);
}

/** What `source` has may be before the rest of `least`, or in its place. */
function isDue<T>(source: Source<T> | undefined, least: Cursor<T> | undefined): boolean {
  if (source === undefined) return false;
  return least?.first === undefined || compareNames(source.from, least.first.dir) <= 0;
}
