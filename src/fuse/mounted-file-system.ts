import type { KernelNotifier } from '../vfs/file-system.js';
import type { UnmountOptions } from './unmount.js';

/** How a connection ended. */
export type EndReason =
  /** Somebody unmounted: us, `umount`, `fusermount3 -u`; also by force. */
  | 'unmounted'
  /** Somebody wrote to `abort` under /sys/fs/fuse/connections. */
  | 'aborted'
  /** The device answered something unexpected. */
  | 'failed';

/** A file system that programs can use. Dispose of it to unmount, lazily if need be. */
export interface MountedFileSystem extends AsyncDisposable {
  /** Absolute, without symlinks. */
  readonly mountPoint: string;
  /** The mount of a daemon that had died was taken away first. */
  readonly recovered: boolean;
  /** Protocol version agreed on, `7.45`; or the library that talks to the kernel, where that is not told. */
  readonly protocol: string;
  /** How far the kernel reads ahead, in bytes, as found after mounting. */
  readonly readAheadBytes: number;
  readonly notifier: KernelNotifier;
  /**
   * Resolves when the mount is over, whoever ended it, and every request under way is settled, or has had
   * `endTimeoutMs` for it: the file system can be closed. Handles and nodes that the kernel had not given back by then never will be. Never rejects.
   */
  readonly closed: Promise<EndReason>;
  /**
   * Unmounts and waits for `closed`; with `lazy` only until the mount is gone from its name. Throws Busy when files
   * are open in it, and then it stays mounted.
   */
  unmount(options?: UnmountOptions): Promise<void>;
  /** Requests answered so far, by name; only those that came. */
  requestCounts(): Record<string, number>;
  pending(): PendingFigures;
  /** Memory that requests are read into, in bytes. */
  requestMemoryBytes(): number;
}

/** Requests whose answer the file system has promised. */
export interface PendingFigures {
  /** The kernel waits for so many, */
  readonly count: number;
  /** for the oldest so long, in ms. */
  readonly oldestMs: number;
  /** So many more were answered without their result, after their deadline or an interrupt, and are under way. */
  readonly givenUpCount: number;
}
