import { constants } from 'node:os';
import type { ErrorCode } from '../model/errors.js';

const { errno } = constants;

/** What a program sees for each failure: the one place where it is decided. */
export const errnoOfCode = {
  NotFound: errno.ENOENT,
  Exists: errno.EEXIST,
  NotDirectory: errno.ENOTDIR,
  IsDirectory: errno.EISDIR,
  NotEmpty: errno.ENOTEMPTY,
  NameTooLong: errno.ENAMETOOLONG,
  InvalidName: errno.EINVAL,
  TooManyLinks: errno.EMLINK,
  Loop: errno.EINVAL, // what rename(2) says of a directory moved into itself
  CrossDevice: errno.EXDEV,
  NoAttribute: errno.ENODATA,
  ReadOnly: errno.EROFS,
  NotPermitted: errno.EPERM,
  AccessDenied: errno.EACCES,
  Invalid: errno.EINVAL,
  TooLarge: errno.EFBIG,
  NoSpace: errno.ENOSPC,
  Unsupported: errno.EOPNOTSUPP,
  BadHandle: errno.EBADF,
  Executing: errno.ETXTBSY,
  NotSeekable: errno.ENXIO,
  NothingStaged: errno.ENODATA, // "No data available", seen by who writes to `commit`
  Conflict: errno.ECANCELED, // not EBUSY or EAGAIN: trying again does not help
  OutcomeUnknown: errno.EINPROGRESS,
  Busy: errno.EBUSY,
  Stale: errno.ESTALE,
  StoreUnavailable: errno.EIO,
  StoreDenied: errno.EACCES,
  StoreMissing: errno.EIO, // never ENOENT: the bucket is missing, not the file
  Corrupt: errno.EIO,
  UnsupportedFormat: errno.EOPNOTSUPP,
  Interrupted: errno.EINTR,
  TimedOut: errno.ETIMEDOUT,
  Internal: errno.EIO,
} as const satisfies Record<ErrorCode, number>;

/** Failures of which the errno tells too little: somebody has to read about them in the log. */
export const codesToReport: ReadonlySet<ErrorCode> = new Set<ErrorCode>([
  'NoSpace',
  'OutcomeUnknown',
  'StoreUnavailable',
  'StoreDenied',
  'StoreMissing',
  'Corrupt',
  'UnsupportedFormat',
  'TimedOut',
  'Internal',
]);
