import { execFile } from 'node:child_process';
import { constants } from 'node:os';
import { promisify } from 'node:util';
import { ArtifactError } from '../model/errors.js';
import { runFusermount } from './fusermount.js';
import { findMount } from './mount-table.js';
import { loadNative, type Native } from './native.js';

export interface UnmountOptions {
  /** Take the mount away from its name at once; it ends when the last open file in it is closed. */
  readonly lazy?: boolean;
}

/** umount2 flags. */
const detach = 2;
const noFollow = 8;

/**
 * Unmounts what is mounted at `path` (absolute, without symlinks), whoever serves it. Throws NotFound (nothing mounted),
 * Busy (in use), NotPermitted (somebody else's).
 */
export async function unmountPath(path: string, options: UnmountOptions = {}): Promise<void> {
  const lazy = options.lazy ?? false;
  if (process.platform === 'darwin') {
    await unmountOnMac(path, lazy);
    return;
  }
  const native = process.geteuid?.() === 0 ? addon() : undefined;
  if (native !== undefined) {
    const result = await native.unmount(path, (lazy ? detach : 0) | noFollow);
    if (result === 0) return;
    // Root without CAP_SYS_ADMIN (a container) is helped no more by fusermount3.
    throw await unmountError(path, -result, '');
  }
  const { exitCode, message } = await runFusermount(['-u', ...(lazy ? ['-z'] : []), '--', path]);
  if (exitCode !== 0) throw await unmountError(path, 0, message);
}

/** What was mounted by the other driver goes without it. */
function addon(): Native | undefined {
  try {
    return loadNative();
  } catch {
    return undefined;
  }
}

/** There is no lazy unmount: with force, open files fail from then on. */
async function unmountOnMac(path: string, force: boolean): Promise<void> {
  try {
    await promisify(execFile)('/sbin/umount', [...(force ? ['-f'] : []), path]);
  } catch (error) {
    const said = String((error as { stderr?: unknown }).stderr ?? '').trim();
    if (/not currently mounted/i.test(said)) {
      throw new ArtifactError('NotFound', `nothing is mounted at ${path}`, {}, error);
    }
    const code = /busy/i.test(said) ? 'Busy' : 'NotPermitted';
    throw new ArtifactError(code, `${path} cannot be unmounted: ${said}`, {}, error);
  }
}

async function unmountError(path: string, errno: number, message: string): Promise<ArtifactError> {
  const { EINVAL, ENOENT, EBUSY, EPERM } = constants.errno;
  if (errno === EINVAL || errno === ENOENT || (await findMount(path)) === undefined) {
    return new ArtifactError('NotFound', `nothing is mounted at ${path}`);
  }
  if (errno === EBUSY || /busy/i.test(message)) {
    return new ArtifactError('Busy', `${path} is in use`, {
      hint: `close what uses it (see: fuser -vm ${path}) or unmount it lazily`,
    });
  }
  const why = message || `errno ${errno}`;
  return errno === EPERM || /permission|not permitted|not owner/i.test(message)
    ? new ArtifactError('NotPermitted', `${path} cannot be unmounted by this user: ${why}`)
    : new ArtifactError('Internal', `${path} cannot be unmounted: ${why}`);
}
