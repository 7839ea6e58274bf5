import fc from 'fast-check';
import { O_CREAT, O_EXCL, O_RDWR } from '../../../src/vfs/open-flags.js';
import { outcome, type User } from '../support/user.js';
import {
  describeNaive,
  type NaiveFile,
  NaiveFileSystem,
  type Outcome,
  Refused,
} from './naive-file-system.js';

type Path = readonly string[];
const path = fc.array(fc.constantFrom('a', 'b', 'c'), { minLength: 1, maxLength: 3 });
const offset = fc.nat({ max: 9000 });
const bytes = fc.uint8Array({ minLength: 1, maxLength: 40 });
const slot = fc.nat({ max: 2 });

export const command = fc.oneof(
  fc.record({ type: fc.constant('mkdir' as const), path }),
  fc.record({ type: fc.constant('create' as const), path }),
  fc.record({ type: fc.constant('write' as const), path, offset, bytes }),
  fc.record({ type: fc.constant('truncate' as const), path, size: offset }),
  fc.record({ type: fc.constant('chmod' as const), path, mode: fc.constantFrom(0o600, 0o755, 0o4711) }),
  fc.record({ type: fc.constant('symlink' as const), path, target: fc.constantFrom('x', '../y') }),
  fc.record({ type: fc.constant('link' as const), path, to: path }),
  fc.record({ type: fc.constant('unlink' as const), path }),
  fc.record({ type: fc.constant('rmdir' as const), path }),
  fc.record({
    type: fc.constant('rename' as const),
    path,
    to: path,
    mode: fc.constantFrom('plain' as const, 'plain' as const, 'noReplace' as const, 'exchange' as const),
  }),
  fc.record({ type: fc.constant('open' as const), path, slot }),
  fc.record({ type: fc.constant('writeOpen' as const), slot, offset, bytes }),
  fc.record({ type: fc.constant('readOpen' as const), slot }),
  fc.record({ type: fc.constant('close' as const), slot }),
  fc.record({ type: fc.constant('commit' as const) }),
  fc.record({ type: fc.constant('discard' as const) }),
);
export type Command = typeof command extends fc.Arbitrary<infer C> ? C : never;

/** The same command on the file system and on the naive one; both must say the same and end up the same. */
export class Pair {
  readonly naive = new NaiveFileSystem();
  readonly versions: NaiveFile[] = [];
  readonly #user: User;
  readonly #artifact: string;
  readonly #open = new Map<number, { handle: number; file: NaiveFile }>();

  constructor(user: User, artifact: string) {
    this.#user = user;
    this.#artifact = artifact;
  }

