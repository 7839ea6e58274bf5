// Reads what a mount shows, and compares it with what must be there.
import { execFile } from 'node:child_process';
import { createHash } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { type Content, difference } from './content.js';
import type { Frozen, Part } from './model.js';

const pieceBytes = 1 << 20;

/** Something is not what it must be. */
export class Mismatch extends Error {
  override name = 'Mismatch';
}

/** The whole file or a part of it; `direct`: past the kernel's cache. */
export async function compareContent(
  path: string,
  content: Content,
  { offset = 0, length = content.size, direct = false } = {},
): Promise<void> {
  const file = await open(path, constants.O_RDONLY | (direct ? constants.O_DIRECT : 0));
  try {
    const { size } = await file.stat();
    if (size !== content.size) throw new Mismatch(`${path} has ${size} bytes, not ${content.size}`);
    const end = Math.min(offset + length, content.size);
    for (let at = offset; at < end; at += pieceBytes) {
      const expected = content.bytes(at, Math.min(pieceBytes, end - at));
      const wrong = difference(await readAll(file, expected.length, at), expected, at);
      if (wrong !== null) throw new Mismatch(`${path} (${size} bytes) ${wrong}`);
    }
  } finally {
    await file.close();
  }
}

export async function readAll(file: FileHandle, length: number, position: number): Promise<Buffer> {
  const bytes = Buffer.alloc(length);
  let done = 0;
  while (done < length) {
    const { bytesRead } = await file.read(bytes, done, length - done, position + done);
    if (bytesRead === 0) break;
    done += bytesRead;
  }
  return bytes.subarray(0, done);
}

/** What is there now, as something that must stay. */
async function see(path: string): Promise<Frozen> {
  const stat = await lstat(path);
  if (stat.isDirectory()) return { kind: 'directory' };
  if (stat.isSymbolicLink()) return { kind: 'link', target: await readlink(path) };
  const { size, sha256 } = await digest(path);
  return { kind: 'seen', size, sha256 };
}

/** What is there below a path, with it; nothing when it is missing. */
export async function seeBelow(root: string, path: string, into: Map<string, Frozen>): Promise<void> {
  const full = join(root, path);
  let found: Frozen;
  try {
    found = await see(full);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    throw error;
  }
  into.set(path, found);
  if (found.kind !== 'directory') return;
  for (const name of await readdir(full)) await seeBelow(root, `${path}/${name}`, into);
}

async function digest(path: string): Promise<{ size: number; sha256: string }> {
  const file = await open(path, 'r');
  try {
    const hash = createHash('sha256');
    let size = 0;
    for (;;) {
      const bytes = await readAll(file, pieceBytes, size);
      hash.update(bytes);
      size += bytes.length;
      if (bytes.length < pieceBytes) return { size, sha256: hash.digest('hex') };
    }
  } finally {
    await file.close();
  }
}

export interface CompareOptions {
  /** Which files are read whole; the others' attributes are looked at. Default: all. */
  readonly reads?: (path: string) => boolean;
  readonly direct?: boolean;
}

/** A tree of a mount against what must be there: names, kinds, modes, links, sizes and bytes. Answers the bytes read. */
export async function compareTree(
  root: string,
  top: string,
  part: Part,
  { reads = () => true, direct = false }: CompareOptions = {},
): Promise<number> {
  const names = new Map<string, string[]>();
  for (const path of part.keys()) {
    if (path === top) continue;
    const parent = path.slice(0, path.lastIndexOf('/'));
    const siblings = names.get(parent);
    if (siblings === undefined) names.set(parent, [path.slice(parent.length + 1)]);
    else siblings.push(path.slice(parent.length + 1));
  }
  let bytes = 0;
  for (const [path, expected] of part) {
    const full = join(root, path);
    if (expected.kind === 'directory') await compareNames(full, names.get(path) ?? []);
    else bytes += await compareEntry(full, expected, reads(path), direct);
  }
  return bytes;
}

async function compareNames(path: string, expected: readonly string[]): Promise<void> {
  const found = new Set(await readdir(path));
  const missing = expected.filter((name) => !found.delete(name));
  if (missing.length > 0) throw new Mismatch(`${path} has lost ${missing.join(', ')}`);
  if (found.size > 0) throw new Mismatch(`${path} shows ${[...found].join(', ')}, which nobody made`);
}

/** What the daemon says, whatever the kernel remembers. */
async function asked(path: string): Promise<string> {
  const { stdout } = await promisify(execFile)('stat', ['--cached=never', '-c', '%h names, inode %i', path]);
  return `the daemon says ${stdout.trim()}`;
}

async function compareEntry(
  path: string,
  expected: Exclude<Frozen, { kind: 'directory' }>,
  whole: boolean,
  direct: boolean,
): Promise<number> {
  if (expected.kind === 'link') {
    const target = await readlink(path);
    if (target !== expected.target) throw new Mismatch(`${path} leads to ${target}, not ${expected.target}`);
    return 0;
  }
  const stat = await lstat(path);
  const size = expected.kind === 'file' ? expected.content.size : expected.size;
  if (!stat.isFile()) throw new Mismatch(`${path} is no file`);
  if (stat.size !== size) throw new Mismatch(`${path} has ${stat.size} bytes, not ${size}`);
  if (expected.kind === 'file') {
    const { mode, links } = expected;
    if ((stat.mode & 0o7777) !== mode)
      throw new Mismatch(`${path} has mode ${(stat.mode & 0o7777).toString(8)}, not ${mode.toString(8)}`);
    if (stat.nlink !== links)
      throw new Mismatch(`${path} has ${stat.nlink} names, not ${links}; ${await asked(path)}`);
  }
  if (!whole) return 0;
  if (expected.kind === 'file') await compareContent(path, expected.content, { direct });
  else {
    const { sha256 } = await digest(path);
    if (sha256 !== expected.sha256) throw new Mismatch(`${path} is not what was seen in this version first`);
  }
  return size;
}
