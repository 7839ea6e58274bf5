import { readdir, readFile, realpath } from 'node:fs/promises';
import { resolve } from 'node:path';
import { ArtifactError } from '../model/errors.js';
import { within } from '../util/within.js';

/** How long a directory may take to answer before it counts as a mount that hangs. */
const answerMsMax = 3_000;

export interface MountedAt {
  readonly path: string;
  readonly type: string;
  readonly source: string;
}

/** What the kernel has mounted, read without touching any mount; empty where there is no /proc. */
export async function mounts(): Promise<MountedAt[]> {
  let text: string;
  try {
    text = await readFile('/proc/self/mountinfo', 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return [];
    throw error;
  }
  return text
    .split('\n')
    .filter((line) => line !== '')
    .map(parseMountInfo);
}

function parseMountInfo(line: string): MountedAt {
  const [left = '', right = ''] = line.split(' - ');
  const [type = '', source = ''] = right.split(' ');
  return { path: fromOctal(left.split(' ')[4] ?? ''), type, source: fromOctal(source) };
}

/** Spaces and the like are written as octal numbers. */
const fromOctal = (text: string) =>
  text.replace(/\\([0-7]{3})/g, (_, octal: string) => String.fromCharCode(Number.parseInt(octal, 8)));

export const isOurs = (mount: MountedAt) => mount.type === 'fuse.artifactfs';

/**
 * The absolute path of a directory that may be mounted on: there, empty, and not mounted. A mount that a killed daemon of
 * ours left there is taken away by `detach` first.
 */
export async function prepareMountPoint(
  given: string,
  cwd: string,
  detach: (path: string) => Promise<void>,
): Promise<string> {
  const path = resolve(cwd, given);
  let entries = await entriesOf(path);
  if (entries === 'dead') {
    await detach(path);
    entries = await entriesOf(path);
  }
  if (entries === 'dead') {
    throw new ArtifactError('Busy', `${path} is a mount whose daemon is gone, and it cannot be taken away`, {
      hint: `try: sudo umount -l ${path}`,
    });
  }
  // A mount that does not answer must not be asked for its real path either.
  const real = entries === 'silent' ? path : await realpath(path);
  const there = (await mounts()).findLast((mount) => mount.path === real);
  if (entries === 'silent' || (there !== undefined && isOurs(there))) {
    throw new ArtifactError('Busy', `${path} is mounted already (${there?.source ?? 'it does not answer'})`, {
      hint: `unmount it first: artifactfs unmount ${path}`,
    });
  }
  if (entries.length > 0) {
    throw new ArtifactError('NotEmpty', `${path} is not empty: its files would be hidden by the mount`, {
      hint: 'choose an empty directory',
    });
  }
  return real;
}

async function entriesOf(path: string): Promise<string[] | 'dead' | 'silent'> {
  try {
    return (await within(answerMsMax, readdir(path))) ?? 'silent';
  } catch (error) {
    const { code, message } = error as NodeJS.ErrnoException;
    if (code === 'ENOTCONN' || code === 'ECONNABORTED') return 'dead';
    if (code === 'ENOENT') {
      throw new ArtifactError(
        'NotFound',
        `mount point ${path} does not exist`,
        { hint: `make it: mkdir ${path}` },
        error,
      );
    }
    if (code === 'ENOTDIR')
      throw new ArtifactError('NotDirectory', `mount point ${path} is no directory`, {}, error);
    throw new ArtifactError('AccessDenied', `mount point ${path} cannot be read: ${message}`, {}, error);
  }
}
