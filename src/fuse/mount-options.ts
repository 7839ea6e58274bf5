import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { RequestFailure } from './driver.js';

export type { RequestFailure } from './driver.js';

export interface MountOptions {
  /** An existing directory. */
  readonly mountPoint: string;
  /** First column of `df` and /proc/mounts; default `artifactfs`. */
  readonly fsName?: string;
  /** Other users may enter; the modes of the files then decide. Ordinary users need `user_allow_other` for it. */
  readonly allowOther?: boolean;
  /** The kernel refuses every change with EROFS, before the file system is asked. */
  readonly readOnly?: boolean;
  /** Mount over a directory with files in it, which are hidden meanwhile. */
  readonly allowNonEmpty?: boolean;
  /**
   * Honour setuid and setgid bits (root only). Off by default, for root too: files come from a shared bucket, and a
   * program of somebody else must not run as root. The modes are kept and shown either way.
   */
  readonly allowSetuid?: boolean;
  /** Let device nodes be opened (root only). Off by default for the same reason; the nodes are kept either way. */
  readonly allowDevices?: boolean;
  /** The kernel collects small writes and sends them later. Then `write` returns before the daemon has the bytes. */
  readonly writebackCache?: boolean;
  /** Count epochs of names where the kernel does (7.44); default true. Without, each name is announced by itself. */
  readonly epochs?: boolean;
  /** How far the kernel reads ahead, where this user may set it; default 4 MiB. A multiple of 4096. */
  readonly readAheadBytes?: number;
  /** How to mount: `auto` is directly for root, else with fusermount3. */
  readonly by?: 'auto' | 'mount' | 'fusermount3';
  /** How long the kernel waits for an answer, in ms; 0 (default) for as long as it takes. Commits always have time. */
  readonly requestTimeoutMs?: number;
  /** How long requests under way may go on when the mount is over, in ms; 0 (default) for as long as they take. */
  readonly endTimeoutMs?: number;
  /** Memory for data of writes that the file system has not let go of yet; default 64 MiB. Then the kernel waits. */
  readonly requestMemoryBytes?: number;
  /** Failures that somebody should read about. Must not throw. */
  readonly onError: (failure: RequestFailure) => void;
}

/** All options, with defaults. */
export interface CheckedMountOptions {
  readonly mountPoint: string;
  readonly fsName: string;
  readonly allowOther: boolean;
  readonly readOnly: boolean;
  readonly allowNonEmpty: boolean;
  readonly allowSetuid: boolean;
  readonly allowDevices: boolean;
  readonly writebackCache: boolean;
  readonly epochs: boolean;
  readonly readAheadBytes: number;
  readonly requestTimeoutMs: number;
  readonly endTimeoutMs: number;
  readonly by: 'mount' | 'fusermount3';
  readonly requestMemoryBytes: number;
  readonly onError: (failure: RequestFailure) => void;
}

export const readAheadBytesDefault = 4 << 20;
const requestMemoryBytesDefault = 64 << 20;
const readAheadBytesMax = 64 << 20;
const pageBytes = 4096;

/** Throws Invalid for what can never work, NotPermitted for what this user may not. */
export function checkMountOptions(options: MountOptions, isRoot: boolean): CheckedMountOptions {
  const by = options.by ?? 'auto';
  const checked: CheckedMountOptions = {
    mountPoint: options.mountPoint,
    fsName: options.fsName ?? 'artifactfs',
    allowOther: options.allowOther ?? false,
    readOnly: options.readOnly ?? false,
    allowNonEmpty: options.allowNonEmpty ?? false,
    allowSetuid: options.allowSetuid ?? false,
    allowDevices: options.allowDevices ?? false,
    writebackCache: options.writebackCache ?? false,
    epochs: options.epochs ?? true,
    readAheadBytes: options.readAheadBytes ?? readAheadBytesDefault,
    requestTimeoutMs: options.requestTimeoutMs ?? 0,
    endTimeoutMs: options.endTimeoutMs ?? 0,
    by: by === 'auto' ? (isRoot ? 'mount' : 'fusermount3') : by,
    requestMemoryBytes: options.requestMemoryBytes ?? requestMemoryBytesDefault,
    onError: options.onError,
  };
  // A comma would end the option that it is handed over in; a backslash would quote.
  if (!/^[^,\\\s\p{Cc}]+$/u.test(checked.fsName) || checked.fsName.length > limits.nameBytesMax) {
    throw new ArtifactError(
      'Invalid',
      `fsName "${checked.fsName}": no spaces, commas or backslashes, please`,
    );
  }
  const ahead = checked.readAheadBytes;
  if (!Number.isInteger(ahead) || ahead < 0 || ahead > readAheadBytesMax || ahead % pageBytes !== 0) {
    throw new ArtifactError(
      'Invalid',
      `readAheadBytes ${ahead}: a multiple of ${pageBytes} up to ${readAheadBytesMax}`,
    );
  }
  if (!isRoot && (checked.allowSetuid || checked.allowDevices)) {
    throw new ArtifactError('NotPermitted', 'only root may mount with allowSetuid or allowDevices');
  }
  return checked;
}