  async run(command: Command): Promise<{ real: Outcome; naive: Outcome }> {
    const naive = await refusalOf(() => this.#runNaive(command));
    const real = await outcome(() => this.#runReal(command));
    return { real, naive };
  }

  async closeAll(): Promise<void> {
    for (const slot of [...this.#open.keys()]) await this.#close(slot);
  }

  /** Both as text; `root` is a path of the real file system. */
  async describeReal(root = this.#artifact): Promise<string[]> {
    const lines: string[] = [];
    const first = new Map<bigint, string>();
    const user = this.#user;
    const visit = async (at: string, shown: string): Promise<void> => {
      const { ino, kind, mode, nlink } = await user.stat(at);
      const same = first.get(ino) ?? shown;
      first.set(ino, same);
      let what = '';
      if (kind === 'file') what = await this.#content(at);
      if (kind === 'symlink') what = await user.readlink(at);
      lines.push(`${shown} ${kind} ${mode.toString(8)} ${nlink} =${same} ${what}`);
      if (kind !== 'dir') return;
      for (const name of await user.ls(at)) await visit(`${at}/${name}`, `${shown}/${name}`);
    };
    await visit(root, '');
    return lines;
  }

  describeNaive(): string[] {
    return describeNaive(this.naive.root);
  }

  async #content(at: string): Promise<string> {
    const { handle } = await this.#user.open(at, 0);
    const parts: Buffer[] = [];
    for (let offset = 0; ; ) {
      const part = await this.#user.fs.read(this.#user.context, handle, offset, 3000);
      if (part.length === 0) break;
      parts.push(Buffer.from(part));
      offset += part.length;
    }
    await this.#user.close(handle);
    return Buffer.concat(parts).toString('hex');
  }

  #runNaive(command: Command): void {
    const { naive } = this;
    switch (command.type) {
      case 'mkdir':
        naive.add(command.path, 'dir', 0o755);
        return;
      case 'create':
        naive.add(command.path, 'file', 0o644);
        return;
      case 'symlink':
        naive.add(command.path, 'symlink', 0o777, command.target);
        return;
      case 'write':
        naive.write(this.#regular(command.path), command.offset, Buffer.from(command.bytes));
        return;
      case 'truncate':
        naive.truncate(naive.find(command.path), command.size);
        return;
      case 'chmod':
        naive.find(command.path).mode = command.mode;
        return;
      case 'link':
        naive.link(command.path, command.to);
        return;
      case 'unlink':
        naive.unlink(command.path);
        return;
      case 'rmdir':
        naive.rmdir(command.path);
        return;
      case 'rename':
        naive.rename(command.path, command.to, command.mode);
        return;
      case 'open':
        this.#regular(command.path);
        return;
      case 'writeOpen': {
        const open = this.#open.get(command.slot);
        if (open !== undefined) naive.write(open.file, command.offset, Buffer.from(command.bytes));
        return;
      }
    }
  }

  #regular(path: Path): NaiveFile {
    const file = this.naive.find(path);
    if (file.kind === 'dir') throw new Refused('IsDirectory');
    if (file.kind !== 'file') throw new Refused('Invalid');
    return file;
  }

  async #runReal(command: Command): Promise<void> {
    const user = this.#user;
    const at = 'path' in command ? this.#path(command.path) : '';
    switch (command.type) {
      case 'mkdir':
        return user.mkdir(at, 0o755);
      case 'create':
        return user.close((await user.openCreating(at, O_RDWR | O_CREAT | O_EXCL, 0o644)).handle);
      case 'symlink':
        return user.symlink(command.target, at);
      case 'write': {
        const { handle } = await user.open(at, O_RDWR);
        await user.writeAt(handle, command.offset, Buffer.from(command.bytes));
        return user.close(handle);
      }
      case 'truncate':
        await user.with(at, (id) => user.fs.setAttributes(user.context, id, { size: command.size }));
        return;
      case 'chmod':
        await user.with(at, (id) => user.fs.setAttributes(user.context, id, { mode: command.mode }));
        return;
      case 'link':
        return user.link(at, this.#path(command.to));
      case 'unlink':
        return user.unlink(at);
      case 'rmdir':
        return user.rmdir(at);
      case 'rename': {
        const { mode } = command;
        const flags = { noReplace: mode === 'noReplace', exchange: mode === 'exchange' };
        return user.rename(at, this.#path(command.to), flags);
      }
      case 'open': {
        const { handle } = await user.open(at, O_RDWR);
        await this.#close(command.slot);
        this.#open.set(command.slot, { handle, file: this.naive.find(command.path) });
        return;
      }
      case 'writeOpen': {
        const open = this.#open.get(command.slot);
        if (open !== undefined) await user.writeAt(open.handle, command.offset, Buffer.from(command.bytes));
        return;
      }
      case 'readOpen': {
        const open = this.#open.get(command.slot);
        if (open === undefined) return;
        const read = await user.fs.read(user.context, open.handle, 0, 10_000);
        if (!read.equals(open.file.bytes)) throw new Error('an open file reads other bytes');
        return;
      }
      case 'close':
        return this.#close(command.slot);
      case 'commit':
        return this.#commit();
      case 'discard':
        return this.#discard();
    }
  }

  async #commit(): Promise<void> {
    const result = await outcome(() => this.#user.commit(this.#artifact));
    if (result === 'ok') this.versions.push(this.naive.snapshot());
    else if (result !== 'NothingStaged') throw new Error(`commit: ${result}`);
  }

  /** What an open file holds after a discard is not said, so all are closed first. */
  async #discard(): Promise<void> {
    await this.closeAll();
    await this.#user.write(`${this.#artifact}/.artifact/discard`, '1');
    const last = this.versions.at(-1);
    const base = new NaiveFileSystem();
    if (last !== undefined) base.root = last;
    this.naive.root = base.snapshot();
  }

  async #close(slot: number): Promise<void> {
    const open = this.#open.get(slot);
    this.#open.delete(slot);
    if (open !== undefined) await this.#user.close(open.handle);
  }

  #path(path: Path): string {
    return [this.#artifact, ...path].join('/');
  }
}

async function refusalOf(action: () => unknown): Promise<Outcome> {
  try {
    await action();
    return 'ok';
  } catch (error) {
    if (error instanceof Refused) return error.code;
    throw error;
  }
}
