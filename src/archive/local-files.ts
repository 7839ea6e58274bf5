import { constants } from 'node:fs';
import { chmod, lchown, lutimes } from 'node:fs/promises';
import { getSystemErrorName } from 'node:util';
import type { Entry, Kind } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import type { FileCalls } from '../util/file-calls.js';
import type { NotKept } from './not-kept.js';

const kindBits: Readonly<Partial<Record<Kind, number>>> = {
  fifo: constants.S_IFIFO,
  socket: constants.S_IFSOCK,
  char: constants.S_IFCHR,
  block: constants.S_IFBLK,
};
const setIdBits = 0o6000;

/** What means something to one machine only, or is set in another way. */
const machineAttributes = new Set(['security.selinux']);
const keptPrefixes = ['user.', 'trusted.', 'security.', 'system.posix_acl_'];

/** Local files with everything that they are, as far as the system and its rights allow; the rest is noted. */
export class LocalFiles {
  readonly #calls: FileCalls | null;
  readonly #notKept: NotKept;
  readonly #isRoot = process.getuid?.() === 0;

  /** `calls` null: the addon is not there. Extended attributes and special files are not kept then. */
  constructor(calls: FileCalls | null, notKept: NotKept) {
    this.#calls = calls;
    this.#notKept = notKept;
  }

  /** Makes a device, FIFO or socket. False: it was noted instead. */
  makeNode(path: string, { kind, rdev = 0 }: Entry, shown: string): boolean {
    const bits = kindBits[kind];
    const result = bits === undefined ? -1 : (this.#calls?.makeNode(path, bits | 0o600, rdev) ?? null);
    if (result === 0) return true;
    if (result !== null && systemName(result) !== 'EPERM') throw localError(systemError(result), path);
    this.#notKept.note(`${kindNames[kind] ?? kind}`, shown);
    return false;
  }

  /** Owner, attributes, mode and times, in the order in which none undoes another. `shown` names it in notes. */
  async setAttributes(path: string, entry: Entry, shown: string): Promise<void> {
    const ownerIsKept = await this.#setOwner(path, entry);
    if (!ownerIsKept) this.#notKept.note('owner', shown);
    for (const [name, value] of Object.entries(entry.xattrs ?? {}))
      this.#setXattr(path, name, Buffer.from(value, 'base64'), shown);
    if (entry.kind !== 'symlink') {
      // A program that runs as its owner must not come to run as somebody else.
      const mode = ownerIsKept ? entry.mode : entry.mode & ~setIdBits;
      if (mode !== entry.mode) this.#notKept.note('setuid or setgid', shown);
      await chmod(path, mode);
    }
    await this.#setTimes(path, entry);
  }

  /** Attributes of a local file, values in base64. */
  xattrs(path: string, shown: string): Record<string, string> | undefined {
    const names = this.#calls?.listXattrs(path) ?? [];
    if (typeof names === 'number') {
      if (systemName(names) === 'ENOTSUP') return undefined;
      throw localError(systemError(names), path);
    }
    const found: Record<string, string> = {};
    for (const name of names) {
      const value = isKept(name) ? this.#calls?.getXattr(path, name) : undefined;
      if (Buffer.isBuffer(value)) found[name] = value.toString('base64');
      else if (!machineAttributes.has(name)) this.#notKept.note(`attribute ${name}`, shown);
    }
    return Object.keys(found).length === 0 ? undefined : found;
  }

  async #setOwner(path: string, { uid, gid }: Entry): Promise<boolean> {
    if (this.#isRoot) {
      await lchown(path, uid, gid);
      return true;
    }
    return uid === process.getuid?.() && gid === process.getgid?.();
  }

  #setXattr(path: string, name: string, value: Buffer, shown: string): void {
    const result = isKept(name) ? this.#calls?.setXattr(path, name, value) : undefined;
    if (result === 0) return;
    if (result !== undefined && !tellableNames.has(systemName(result)))
      throw localError(systemError(result), path);
    this.#notKept.note(`attribute ${name}`, shown);
  }

  async #setTimes(path: string, { mtime, atime = mtime }: Entry): Promise<void> {
    const result = this.#calls?.setTimes(path, atime.s, atime.ns, mtime.s, mtime.ns);
    if (result === undefined) await lutimes(path, atime.s + atime.ns / 1e9, mtime.s + mtime.ns / 1e9);
    else if (result !== 0) throw localError(systemError(result), path);
  }
}

export const isKept = (name: string): boolean =>
  !machineAttributes.has(name) && keptPrefixes.some((prefix) => name.startsWith(prefix));

const kindNames: Readonly<Partial<Record<Kind, string>>> = {
  char: 'character device',
  block: 'block device',
};

/** Of an attribute: the file system has none, or not for us. */
const tellableNames = new Set(['ENOTSUP', 'EOPNOTSUPP', 'EPERM', 'EACCES', 'ENOSPC', 'E2BIG', 'ERANGE']);

const systemName = (result: number): string => getSystemErrorName(result);

function systemError(errno: number): NodeJS.ErrnoException {
  const code = systemName(errno);
  return Object.assign(new Error(code), { code, errno });
}

/** What a system call on a local file said, with a code of ours. */
export function localError(error: unknown, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof ArtifactError || typeof code !== 'string') return error;
  switch (code) {
    case 'EACCES':
    case 'EPERM':
    case 'EROFS':
      return new ArtifactError('AccessDenied', `${path}: ${message}`, {}, error);
    case 'ENOSPC':
    case 'EDQUOT':
      return new ArtifactError('NoSpace', `${path}: local disk full`, {}, error);
    case 'EEXIST':
    case 'ENOTEMPTY':
      return new ArtifactError('Exists', `${path} exists already`, { hint: 'choose another place' }, error);
    case 'ENOENT':
      return new ArtifactError('NotFound', `${path} is not there`, {}, error);
    case 'ENOTDIR':
      return new ArtifactError('NotDirectory', `${path}: ${message}`, {}, error);
    default:
      return new ArtifactError('Invalid', `${path}: ${message}`, {}, error);
  }
}
