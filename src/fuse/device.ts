import { closeSync, constants as fileConstants, openSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import { constants } from 'node:os';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { runFusermount } from './fusermount.js';
import type { CheckedMountOptions } from './mount-options.js';
import { mountType } from './mount-point.js';
import type { Native } from './native.js';

const devicePath = '/dev/fuse';

/** mount(2) flags. */
const readOnlyFlag = 1;
const noSetuidFlag = 2;
const noDevicesFlag = 4;

/** Mounts at `path` and answers the descriptor of /dev/fuse that serves it; the caller owns it. */
export async function mountDevice(
  native: Native,
  path: string,
  options: CheckedMountOptions,
): Promise<number> {
  return options.by === 'mount' ? mountDirectly(native, path, options) : mountByHelper(native, path, options);
}

/** What both ways have in common. The kernel checks rights by mode and owner; max_read bounds one READ. */
function commonOptions(options: CheckedMountOptions): string[] {
  const list = ['default_permissions', `max_read=${limits.fuseRequestBytesMax}`];
  if (options.allowOther) list.push('allow_other');
  return list;
}

async function mountDirectly(native: Native, path: string, options: CheckedMountOptions): Promise<number> {
  const fd = openDevice();
  const data = [
    `fd=${fd}`,
    'rootmode=40000',
    `user_id=${process.geteuid?.() ?? 0}`,
    `group_id=${process.getegid?.() ?? 0}`,
    ...commonOptions(options),
  ];
  const flags =
    (options.readOnly ? readOnlyFlag : 0) |
    (options.allowSetuid ? 0 : noSetuidFlag) |
    (options.allowDevices ? 0 : noDevicesFlag);
  const result = await native.mount(options.fsName, path, mountType, flags, data.join(','));
  if (result === 0) return fd;
  closeSync(fd);
  throw mountError(path, -result);
}

/** A bare descriptor, since a FileHandle closes it when collected. Opening a device node waits for nobody. */
function openDevice(): number {
  try {
    return openSync(devicePath, fileConstants.O_RDWR | fileConstants.O_NONBLOCK);
  } catch (error) {
    throw deviceError(error);
  }
}

/** Throws Unsupported or AccessDenied when /dev/fuse cannot be opened. */
export function proveDevice(): void {
  closeSync(openDevice());
}

function deviceError(error: unknown): ArtifactError {
  const code = (error as { code?: unknown } | null)?.code;
  if (code === 'EACCES' || code === 'EPERM') {
    return new ArtifactError(
      'AccessDenied',
      `no permission to open ${devicePath}`,
      { hint: `run: sudo chmod 666 ${devicePath}; a container also needs --device ${devicePath}` },
      error,
    );
  }
  return new ArtifactError(
    'Unsupported',
    `${devicePath} cannot be opened: the kernel has no FUSE, or this container no access to it`,
    { hint: `run: sudo modprobe fuse; start a container with --device ${devicePath} --cap-add SYS_ADMIN` },
    error,
  );
}

function mountError(path: string, errno: number): ArtifactError {
  const { EPERM, EACCES, EBUSY, ENODEV } = constants.errno;
  if (errno === EPERM || errno === EACCES) {
    return new ArtifactError('NotPermitted', `mounting at ${path} is not permitted here`, {
      hint: 'start the container with --cap-add SYS_ADMIN --device /dev/fuse, or mount with fusermount3',
    });
  }
  if (errno === EBUSY) return new ArtifactError('Busy', `${path} is in use: something is mounted there`);
  if (errno === ENODEV) {
    return new ArtifactError('Unsupported', 'the kernel has no FUSE', { hint: 'run: sudo modprobe fuse' });
  }
  return new ArtifactError('Internal', `mounting at ${path} failed (errno ${errno})`);
}

/** fusermount3 mounts in its own name and sends the descriptor over a socket. */
async function mountByHelper(native: Native, path: string, options: CheckedMountOptions): Promise<number> {
  if (options.allowOther) await checkUserAllowOther();
  proveDevice(); // fusermount3 opens it in our name, and says less when it cannot
  const pair = native.socketPair();
  if (typeof pair === 'number') throw new ArtifactError('Internal', `socketpair failed (errno ${-pair})`);
  const [ours, theirs] = pair;
  const list = [`fsname=${options.fsName}`, 'subtype=artifactfs', ...commonOptions(options)];
  if (options.readOnly) list.push('ro');
  if (options.allowSetuid) list.push('suid');
  if (options.allowDevices) list.push('dev');
  try {
    const { exitCode, message } = await runFusermount(['-o', list.join(','), '--', path], theirs);
    if (exitCode !== 0) throw helperError(path, message);
    const fd = native.receiveDescriptor(ours);
    if (fd < 0) throw new ArtifactError('Internal', `fusermount3 sent no descriptor (errno ${-fd})`);
    return fd;
  } finally {
    closeSync(ours);
    closeSync(theirs);
  }
}

function helperError(path: string, message: string): ArtifactError {
  const text = `fusermount3 could not mount at ${path}: ${message}`;
  return /permi|not allowed|access|owner/i.test(message)
    ? new ArtifactError('NotPermitted', text, { hint: 'choose a directory that is yours' })
    : new ArtifactError('Internal', text);
}

/** Throws NotPermitted when this user may not let others in. */
export async function checkUserAllowOther(): Promise<void> {
  if (process.getuid?.() === 0) return;
  const text = await readFile('/etc/fuse.conf', 'utf8').catch(() => '');
  if (/^\s*user_allow_other\s*(#.*)?$/m.test(text)) return;
  throw new ArtifactError('NotPermitted', 'this machine does not let ordinary users share their mounts', {
    hint: 'add the line user_allow_other to /etc/fuse.conf, or mount without allow_other',
  });
}
