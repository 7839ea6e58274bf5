import { readdir, realpath, stat, statfs } from 'node:fs/promises';
import { basename, dirname, join, resolve } from 'node:path';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { findMount } from './mount-table.js';
import { unmountPath } from './unmount.js';

export const mountType = 'fuse.artifactfs';

export interface MountPoint {
  /** Absolute, without symlinks: as the kernel's table has it. */
  readonly path: string;
  /** A mount whose daemon had died was taken away first. */
  readonly recovered: boolean;
}

/**
 * Proves that something can be mounted at `path`, and cleans up after a dead daemon of ours. Throws NotFound, Invalid
 * (not a directory), NotEmpty, Busy (mounted already).
 */
export async function prepareMountPoint(path: string, allowNonEmpty: boolean): Promise<MountPoint> {
  const real = await resolveMountPoint(path);
  const recovered = await removeDeadMount(real);
  const info = await stat(real).catch((error: unknown) => fail(error, real));
  if (!info.isDirectory()) {
    throw new ArtifactError('Invalid', `the mount point ${real} is not a directory`, {
      hint: 'choose a directory',
    });
  }
  if (!allowNonEmpty && (await readdir(real).catch((error: unknown) => fail(error, real))).length > 0) {
    throw new ArtifactError('NotEmpty', `the mount point ${real} is not empty: its files would be hidden`, {
      hint: 'choose an empty directory',
    });
  }
  return { path: real, recovered };
}

/** The same place with no symlink in it. A dead mount cannot be looked into, so its own name is taken as it is. */
export async function resolveMountPoint(path: string): Promise<string> {
  if (path === '' || path.includes('\0')) throw new ArtifactError('Invalid', 'the mount point has no path');
  const absolute = resolve(path);
  try {
    return await realpath(absolute);
  } catch (error) {
    if (errorCode(error) !== 'ENOTCONN') fail(error, absolute);
    return join(await realpath(dirname(absolute)), basename(absolute));
  }
}

async function removeDeadMount(path: string): Promise<boolean> {
  const mounted = await findMount(path);
  if (mounted === undefined || !mounted.type.startsWith('fuse')) return false;
  if (mounted.type !== mountType) {
    if (await isAlive(path)) return false; // somebody else's: mounting over it is allowed, if it is empty
    throw new ArtifactError('Busy', `${path} is a dead ${mounted.type} mount (${mounted.source})`, {
      hint: `run: fusermount3 -u -z ${path}`,
    });
  }
  if (await isAlive(path)) {
    throw new ArtifactError('Busy', `${path} is mounted already (${mounted.source})`, {
      hint: `run: artifactfs unmount ${path}`,
    });
  }
  await unmountPath(path, { lazy: true });
  return true;
}

/**
 * Whether a daemon answers for the mount. One that is silent for too long counts as alive: it is not ours to remove. It
 * is asked what the kernel never answers by itself: attributes of the root it goes on showing when the daemon is dead.
 */
async function isAlive(path: string): Promise<boolean> {
  let timer: NodeJS.Timeout | undefined;
  const silence = new Promise<boolean>((done) => {
    timer = setTimeout(() => done(true), limits.mountAnswerMsMax);
  });
  const answer = statfs(path).then(
    () => true,
    (error: unknown) => errorCode(error) !== 'ENOTCONN' && errorCode(error) !== 'ECONNABORTED',
  );
  try {
    return await Promise.race([answer, silence]);
  } finally {
    clearTimeout(timer);
  }
}

function fail(error: unknown, path: string): never {
  const code = errorCode(error);
  if (code === 'ENOENT') {
    throw new ArtifactError(
      'NotFound',
      `the mount point ${path} does not exist`,
      { hint: `run: mkdir -p ${path}` },
      error,
    );
  }
  if (code === 'ENOTDIR') {
    throw new ArtifactError('Invalid', `the mount point ${path} is not a directory`, {}, error);
  }
  if (code === 'EACCES' || code === 'EPERM') {
    throw new ArtifactError('AccessDenied', `no permission for the mount point ${path}`, {}, error);
  }
  throw error;
}

const errorCode = (error: unknown): unknown => (error as { code?: unknown } | null)?.code;
