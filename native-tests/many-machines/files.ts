// What a program of one machine does to files: each call answers with the paths that it changed, and what is there now.
import {
  appendFile,
  chmod,
  link,
  lstat,
  mkdir,
  open,
  readdir,
  readFile,
  readlink,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import type { Random } from '../soak/random.js';
import { bytesOf, type Chunk, chunksOf, nameOf, smallestChunk } from './chunks.js';
import type { Changes, State } from './state.js';

/** Something to be done, and what it changes; `changes` is asked for after it was done. */
export interface Act {
  readonly what: string;
  readonly paths: readonly string[];
  run(): Promise<Changes>;
}

export const isMissing = (error: unknown): boolean =>
  ['ENOENT', 'ENOTDIR'].includes((error as NodeJS.ErrnoException).code ?? '');

export async function stateAt(path: string): Promise<State | null> {
  try {
    const stat = await lstat(path);
    const mode = stat.mode & 0o7777;
    if (stat.isDirectory()) return { kind: 'dir', content: '', mode };
    if (stat.isSymbolicLink()) return { kind: 'link', content: await readlink(path), mode: 0o777 };
    return { kind: 'file', content: nameOf(chunksOf(await readFile(path))), mode };
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

/** Everything below a directory, with it; the control directory is not listed. */
export async function statesBelow(root: string, top: string): Promise<Map<string, State>> {
  const found = new Map<string, State>();
  const visit = async (path: string): Promise<void> => {
    const state = await stateAt(join(root, path));
    if (state === null) return;
    found.set(path, state);
    if (state.kind === 'dir')
      for (const name of await readdir(join(root, path))) await visit(join(path, name));
  };
  await visit(top);
  return found;
}

const weights = {
  write: 10,
  replace: 4,
  append: 3,
  patch: 3,
  remove: 3,
  move: 3,
  chmod: 2,
  symlink: 1,
  link: 1,
  makeDirectory: 2,
  moveDirectory: 1,
  removeDirectory: 1,
} as const;

/** Names say what is there, so that nothing is replaced by something of another kind. */
const names = { file: 12, link: 3, hard: 3, dir: 3 } as const;

/** Draws what is done next in an artifact by the client `name`. */
export class Program {
  readonly #name: string;
  readonly #random: Random;
  #root = '';
  #chunks = 0;

  constructor(name: string, random: Random) {
    this.#name = name;
    this.#random = random;
  }

  /** Path of a file that nobody else ever makes. */
  marker(root: string): Act {
    this.#root = root;
    const path = `${this.#name}/stage-${this.#chunks}`;
    return this.#writeAt(path, false);
  }

  async next(root: string): Promise<Act | null> {
    this.#root = root;
    const top = this.#random.chance(0.5) ? this.#name : 'common';
    const directory = this.#random.chance(0.6) ? top : `${top}/${this.#draw('dir')}`;
    const here = await stateAt(join(root, directory));
    if (here === null) return this.#makeDirectory(directory);
    return this.#draws(directory)[this.#random.weighted(weights)]();
  }

  #draws(directory: string): Readonly<Record<keyof typeof weights, () => Promise<Act | null> | Act | null>> {
    const file = (): string => `${directory}/${this.#draw('file')}`;
    return {
      write: async () => {
        const path = file();
        return this.#writeAt(path, await this.#hasOtherNames(path));
      },
      replace: () => this.#writeAt(file(), true),
      append: () => this.#append(file()),
      patch: () => this.#patch(file()),
      remove: () => this.#remove(file()),
      move: () => this.#move(file(), file()),
      chmod: () => this.#chmod(file()),
      symlink: () => this.#symlink(`${directory}/${this.#draw('link')}`),
      link: () => this.#link(directory),
      makeDirectory: () => null,
      moveDirectory: () => this.#moveDirectory(directory),
      removeDirectory: () => this.#removeDirectory(directory),
    };
  }

  #draw(kind: keyof typeof names): string {
    return `${kind}${this.#random.below(names[kind])}`;
  }

  #chunk(): Chunk {
    const size = this.#random.chance(0.06)
      ? this.#random.between(300_000, 1_500_000)
      : this.#random.between(smallestChunk, 6_000);
    return { tag: `${this.#name}:${this.#chunks++}`, size };
  }

  #writeAt(path: string, replaces: boolean): Act {
    const chunks = Array.from({ length: this.#random.between(1, 3) }, () => this.#chunk());
    const full = join(this.#root, path);
    // A name of its own: what a killed daemon leaves of it is a file like any other.
    const temporary = `${path}.${chunks[0]?.tag}`;
    return {
      what: `${replaces ? 'replace' : 'write'} ${path}`,
      paths: replaces ? [path, temporary] : [path],
      run: async () => {
        const bytes = Buffer.concat(chunks.map(bytesOf));
        if (replaces) {
          await writeFile(join(this.#root, temporary), bytes);
          await rename(join(this.#root, temporary), full);
        } else await writeFile(full, bytes);
        const mode = (await lstat(full)).mode & 0o7777;
        return new Map([[path, { kind: 'file', content: nameOf(chunks), mode }]]);
      },
    };
  }

  async #append(path: string): Promise<Act | null> {
    const before = await this.#alone(path);
    if (before === null || before.content.split('+').length > 12) return null;
    const chunk = this.#chunk();
    return {
      what: `append to ${path}`,
      paths: [path],
      run: async () => {
        await appendFile(join(this.#root, path), bytesOf(chunk));
        return new Map([[path, { ...before, content: `${before.content}+${chunk.tag}` }]]);
      },
    };
  }

  /** One chunk becomes another of the same size; the others stay where they are. */
  async #patch(path: string): Promise<Act | null> {
    const before = await this.#alone(path);
    if (before === null) return null;
    const full = join(this.#root, path);
    const chunks = chunksOf(await readFile(full));
    const index = this.#random.below(chunks.length);
    const offset = chunks.slice(0, index).reduce((sum, { size }) => sum + size, 0);
    const fresh = { ...this.#chunk(), size: chunks[index]?.size ?? 0 };
    return {
      what: `patch ${path}`,
      paths: [path],
      run: async () => {
        const file = await open(full, 'r+');
        try {
          await file.write(bytesOf(fresh), 0, fresh.size, offset);
        } finally {
          await file.close();
        }
        const content = nameOf(chunks.map((chunk, i) => (i === index ? fresh : chunk)));
        return new Map([[path, { ...before, content }]]);
      },
    };
  }

  async #remove(path: string): Promise<Act | null> {
    if ((await stateAt(join(this.#root, path))) === null) return null;
    return {
      what: `remove ${path}`,
      paths: [path],
      run: async () => {
        await unlink(join(this.#root, path));
        return new Map([[path, null]]);
      },
    };
  }

  async #move(from: string, to: string): Promise<Act | null> {
    const before = await this.#alone(from);
    if (before === null || from === to || (await this.#hasOtherNames(to))) return null;
    return {
      what: `move ${from} to ${to}`,
      paths: [from, to],
      run: async () => {
        await rename(join(this.#root, from), join(this.#root, to));
        return new Map([
          [from, null],
          [to, before],
        ]);
      },
    };
  }

  async #chmod(path: string): Promise<Act | null> {
    const before = await this.#alone(path);
    if (before === null) return null;
    const mode = this.#random.pick([0o600, 0o640, 0o644, 0o664, 0o755]) ?? 0o644;
    return {
      what: `chmod ${mode.toString(8)} ${path}`,
      paths: [path],
      run: async () => {
        await chmod(join(this.#root, path), mode);
        return new Map([[path, { ...before, mode }]]);
      },
    };
  }

  async #symlink(path: string): Promise<Act> {
    const full = join(this.#root, path);
    const there = await stateAt(full);
    const content = `to/${this.#name}:${this.#chunks++}`;
    return {
      what: `symlink ${path}`,
      paths: [path],
      run: async () => {
        if (there !== null) await unlink(full);
        await symlink(content, full);
        return new Map([[path, { kind: 'link', content, mode: 0o777 }]]);
      },
    };
  }

  /** Only where nobody else writes: both names are one file. */
  async #link(directory: string): Promise<Act | null> {
    if (!directory.startsWith(this.#name)) return null;
    const [path, other] = [`${directory}/${this.#draw('file')}`, `${directory}/${this.#draw('hard')}`];
    const before = await stateAt(join(this.#root, path));
    if (before === null || (await stateAt(join(this.#root, other))) !== null) return null;
    return {
      what: `link ${other} to ${path}`,
      paths: [other],
      run: async () => {
        await link(join(this.#root, path), join(this.#root, other));
        return new Map([[other, before]]);
      },
    };
  }

  #makeDirectory(path: string): Act {
    return {
      what: `mkdir ${path}`,
      paths: [path],
      run: async () => {
        const full = join(this.#root, path);
        await mkdir(full);
        const mode = (await lstat(full)).mode & 0o7777;
        return new Map([[path, { kind: 'dir', content: '', mode }]]);
      },
    };
  }

  async #moveDirectory(from: string): Promise<Act | null> {
    const to = `${from.split('/')[0]}/${this.#draw('dir')}`;
    if (!from.includes('/') || from === to || (await stateAt(join(this.#root, to))) !== null) return null;
    const below = await statesBelow(this.#root, from);
    const after = [...below].flatMap(([path, state]): [string, State | null][] => [
      [path, null],
      [`${to}${path.slice(from.length)}`, state],
    ]);
    return {
      what: `move ${from} to ${to}`,
      paths: after.map(([path]) => path),
      run: async () => {
        await rename(join(this.#root, from), join(this.#root, to));
        return new Map(after);
      },
    };
  }

  async #removeDirectory(path: string): Promise<Act | null> {
    if (!path.includes('/')) return null;
    const below = await statesBelow(this.#root, path);
    return {
      what: `remove ${path}`,
      paths: [...below.keys()],
      run: async () => {
        await rm(join(this.#root, path), { recursive: true });
        return new Map([...below.keys()].map((each) => [each, null]));
      },
    };
  }

  /** A file that is there under one name. */
  async #alone(path: string): Promise<State | null> {
    return (await this.#hasOtherNames(path)) ? null : stateAt(join(this.#root, path));
  }

  async #hasOtherNames(path: string): Promise<boolean> {
    try {
      return (await lstat(join(this.#root, path))).nlink > 1;
    } catch (error) {
      if (isMissing(error)) return false;
      throw error;
    }
  }
}
