import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { within } from '../util/within.js';
import type { FileSystem } from '../vfs/file-system.js';
import { Connection } from './connection.js';
import { mountDevice } from './device.js';
import { Driver } from './driver.js';
import { tuneKernel } from './kernel-settings.js';
import { type CheckedMountOptions, checkMountOptions, type MountOptions } from './mount-options.js';
import { prepareMountPoint } from './mount-point.js';
import type { MountedFileSystem } from './mounted-file-system.js';
import { loadNative } from './native.js';
import { epochMinorMin, initFlag, initFlag2, pruneMinorMin } from './protocol/flags.js';
import { opcodeName } from './protocol/opcodes.js';

import { type UnmountOptions, unmountPath } from './unmount.js';
import { WriteBack } from './write-back.js';

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
      passthrough: process.geteuid?.() === 0,
    },
    requestTimeoutMs: checked.requestTimeoutMs,
    onError: checked.onError,
  });
  const fd = await mountDevice(native, path, checked);
  const connection = new Connection(native, fd, driver, {
    requestBytesMax: limits.fuseRequestBytesMax,
    memoryBytes: checked.requestMemoryBytes,
    endTimeoutMs: checked.endTimeoutMs,
    onUnfinished: (count) => reportUnfinished(checked, count),
    onNotifyFailure: (errno) => reportNotifyFailure(checked, errno),
  });
  try {
    const { minor, flags, flags2 } = await driver.ready;
    if ((flags2 & initFlag2.expireOnly) !== 0) connection.notifier.useExpireOnly();
    if ((flags2 & initFlag2.passthrough) !== 0) connection.usePassthrough();
    connection.notifier.keepsWrites = (flags & initFlag.writebackCache) !== 0;
    const writeBack = new WriteBack(native, path, (node) => fileSystem.pathOf?.(node), connection.notifier);
    connection.notifier.writeBack = (nodes) => writeBack.run(nodes);
    if (minor >= pruneMinorMin) connection.notifier.usePrune();
    if (checked.epochs && minor >= epochMinorMin) connection.notifier.useEpoch();
    const readAheadBytes = await tuneKernel(path, checked.readAheadBytes);
    return mounted(driver, connection, writeBack, { path, recovered, minor, readAheadBytes });
  } catch (error) {
    await unmountPath(path, { lazy: true }).catch(() => {}); // the reason is in `error`
    connection.close();
    throw error;
  }
}

function mounted(
  driver: Driver,
  connection: Connection,
  writeBack: WriteBack,
  facts: { path: string; recovered: boolean; minor: number; readAheadBytes: number },
): MountedFileSystem {
  const { closed, notifier } = connection;
  const unmount = async (options: UnmountOptions = {}): Promise<void> => {
    // A file that we sync ourselves is no reason to say that the mount is in use.
    if (!options.lazy) await within(limits.unmountWriteBackMsMax, writeBack.idle());
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
    requestMemoryBytes: () => connection.memoryBytes,
    pending: () => {
      const { count, givenUpCount } = driver.pending;
      return { count, oldestMs: driver.pending.oldestMs(), givenUpCount };
    },
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

function reportUnfinished(options: CheckedMountOptions, count: number): void {
  const error = new ArtifactError(
    'TimedOut',
    `${count} requests had not ended ${options.endTimeoutMs / 1000} s after the mount`,
  );
  options.onError({ operation: 'unmount', nodeId: 0, pid: 0, errno: 0, error });
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
