import type { Content } from './content.js';

/** A file, by all its names. */
export interface FileNode {
  content: Content;
  mode: number;
  readonly names: Set<string>;
}

export type Entry =
  | { readonly kind: 'file'; readonly node: FileNode }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'directory' };

/** What was, or will never be again, at one moment: content by value. */
export type Frozen =
  | { readonly kind: 'file'; readonly content: Content; readonly mode: number; readonly links: number }
  /** Nobody knows what it must be: it was being changed. What was seen first must stay. */
  | { readonly kind: 'seen'; readonly size: number; readonly sha256: string }
  | { readonly kind: 'link'; readonly target: string }
  | { readonly kind: 'directory' };

/** Paths to what is there; every parent is in it, too. */
export type Part = ReadonlyMap<string, Frozen>;

/** What one worker has made in the directory that it alone changes. Paths are relative to the artifact. */
export class Model {
  readonly top: string;
  #entries = new Map<string, Entry>();

  constructor(top: string) {
    this.top = top;
    this.#entries.set(top, { kind: 'directory' });
  }

  get entries(): ReadonlyMap<string, Entry> {
    return this.#entries;
  }

  get(path: string): Entry | undefined {
    return this.#entries.get(path);
  }

  node(path: string): FileNode {
    const entry = this.#entries.get(path);
    if (entry?.kind !== 'file') throw new Error(`${path} is no file of the model`);
    return entry.node;
  }

  files(): string[] {
    return this.#paths('file');
  }

  directories(): string[] {
    return this.#paths('directory');
  }

  get bytes(): number {
    let sum = 0;
    for (const entry of this.#entries.values()) if (entry.kind === 'file') sum += entry.node.content.size;
    return sum;
  }

  setFile(path: string, content: Content, mode = 0o644): void {
    this.remove(path);
    this.#entries.set(path, { kind: 'file', node: { content, mode, names: new Set([path]) } });
  }

  set(path: string, entry: Exclude<Entry, { kind: 'file' }>): void {
    this.remove(path);
    this.#entries.set(path, entry);
  }

  link(from: string, to: string): void {
    const node = this.node(from);
    this.remove(to);
    node.names.add(to);
    this.#entries.set(to, { kind: 'file', node });
  }

  /** With everything below it. */
  remove(path: string): void {
    for (const [name, entry] of this.below(path)) {
      if (entry.kind === 'file') entry.node.names.delete(name);
      this.#entries.delete(name);
    }
  }

  rename(from: string, to: string): void {
    const moved = this.below(from);
    const node = this.get(from);
    const over = this.get(to);
    // Two names of one file: POSIX leaves both.
    if (node?.kind === 'file' && over?.kind === 'file' && node.node === over.node) return;
    this.remove(to);
    for (const [name, entry] of moved) {
      const next = to + name.slice(from.length);
      this.#entries.delete(name);
      this.#entries.set(next, entry);
      if (entry.kind !== 'file') continue;
      entry.node.names.delete(name);
      entry.node.names.add(next);
    }
  }

  below(path: string): [string, Entry][] {
    return [...this.#entries].filter(([name]) => isIn(name, path));
  }

  freeze(): Part {
    return new Map([...this.#entries].map(([path, entry]) => [path, frozen(entry)]));
  }

  /** As it was; what was only seen is left out, and given back: it must be removed. */
  restore(part: Part): string[] {
    this.#entries = new Map();
    const unknown: string[] = [];
    for (const [path, entry] of part) {
      if (entry.kind === 'seen') unknown.push(path);
      // Hard links become files of their own here; whoever restores removes all names but one.
      else if (entry.kind === 'file' && entry.links > 1) unknown.push(path);
      else if (entry.kind === 'file') this.setFile(path, entry.content, entry.mode);
      else this.#entries.set(path, entry);
    }
    if (!this.#entries.has(this.top)) this.#entries.set(this.top, { kind: 'directory' });
    return unknown;
  }

  #paths(kind: Entry['kind']): string[] {
    return [...this.#entries].filter(([, entry]) => entry.kind === kind).map(([path]) => path);
  }
}

export const isIn = (path: string, directory: string): boolean =>
  path === directory || path.startsWith(`${directory}/`);

function frozen(entry: Entry): Frozen {
  if (entry.kind !== 'file') return entry;
  const { content, mode, names } = entry.node;
  return { kind: 'file', content, mode, links: names.size };
}
