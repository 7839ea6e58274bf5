import { writeFile } from 'node:fs/promises';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { FileSystem, KernelNotifier } from '../vfs/file-system.js';
import { Connection, type EndReason } from './connection.js';
import { mountDevice } from './device.js';
import { Driver } from './driver.js';
import { type CheckedMountOptions, checkMountOptions, type MountOptions } from './mount-options.js';
import { prepareMountPoint } from './mount-point.js';
import { findMount } from './mount-table.js';
import { loadNative } from './native.js';
import { initFlag2 } from './protocol/flags.js';
import { opcodeName } from './protocol/opcodes.js';
import { type UnmountOptions, unmountPath } from './unmount.js';

/** A file system that programs can use. Dispose of it to unmount, lazily if need be. */
export interface MountedFileSystem extends AsyncDisposable {
  /** Absolute, without symlinks. */
  readonly mountPoint: string;
  /** The mount of a daemon that had died was taken away first. */
  readonly recovered: boolean;
  /** Protocol version agreed on, `7.45`. */
  readonly protocol: string;
  /** How far the kernel reads ahead, in bytes, as found after mounting. */
  readonly readAheadBytes: number;
  readonly notifier: KernelNotifier;
  /**
   * Resolves when the mount is over, whoever ended it, and every request under way is settled: the file system can be
   * closed. Handles and nodes that the kernel had not given back by then never will be. Never rejects.
   */
  readonly closed: Promise<EndReason>;
  /**
   * Unmounts and waits for `closed`; with `lazy` only until the mount is gone from its name. Throws Busy when files
   * are open in it, and then it stays mounted.
   */
  unmount(options?: UnmountOptions): Promise<void>;
  /** Requests answered so far, by name; only those that came. */
  requestCounts(): Record<string, number>;
  /** Requests whose answer the file system has promised. */
  pendingCount(): number;
}

/**
 * Mounts a file system on Linux with our own driver. Resolves when the kernel may use it. The calling thread then
 * serves it from its event loop: it must never touch its own mount with a synchronous call, or wait for one that does.
 *
 * Throws NotFound, Invalid, NotEmpty or Busy for the mount point, Unsupported or AccessDenied for /dev/fuse, the addon
 * and fusermount3, NotPermitted for rights.
 */
export async function mountFileSystem(
  fileSystem: FileSystem,
  options: MountOptions,
): Promise<MountedFileSystem> {
  const native = loadNative();
  const checked = checkMountOptions(options, process.geteuid?.() === 0);
  const { path, recovered } = await prepareMountPoint(checked.mountPoint, checked.allowNonEmpty);
  const driver = new Driver(fileSystem, {
    init: {
      requestBytesMax: limits.fuseRequestBytesMax,
      readAheadBytesMax: checked.readAheadBytes,
      backgroundMax: limits.fuseBackgroundRequestsMax,
      writebackCache: checked.writebackCache,
    },
    onError: checked.onError,
  });
  const fd = await mountDevice(native, path, checked);
  const connection = new Connection(native, fd, driver, {
    requestBytesMax: limits.fuseRequestBytesMax,
    onNotifyFailure: (errno) => reportNotifyFailure(checked, errno),
  });
  try {
    const { minor, flags2 } = await driver.ready;
    if ((flags2 & initFlag2.expireOnly) !== 0) connection.notifier.useExpireOnly();
    const readAheadBytes = await raiseReadAhead(path, checked.readAheadBytes);
    return mounted(driver, connection, { path, recovered, minor, readAheadBytes });
  } catch (error) {
    await unmountPath(path, { lazy: true }).catch(() => {}); // the reason is in `error`
    connection.close();
    throw error;
  }
}

function mounted(
  driver: Driver,
  connection: Connection,
  facts: { path: string; recovered: boolean; minor: number; readAheadBytes: number },
): MountedFileSystem {
  const { closed, notifier } = connection;
  const unmount = async (options: UnmountOptions = {}): Promise<void> => {
    await unmountPath(facts.path, options);
    if (!options.lazy) await closed;
  };
  return {
    mountPoint: facts.path,
    recovered: facts.recovered,
    protocol: `7.${facts.minor}`,
    readAheadBytes: facts.readAheadBytes,
    notifier,
    closed,
    unmount,
    requestCounts: () => countsByName(driver.counts),
    pendingCount: () => driver.pendingCount,
    [Symbol.asyncDispose]: async () => {
      await unmount({ lazy: true }).catch(() => {}); // unmounted already
      connection.close();
      await closed;
    },
  };
}

function countsByName(counts: readonly number[]): Record<string, number> {
  const named: Record<string, number> = {};
  counts.forEach((count, number) => {
    if (count > 0) named[opcodeName(number)] = count;
  });
  return named;
}

function reportNotifyFailure(options: CheckedMountOptions, errno: number): void {
  options.onError({
    operation: 'notify',
    nodeId: 0,
    pid: 0,
    errno,
    error: new ArtifactError('Internal', `the kernel refused an invalidation (errno ${errno})`),
  });
}

/**
 * Lets the kernel read ahead further than the 128 KiB it gives to FUSE, where this user may (root). Answers what is in
 * force; with 128 KiB reads come in pieces of 128 KiB, which costs speed and nothing else.
 */
async function raiseReadAhead(path: string, bytes: number): Promise<number> {
  const untouched = 128 << 10;
  const device = (await findMount(path))?.device;
  if (device === undefined) return untouched;
  try {
    await writeFile(`/sys/class/bdi/${device}/read_ahead_kb`, String(bytes >> 10));
    return bytes;
  } catch {
    return untouched;
  }
}
