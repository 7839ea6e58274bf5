import { ArtifactError, type ErrorCode } from '../model/errors.js';
import type { ErrorBody } from './schemas.js';

/** The HTTP status of every failure. */
export const httpStatus = {
  NotFound: 404,
  Exists: 409,
  NotDirectory: 409,
  IsDirectory: 409,
  NotEmpty: 409,
  NameTooLong: 400,
  InvalidName: 400,
  TooManyLinks: 409,
  Loop: 409,
  CrossDevice: 409,
  NoAttribute: 404,
  ReadOnly: 403,
  NotPermitted: 403,
  AccessDenied: 403,
  Invalid: 400,
  TooLarge: 413,
  NoSpace: 507,
  Unsupported: 501,
  BadHandle: 400,
  Executing: 409,
  NotSeekable: 416,
  NothingStaged: 409,
  Conflict: 409,
  OutcomeUnknown: 504,
  Busy: 423,
  Stale: 412,
  StoreUnavailable: 503,
  StoreDenied: 502,
  StoreMissing: 502,
  Corrupt: 500,
  UnsupportedFormat: 501,
  Interrupted: 499,
  TimedOut: 504,
  Internal: 500,
} as const satisfies Record<ErrorCode, number>;

export function errorBody(error: ArtifactError): ErrorBody {
  const { hint, ...details } = error.details;
  return { code: error.code, message: error.message, hint: hint ?? null, details };
}

/** The error that a body describes, as if it had been thrown here. */
export function errorFromBody(body: ErrorBody): ArtifactError {
  const known = Object.hasOwn(httpStatus, body.code);
  const code = known ? (body.code as ErrorCode) : 'Internal';
  return new ArtifactError(code, body.message, {
    ...body.details,
    ...(body.hint === null ? {} : { hint: body.hint }),
  });
}
