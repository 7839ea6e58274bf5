import { type BigIntStats, constants } from 'node:fs';
import { type FileHandle, lstat, open, readdir, readlink } from 'node:fs/promises';
import { join } from 'node:path';
import type { Kind, Time } from '../model/entry.js';
import type { CallOptions } from '../store/object-store.js';
import type { FileCalls } from '../util/file-calls.js';
import { forEachOf } from '../util/for-each-of.js';
import type { Workspace } from '../workspace/workspace.js';
import { ArtifactWriter, type NewFile, type WrittenArtifact } from './artifact-writer.js';
import { LocalFiles, localError } from './local-files.js';
import { type Loss, NotKept } from './not-kept.js';
import type { Piece } from './stored-content.js';

export interface ImportOptions extends CallOptions {
  readonly target: Workspace;
  /** The new artifact's: names from the root. */
  readonly path: string;
  readonly message: string;
  readonly onProgress?: (bytesDone: number) => void;
}

export interface ImportedArtifact extends WrittenArtifact {
  readonly notKept: readonly Loss[];
}

const filesAtOnce = 4;
const pieceBytesMax = 4 << 20;
/** Zeros of a file with holes that lie at such a place are one. */
const holeBytes = 64 << 10;

/** Makes a directory of this machine the first version of a new artifact, with everything that its files are. */
export async function importFiles(
  directory: string,
  calls: FileCalls | null,
  options: ImportOptions,
): Promise<ImportedArtifact> {
  const notKept = new NotKept();
  const local = new LocalFiles(calls, notKept);
  return writeArtifact(options, notKept, async (writer) => {
    const linked = new Map<string, string>();
    let bytes = 0;
    await forEachOf(walk(directory, notKept), filesAtOnce, async ({ place, path, stat }) => {
      options.signal?.throwIfAborted();
      const kind = kindOf(stat);
      if (kind !== 'dir' && stat.nlink > 1n) {
        const id = `${stat.dev}:${stat.ino}`;
        const first = linked.get(id);
        if (first !== undefined) return writer.link(path, first);
        linked.set(id, path);
      }
      await writer.add(await newFile(local, place, path, kind, stat));
      bytes += kind === 'file' ? Number(stat.size) : 0;
      options.onProgress?.(bytes);
    });
  });
}

/** Whatever ends `fill` leaves nothing in the store. */
export async function writeArtifact(
  { target, path, message, onProgress, ...call }: ImportOptions,
  notKept: NotKept,
  fill: (writer: ArtifactWriter) => Promise<void>,
): Promise<ImportedArtifact> {
  const writer = await ArtifactWriter.open(target, path, call);
  try {
    await fill(writer);
    return { ...(await writer.publish(message)), notKept: notKept.list() };
  } catch (error) {
    await writer.drop().catch(() => undefined); // the reason is in `error`
    throw error;
  }
}

interface Found {
  readonly place: string;
  readonly path: string;
  readonly stat: BigIntStats;
}

/** A directory before what is in it. */
async function* walk(top: string, notKept: NotKept, path = ''): AsyncGenerator<Found> {
  const place = path === '' ? top : join(top, path);
  try {
    const stat = await lstat(place, { bigint: true });
    yield { place, path, stat };
    if (!stat.isDirectory()) return;
    const names = await readdir(place, { encoding: 'buffer' });
    for (const name of names.sort(Buffer.compare)) {
      const text = name.toString();
      const inside = path === '' ? text : `${path}/${text}`;
      if (Buffer.from(text).equals(name)) yield* walk(top, notKept, inside);
      else notKept.note('file whose name is not UTF-8', inside);
    }
  } catch (error) {
    throw localError(error, place);
  }
}

async function newFile(
  local: LocalFiles,
  place: string,
  path: string,
  kind: Kind,
  stat: BigIntStats,
): Promise<NewFile> {
  const xattrs = local.xattrs(place, path === '' ? '.' : path);
  return {
    path,
    kind,
    mode: Number(stat.mode & 0o7777n),
    uid: Number(stat.uid),
    gid: Number(stat.gid),
    mtime: timeOf(stat.mtimeNs),
    ...(kind === 'symlink' ? { target: await readlink(place) } : {}),
    ...(kind === 'char' || kind === 'block' ? { rdev: Number(stat.rdev) } : {}),
    ...(kind === 'file' ? { size: Number(stat.size), content: content(place, stat) } : {}),
    ...(xattrs === undefined ? {} : { xattrs }),
  };
}

async function* content(place: string, stat: BigIntStats): AsyncGenerator<Piece> {
  const hasHoles = stat.blocks * 512n < stat.size;
  let file: FileHandle;
  try {
    file = await open(place, constants.O_RDONLY | constants.O_NOFOLLOW);
  } catch (error) {
    throw localError(error, place);
  }
  try {
    for (;;) {
      const { bytesRead, buffer } = await file.read(Buffer.allocUnsafe(pieceBytesMax), 0, pieceBytesMax);
      if (bytesRead === 0) return;
      const bytes = buffer.subarray(0, bytesRead);
      if (hasHoles) yield* withoutZeros(bytes);
      else yield bytes;
    }
  } finally {
    await file.close();
  }
}

const zeros = Buffer.alloc(holeBytes);

function* withoutZeros(bytes: Buffer): Generator<Piece> {
  let dataStart = 0;
  for (let at = 0; at < bytes.length; at += holeBytes) {
    const block = bytes.subarray(at, at + holeBytes);
    if (!block.equals(zeros.subarray(0, block.length))) continue;
    if (dataStart < at) yield bytes.subarray(dataStart, at);
    yield block.length;
    dataStart = at + block.length;
  }
  if (dataStart < bytes.length) yield bytes.subarray(dataStart);
}

function kindOf(stat: BigIntStats): Kind {
  if (stat.isFile()) return 'file';
  if (stat.isDirectory()) return 'dir';
  if (stat.isSymbolicLink()) return 'symlink';
  if (stat.isFIFO()) return 'fifo';
  if (stat.isSocket()) return 'socket';
  return stat.isCharacterDevice() ? 'char' : 'block';
}

function timeOf(nanoseconds: bigint): Time {
  const billion = 1_000_000_000n;
  const ns = ((nanoseconds % billion) + billion) % billion;
  return { s: Number((nanoseconds - ns) / billion), ns: Number(ns) };
}
