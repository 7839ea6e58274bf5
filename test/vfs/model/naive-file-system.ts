import type { ErrorCode } from '../../../src/model/errors.js';

/** A file system that can be checked by reading it: a tree of objects, every rule of POSIX in one place. */
export interface NaiveFile {
  kind: 'file' | 'dir' | 'symlink';
  mode: number;
  nlink: number;
  bytes: Buffer;
  target: string;
  names: Map<string, NaiveFile>;
}

export type Outcome = ErrorCode | 'ok';

export class Refused extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode) {
    super(code);
    this.code = code;
  }
}

const make = (kind: NaiveFile['kind'], mode: number): NaiveFile => ({
  kind,
  mode,
  nlink: kind === 'dir' ? 2 : 1,
  bytes: Buffer.alloc(0),
  target: '',
  names: new Map(),
});

export class NaiveFileSystem {
  root = make('dir', 0o755);

  /** Throws NotFound, or NotDirectory for a way through a file. */
  find(path: readonly string[]): NaiveFile {
    let at = this.root;
    for (const name of path) {
      if (at.kind !== 'dir') throw new Refused('NotDirectory');
      const next = at.names.get(name);
      if (next === undefined) throw new Refused('NotFound');
      at = next;
    }
    return at;
  }

  place(path: readonly string[]): { parent: NaiveFile; name: string; file: NaiveFile | undefined } {
    const parent = this.find(path.slice(0, -1));
    if (parent.kind !== 'dir') throw new Refused('NotDirectory');
    const name = path.at(-1) ?? '';
    return { parent, name, file: parent.names.get(name) };
  }

  add(path: readonly string[], kind: NaiveFile['kind'], mode: number, target = ''): NaiveFile {
    const { parent, name, file } = this.place(path);
    if (file !== undefined) throw new Refused('Exists');
    const made = make(kind, mode);
    made.target = target;
    parent.names.set(name, made);
    if (kind === 'dir') parent.nlink++;
    return made;
  }

  link(from: readonly string[], to: readonly string[]): void {
    const source = this.find(from);
    const { parent, name, file } = this.place(to);
    if (source.kind === 'dir') throw new Refused('NotPermitted');
    if (file !== undefined) throw new Refused('Exists');
    parent.names.set(name, source);
    source.nlink++;
  }

  unlink(path: readonly string[]): void {
    const { parent, name, file } = this.place(path);
    if (file === undefined) throw new Refused('NotFound');
    if (file.kind === 'dir') throw new Refused('IsDirectory');
    parent.names.delete(name);
    file.nlink--;
  }

  rmdir(path: readonly string[]): void {
    const { parent, name, file } = this.place(path);
    if (file === undefined) throw new Refused('NotFound');
    if (file.kind !== 'dir') throw new Refused('NotDirectory');
    if (file.names.size > 0) throw new Refused('NotEmpty');
    parent.names.delete(name);
    parent.nlink--;
  }

  rename(from: readonly string[], to: readonly string[], mode: 'plain' | 'noReplace' | 'exchange'): void {
    const source = this.place(from);
    const target = this.place(to);
    if (source.file === undefined) throw new Refused('NotFound');
    if (mode === 'noReplace' && target.file !== undefined) throw new Refused('Exists');
    if (mode === 'exchange' && target.file === undefined) throw new Refused('NotFound');
    if (within(source.file, target.parent)) throw new Refused('Loop');
    if (target.file !== undefined && within(target.file, source.parent)) {
      throw new Refused(mode === 'exchange' ? 'Loop' : 'NotEmpty');
    }
    if (source.file === target.file) return;
    if (mode !== 'exchange' && target.file !== undefined) this.#checkReplace(source.file, target.file);
    source.parent.names.delete(source.name);
    target.parent.names.set(target.name, source.file);
    if (mode === 'exchange' && target.file !== undefined) source.parent.names.set(source.name, target.file);
    else if (target.file !== undefined && target.file.kind !== 'dir') target.file.nlink--;
    for (const parent of [source.parent, target.parent]) {
      parent.nlink = 2 + [...parent.names.values()].filter((file) => file.kind === 'dir').length;
    }
  }

  #checkReplace(source: NaiveFile, target: NaiveFile): void {
    if (source.kind === 'dir' && target.kind !== 'dir') throw new Refused('NotDirectory');
    if (source.kind !== 'dir' && target.kind === 'dir') throw new Refused('IsDirectory');
    if (target.names.size > 0) throw new Refused('NotEmpty');
  }

  write(file: NaiveFile, offset: number, data: Buffer): void {
    const bytes = Buffer.alloc(Math.max(file.bytes.length, offset + data.length));
    file.bytes.copy(bytes);
    data.copy(bytes, offset);
    file.bytes = bytes;
  }

  truncate(file: NaiveFile, size: number): void {
    if (file.kind !== 'file') throw new Refused(file.kind === 'dir' ? 'IsDirectory' : 'Invalid');
    const bytes = Buffer.alloc(size);
    file.bytes.copy(bytes);
    file.bytes = bytes;
  }

  /** A copy in which hard links are hard links again. */
  snapshot(): NaiveFile {
    const copies = new Map<NaiveFile, NaiveFile>();
    const copy = (file: NaiveFile): NaiveFile => {
      const known = copies.get(file);
      if (known !== undefined) return known;
      const made = { ...file, bytes: Buffer.from(file.bytes), names: new Map<string, NaiveFile>() };
      copies.set(file, made);
      for (const [name, child] of file.names) made.names.set(name, copy(child));
      return made;
    };
    return copy(this.root);
  }
}

function within(directory: NaiveFile, file: NaiveFile): boolean {
  return directory === file || [...directory.names.values()].some((child) => within(child, file));
}

/** One line per name: kind, mode, links, content; hard links are named by the first of their names. */
export function describeNaive(root: NaiveFile): string[] {
  const lines: string[] = [];
  const first = new Map<NaiveFile, string>();
  const visit = (file: NaiveFile, path: string): void => {
    const same = first.get(file) ?? path;
    first.set(file, same);
    const what = file.kind === 'file' ? file.bytes.toString('hex') : file.target;
    lines.push(`${path} ${file.kind} ${file.mode.toString(8)} ${file.nlink} =${same} ${what}`);
    for (const [name, child] of [...file.names].sort(([a], [b]) => (a < b ? -1 : 1)))
      visit(child, `${path}/${name}`);
  };
  visit(root, '');
  return lines;
}
