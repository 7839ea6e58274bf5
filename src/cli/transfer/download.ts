import { createHash, randomUUID } from 'node:crypto';
import { createWriteStream } from 'node:fs';
import { chmod, lstat, lutimes, mkdir, rename, rm, symlink, utimes } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { Transform } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import type { ControlClient } from '../../http/client.js';
import type { FileInfo } from '../../http/schemas.js';
import { ArtifactError } from '../../model/errors.js';
import { forEachOf } from '../../util/for-each-of.js';

export interface DownloadSource {
  readonly client: ControlClient;
  readonly artifact: string;
  readonly ref: string;
}

export interface DownloadTotals {
  files: number;
  directories: number;
  links: number;
  bytes: number;
  /** Devices and the like, which are not made. */
  readonly skipped: string[];
}

const width = 8;
const pageFiles = 1000;

export async function downloadFile(
  source: DownloadSource,
  info: FileInfo,
  destination: string,
  onBytes: (bytes: number) => void,
): Promise<void> {
  if (info.kind === 'symlink') return makeLink(info, destination);
  const temporary = join(dirname(destination), `.${randomUUID()}.part`);
  try {
    const hash = createHash('sha256');
    const meter = new Transform({
      transform(chunk: Buffer, _encoding, done) {
        if (info.sha256 !== undefined) hash.update(chunk);
        onBytes(chunk.length);
        done(null, chunk);
      },
    });
    const bytes = await source.client.read(source.artifact, source.ref, info.path);
    await pipeline(bytes, meter, createWriteStream(temporary, { flags: 'wx', mode: 0o600 }));
    if (info.sha256 !== undefined && hash.digest('hex') !== info.sha256) {
      throw new ArtifactError('Corrupt', `${info.path}: the bytes received do not have the recorded SHA-256`);
    }
    await setAttributes(temporary, info);
    await rename(temporary, destination);
  } catch (error) {
    throw localError(error, destination);
  } finally {
    await rm(temporary, { force: true });
  }
}

/** Everything below `path` into the directory `destination`, which is made. */
export async function downloadTree(
  source: DownloadSource,
  path: string,
  destination: string,
  onProgress: (totals: DownloadTotals) => void,
): Promise<DownloadTotals> {
  const totals: DownloadTotals = { files: 0, directories: 0, links: 0, bytes: 0, skipped: [] };
  const directories: { info: FileInfo; place: string }[] = [];
  const made = new Set([await existingDirectory(destination)]);
  const ensure = async (path: string) => {
    if (made.has(path)) return;
    await makeDirectory(path);
    made.add(path);
  };
  await forEachOf(listAll(source, path), width, async (info) => {
    const inside = path === '' ? info.path : info.path.slice(path.length + 1);
    const place = join(destination, inside);
    await ensure(dirname(place));
    if (info.kind === 'dir') {
      await ensure(place);
      directories.push({ info, place });
      totals.directories++;
    } else if (info.kind === 'symlink') {
      await makeLink(info, place);
      totals.links++;
    } else if (info.kind === 'file') {
      await downloadFile(source, info, place, (bytes) => {
        totals.bytes += bytes;
        onProgress(totals);
      });
      totals.files++;
    } else {
      totals.skipped.push(info.path);
    }
    onProgress(totals);
  });
  // A time set earlier would be changed by what is made inside.
  for (const { info, place } of directories.reverse()) {
    await setAttributes(place, info);
  }
  return totals;
}

/** Who names the destination may name a symlink. */
async function existingDirectory(path: string): Promise<string> {
  try {
    await mkdir(path, { recursive: true });
    return path;
  } catch (error) {
    throw localError(error, path);
  }
}

async function* listAll({ client, artifact, ref }: DownloadSource, path: string): AsyncGenerator<FileInfo> {
  let after: string | undefined;
  for (;;) {
    const page = await client.list(artifact, {
      ref,
      path,
      recursive: true,
      limit: pageFiles,
      ...(after === undefined ? {} : { after }),
    });
    yield* page.files;
    after = page.files.at(-1)?.path;
    if (!page.more || after === undefined) return;
  }
}

/** A symlink in the way is no directory: following it would write outside of the destination. */
async function makeDirectory(path: string): Promise<void> {
  try {
    await mkdir(path, { recursive: true });
    if ((await lstat(path)).isSymbolicLink()) {
      throw new ArtifactError('NotDirectory', `${path} is a symlink, not a directory`);
    }
  } catch (error) {
    throw localError(error, path);
  }
}

async function makeLink(info: FileInfo, destination: string): Promise<void> {
  try {
    await rm(destination, { force: true });
    await symlink(info.target ?? '', destination);
    await lutimes(destination, seconds(info), seconds(info));
  } catch (error) {
    throw localError(error, destination);
  }
}

const seconds = ({ mtime }: FileInfo) => mtime.s + mtime.ns / 1e9;

/** Without setuid and setgid: a store that others write to must not make programs that run as somebody else. */
async function setAttributes(path: string, info: FileInfo): Promise<void> {
  await chmod(path, info.mode & 0o1777);
  await utimes(path, seconds(info), seconds(info));
}

function localError(error: unknown, path: string): unknown {
  const { code, message } = error as NodeJS.ErrnoException;
  if (error instanceof ArtifactError || typeof code !== 'string') return error;
  if (code === 'EACCES' || code === 'EPERM' || code === 'EROFS') {
    return new ArtifactError('AccessDenied', `${path} cannot be written: ${message}`, {}, error);
  }
  if (code === 'ENOSPC' || code === 'EDQUOT')
    return new ArtifactError('NoSpace', `${path}: local disk full`, {}, error);
  if (code === 'ENOTDIR' || code === 'EEXIST')
    return new ArtifactError('NotDirectory', `${path}: ${message}`, {}, error);
  if (code === 'ENOENT') return new ArtifactError('NotFound', `${path}: ${message}`, {}, error);
  return error;
}
