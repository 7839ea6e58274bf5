// What a worker does to its directory: each action says what it touches, does it, and then tells the model.
import {
  chmod,
  copyFile,
  type FileHandle,
  link,
  mkdir,
  open,
  rename,
  rm,
  symlink,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { Content } from './content.js';
import { isIn, type Model } from './model.js';
import type { Random } from './random.js';

export interface Action {
  readonly what: string;
  /** Paths that it may change, with all below them. */
  readonly roots: readonly string[];
  /** What files under the roots may hold afterwards, beside what they hold now. */
  readonly after: readonly Content[];
  /** Of each group at least one path is there all the time. */
  readonly survivors: readonly (readonly string[])[];
  act(): Promise<void>;
  learn(): void;
}

const KiB = 1 << 10;
const MiB = 1 << 20;
const pieceBytes = 1 * MiB;
const filesMax = 300;
const bytesMax = 40 * MiB;

const weights = {
  small: 14,
  medium: 8,
  large: 1.5,
  tree: 3,
  overwrite: 12,
  append: 12,
  truncate: 6,
  replace: 10,
  rename: 8,
  renameDirectory: 3,
  remove: 10,
  link: 4,
  symlink: 3,
  chmod: 3,
  copy: 4,
};

/** The makers of actions; null: it cannot be done now. `path` gives the path in the mount. */
export class Actions {
  readonly #model: Model;
  readonly #random: Random;
  readonly #path: (path: string) => string;
  #n = 0;

  constructor(model: Model, random: Random, path: (path: string) => string) {
    this.#model = model;
    this.#random = random;
    this.#path = path;
  }

  next(): Action | null {
    const model = this.#model;
    const files = model.files().length;
    if (files > filesMax || model.bytes > bytesMax) return this.makeRoom();
    return this[this.#random.weighted(weights)]();
  }

  small(): Action {
    return this.#make('small file', this.#size(0, 12 * KiB));
  }

  medium(): Action {
    return this.#make('medium file', this.#size(64 * KiB, 2 * MiB));
  }

  large(): Action {
    return this.#make('large file', this.#size(9 * MiB, 24 * MiB));
  }

  tree(): Action {
    const root = this.#freshName('tree');
    const count = this.#random.between(10, 60);
    const files = Array.from({ length: count }, (_, i) => ({
      path: `${root}/d${i % 4}/f${i}`,
      content: Content.of(this.#seed(), this.#size(0, 6 * KiB)),
    }));
    return {
      what: `tree of ${count} files ${root}`,
      roots: [root],
      after: files.map(({ content }) => content),
      survivors: [],
      act: async () => {
        for (let d = 0; d < 4; d++) await mkdir(this.#path(`${root}/d${d}`), { recursive: true });
        for (const { path, content } of files) {
          await writeFile(this.#path(path), content.bytes(0, content.size), { mode: 0o644 });
        }
      },
      learn: () => {
        for (const path of [root, ...[0, 1, 2, 3].map((d) => `${root}/d${d}`)]) {
          this.#model.set(path, { kind: 'directory' });
        }
        for (const { path, content } of files) this.#model.setFile(path, content);
      },
    };
  }

  overwrite(): Action | null {
    const path = this.#anyFile();
    if (path === undefined) return null;
    const { content } = this.#model.node(path);
    const writes = Array.from({ length: this.#random.between(1, 5) }, () => ({
      offset: this.#random.below(content.size + 1),
      length: this.#random.between(1, this.#random.chance(0.2) ? 300 * KiB : 9000),
      seed: this.#seed(),
    }));
    const states = [content];
    for (const { offset, length, seed } of writes)
      states.push((states.at(-1) ?? content).written(offset, length, seed));
    return this.#inPlace('overwrite', path, states, async (file) => {
      for (const [i, { offset, length }] of writes.entries()) {
        await writeAll(file, states[i + 1]?.bytes(offset, length) ?? Buffer.alloc(0), offset);
      }
    });
  }

  append(): Action | null {
    const path = this.#anyFile();
    if (path === undefined) return null;
    const { content } = this.#model.node(path);
    const length = this.#random.between(1, this.#random.chance(0.1) ? 2 * MiB : 9000);
    const next = content.written(content.size, length, this.#seed());
    return this.#inPlace(
      'append to',
      path,
      [content, next],
      async (file) => writeAll(file, next.bytes(content.size, length), null),
      'a',
    );
  }

  truncate(): Action | null {
    const path = this.#anyFile();
    if (path === undefined) return null;
    const { content } = this.#model.node(path);
    const size = this.#random.chance(0.6)
      ? this.#random.below(content.size + 1)
      : content.size + this.#random.below(MiB);
    const next = content.cut(size);
    return this.#inPlace('truncate', path, [content, next], (file) => file.truncate(size));
  }

  /** Writes another file and renames it over. */
  replace(): Action | null {
    const path = this.#anyFile();
    if (path === undefined) return null;
    const temporary = this.#freshName('tmp');
    const content = Content.of(this.#seed(), this.#size(0, 100 * KiB));
    return {
      what: `replace ${path}`,
      roots: [temporary, ...this.#model.node(path).names],
      after: [content],
      survivors: [[path]],
      act: async () => {
        await this.#write(temporary, content);
        await rename(this.#path(temporary), this.#path(path));
      },
      learn: () => this.#model.setFile(path, content),
    };
  }

  rename(): Action | null {
    const from = this.#anyFile();
    if (from === undefined) return null;
    const over = this.#random.chance(0.3) ? this.#anyFile() : undefined;
    return this.#move(from, over ?? this.#freshName('moved'));
  }

  renameDirectory(): Action | null {
    const from = this.#anyDirectory();
    if (from === undefined) return null;
    const to = this.#freshName('dir');
    return isIn(to, from) ? null : this.#move(from, to);
  }

  remove(): Action | null {
    const path = this.#random.chance(0.15) ? this.#anyDirectory() : this.#anyFile();
    return path === undefined ? null : this.#removal([path]);
  }

  /** Something with all that is in it, so that in the long run as much goes as is made. */
  makeRoom(): Action {
    const { top } = this.#model;
    const tops = [...this.#model.entries.keys()].filter(
      (path) => path !== top && !path.slice(top.length + 1).includes('/'),
    );
    return this.#removal([this.#random.pick(tops) ?? top]);
  }

  link(): Action | null {
    const from = this.#anyFile();
    if (from === undefined) return null;
    const to = this.#freshName('hard');
    return {
      what: `link ${from} to ${to}`,
      roots: [to, ...this.#model.node(from).names],
      after: [],
      survivors: [[from]],
      act: () => link(this.#path(from), this.#path(to)),
      learn: () => this.#model.link(from, to),
    };
  }

  symlink(): Action {
    const path = this.#freshName('sym');
    const target = `../${this.#random.below(1000)}/${'x'.repeat(this.#random.below(60))}`;
    return {
      what: `symlink ${path}`,
      roots: [path],
      after: [],
      survivors: [],
      act: () => symlink(target, this.#path(path)),
      learn: () => this.#model.set(path, { kind: 'link', target }),
    };
  }

  chmod(): Action | null {
    const path = this.#anyFile();
    if (path === undefined) return null;
    const mode = this.#random.pick([0o600, 0o644, 0o640, 0o755]) ?? 0o644;
    const node = this.#model.node(path);
    return {
      what: `chmod ${path}`,
      roots: [...node.names],
      after: [],
      survivors: [[path]],
      act: () => chmod(this.#path(path), mode),
      learn: () => {
        node.mode = mode;
      },
    };
  }

  /** By copy_file_range, which shares committed bytes. */
  copy(): Action | null {
    const from = this.#anyFile();
    if (from === undefined) return null;
    const { content, mode } = this.#model.node(from);
    const to = this.#freshName('copy');
    return {
      what: `copy ${from} to ${to}`,
      roots: [to],
      after: [content],
      survivors: [],
      act: () => copyFile(this.#path(from), this.#path(to)),
      learn: () => this.#model.setFile(to, content, mode),
    };
  }

  #make(kind: string, size: number): Action {
    const path = this.#freshName('f');
    const content = Content.of(this.#seed(), size);
    return {
      what: `${kind} ${path}`,
      roots: [path],
      after: [content],
      survivors: [],
      act: () => this.#write(path, content),
      learn: () => this.#model.setFile(path, content),
    };
  }

  #move(from: string, to: string): Action {
    const names = [from, to].flatMap((path) => {
      const entry = this.#model.get(path);
      return entry?.kind === 'file' ? [...entry.node.names] : [path];
    });
    return {
      what: `rename ${from} to ${to}`,
      roots: [...new Set([...names, from, to])],
      after: [],
      survivors: [[from, to]],
      act: () => rename(this.#path(from), this.#path(to)),
      learn: () => this.#model.rename(from, to),
    };
  }

  #removal(paths: readonly string[]): Action {
    const linked = paths
      .flatMap((path) => this.#model.below(path))
      .flatMap(([, entry]) => (entry.kind === 'file' ? [...entry.node.names] : []));
    return {
      what: `remove ${paths.join(', ')}`,
      roots: [...new Set([...paths, ...linked])],
      after: [],
      survivors: [],
      act: async () => {
        for (const path of paths) {
          if (this.#model.get(path)?.kind === 'directory') await rm(this.#path(path), { recursive: true });
          else await unlink(this.#path(path));
        }
      },
      learn: () => {
        for (const path of paths) this.#model.remove(path);
      },
    };
  }

  #inPlace(
    verb: string,
    path: string,
    states: readonly Content[],
    change: (file: FileHandle) => Promise<void>,
    flag = 'r+',
  ): Action {
    const node = this.#model.node(path);
    const sync = this.#random.chance(0.1);
    return {
      what: `${verb} ${path}`,
      roots: [...node.names],
      after: states.slice(1),
      survivors: [[path]],
      act: async () => {
        const file = await open(this.#path(path), flag);
        try {
          await change(file);
          if (sync) await file.sync();
        } finally {
          await file.close();
        }
      },
      learn: () => {
        node.content = states.at(-1) ?? node.content;
      },
    };
  }

  async #write(path: string, content: Content): Promise<void> {
    const file = await open(this.#path(path), 'wx', 0o644);
    try {
      for (let at = 0; at < content.size; at += pieceBytes) {
        await writeAll(file, content.bytes(at, pieceBytes), at);
      }
    } finally {
      await file.close();
    }
  }

  #freshName(kind: string): string {
    return `${this.#random.pick(this.#model.directories()) ?? this.#model.top}/${kind}-${this.#n++}`;
  }

  #anyFile(): string | undefined {
    return this.#random.pick(this.#model.files());
  }

  #anyDirectory(): string | undefined {
    return this.#random.pick(this.#model.directories().filter((path) => path !== this.#model.top));
  }

  #size(low: number, high: number): number {
    return this.#random.between(low, high);
  }

  #seed(): number {
    return 1 + this.#random.below(2 ** 32 - 1);
  }
}

async function writeAll(file: FileHandle, bytes: Buffer, position: number | null): Promise<void> {
  let done = 0;
  while (done < bytes.length) {
    const at = position === null ? null : position + done;
    done += (await file.write(bytes, done, bytes.length - done, at)).bytesWritten;
  }
}
