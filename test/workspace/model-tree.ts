import { type Entry, entryPath, splitPath, time } from '../../src/model/entry.js';
import { isSameEntry } from '../../src/workspace/entry-compare.js';
import type { PathChange } from '../../src/workspace/trees.js';
import { dirAt, entryAt, fileAt, inOrder, rootEntry } from './helpers.js';

/** A file tree as a plain map, with the operations of a shell: what a stage does to a version. */
export class ModelTree {
  readonly entries: Map<string, Entry>;
  readonly prefix: number;
  #next = 0;
  #clock: number;

  constructor(prefix: number, entries: ReadonlyMap<string, Entry> = new Map([['', rootEntry()]])) {
    this.prefix = prefix;
    this.entries = new Map(entries);
    this.#clock = 1_700_000_000 + prefix * 1000;
  }

  paths(kind?: 'dir'): string[] {
    return [...this.entries]
      .filter(([, entry]) => kind === undefined || entry.kind === kind)
      .map(([path]) => path);
  }

  kindAt(path: string): Entry['kind'] | undefined {
    return this.entries.get(path)?.kind;
  }

  write(path: string, content: string): void {
    const old = this.entries.get(path);
    if ((old ?? { kind: 'file' }).kind !== 'file' || this.kindAt(splitPath(path).dir) !== 'dir') return;
    if (old === undefined) {
      this.#set(fileAt(path, this.#ino(), content, this.#times()));
      this.#touch(splitPath(path).dir);
      return;
    }
    const { extents, sha256, size } = fileAt(path, 0, content);
    for (const name of this.#namesOf(old.ino)) {
      const { extents: _, sha256: __, ...rest } = name;
      const bytes = extents === undefined ? {} : { extents, ...(sha256 === undefined ? {} : { sha256 }) };
      this.#set({ ...rest, ...bytes, size, ...this.#times() });
    }
  }

  mkdir(path: string): void {
    if (this.entries.has(path) || this.kindAt(splitPath(path).dir) !== 'dir') return;
    this.#set(dirAt(path, this.#ino(), this.#times()));
    this.#addLinks(splitPath(path).dir, 1);
  }

  symlink(path: string, target: string): void {
    if (this.entries.has(path) || this.kindAt(splitPath(path).dir) !== 'dir') return;
    this.#set(entryAt(path, 'symlink', this.#ino(), { target, size: target.length, ...this.#times() }));
    this.#touch(splitPath(path).dir);
  }

  chmod(path: string, mode: number): void {
    const old = this.entries.get(path);
    if (old === undefined) return;
    const { ctime } = this.#times();
    for (const name of old.kind === 'dir' ? [old] : this.#namesOf(old.ino))
      this.#set({ ...name, mode, ctime });
  }

  link(from: string, to: string): void {
    const old = this.entries.get(from);
    if (old === undefined || old.kind === 'dir' || this.entries.has(to)) return;
    if (this.kindAt(splitPath(to).dir) !== 'dir') return;
    this.#set({ ...old, ...splitPath(to) });
    this.#countNames(old.ino);
    this.#touch(splitPath(to).dir);
  }

  remove(path: string): void {
    const old = this.entries.get(path);
    if (old === undefined || path === '') return;
    for (const below of this.paths()) if (below.startsWith(`${path}/`)) this.#unlink(below);
    this.#unlink(path);
    this.#addLinks(old.dir, old.kind === 'dir' ? -1 : 0);
  }

  rename(from: string, to: string): void {
    const old = this.entries.get(from);
    if (old === undefined || from === '' || to === '' || from === to || to.startsWith(`${from}/`)) return;
    if (this.kindAt(splitPath(to).dir) !== 'dir' || from.startsWith(`${to}/`)) return;
    if (this.entries.has(to)) {
      if (this.kindAt(to) === 'dir' || old.kind === 'dir') return;
      this.remove(to);
    }
    const moved = this.paths().filter((path) => path === from || path.startsWith(`${from}/`));
    for (const path of moved) {
      const entry = this.entries.get(path);
      this.entries.delete(path);
      if (entry !== undefined) this.#set({ ...entry, ...splitPath(to + path.slice(from.length)) });
    }
    const links = old.kind === 'dir' ? 1 : 0;
    this.#addLinks(old.dir, -links);
    this.#addLinks(splitPath(to).dir, links);
  }

  /** A rename to where something is, which goes, with all that is below it. */
  replace(from: string, to: string): void {
    if (!this.entries.has(from) || isBelow(from, to) || isBelow(to, from)) return;
    this.remove(to);
    this.rename(from, to);
  }

  exchange(one: string, other: string): void {
    if (!this.entries.has(one) || !this.entries.has(other) || isBelow(one, other) || isBelow(other, one))
      return;
    this.rename(one, 'exchanged');
    this.rename(other, one);
    this.rename('exchanged', other);
  }

  /** What a stage says of its differences to `base`; the root apart. */
  changesFrom(base: ModelTree): { changes: PathChange[]; root?: Entry } {
    const changes: PathChange[] = [];
    for (const path of new Set([...base.entries.keys(), ...this.entries.keys()])) {
      const before = base.entries.get(path) ?? null;
      const after = this.entries.get(path) ?? null;
      if (path === '' || before === after) continue;
      if (before !== null && after !== null && isSameEntry(before, after)) continue;
      changes.push({ ...splitPath(path), before, after });
    }
    const root = this.entries.get('');
    return {
      changes: inOrder(changes),
      ...(root === base.entries.get('') || root === undefined ? {} : { root }),
    };
  }

  #ino(): number {
    return this.prefix * 2 ** 20 + this.#next++;
  }

  #times(): Pick<Entry, 'mtime' | 'ctime'> {
    this.#clock++;
    return { mtime: time(this.#clock), ctime: time(this.#clock) };
  }

  #set(entry: Entry): void {
    this.entries.set(entryPath(entry), entry);
  }

  #namesOf(ino: number): Entry[] {
    return [...this.entries.values()].filter((entry) => entry.ino === ino);
  }

  #countNames(ino: number): void {
    const names = this.#namesOf(ino);
    const { ctime } = this.#times();
    for (const name of names) this.#set({ ...name, nlink: names.length, ctime });
  }

  #unlink(path: string): void {
    const old = this.entries.get(path);
    this.entries.delete(path);
    if (old !== undefined && old.kind !== 'dir' && old.nlink > 1) this.#countNames(old.ino);
  }

  #touch(dir: string): void {
    this.#addLinks(dir, 0);
  }

  #addLinks(dir: string, links: number): void {
    const entry = this.entries.get(dir);
    if (entry !== undefined) this.#set({ ...entry, nlink: entry.nlink + links, ...this.#times() });
  }
}

const isBelow = (path: string, directory: string): boolean => `${path}/`.startsWith(`${directory}/`);

/** A path's kind and bytes, which is what a merge may not lose. */
export const contentOf = (entry: Entry | undefined): string =>
  entry === undefined ? 'nothing' : `${entry.kind} ${entry.sha256 ?? entry.target ?? ''}`;

export const contentsOf = (entries: ReadonlyMap<string, Entry>): Record<string, string> =>
  Object.fromEntries([...entries].sort().map(([path, entry]) => [path, contentOf(entry)]));
