import { ArtifactError, type ErrorCode } from '../../model/errors.js';
import { interrupted } from '../keys.js';
import { keysHint } from './s3-options.js';

/** The answers of S3 services, by the code in the error document. */
const byName: Readonly<Record<string, ErrorCode>> = {
  NoSuchKey: 'NotFound',
  NoSuchUpload: 'NotFound',
  NoSuchBucket: 'StoreMissing',
  // 409: somebody else's request on the same key is under way
  ConditionalRequestConflict: 'Busy',
  OperationAborted: 'Busy',
  // credentials and policy
  AccessDenied: 'StoreDenied',
  InvalidAccessKeyId: 'StoreDenied',
  SignatureDoesNotMatch: 'StoreDenied',
  ExpiredToken: 'StoreDenied',
  InvalidToken: 'StoreDenied',
  AuthorizationHeaderMalformed: 'StoreDenied',
  PermanentRedirect: 'StoreDenied',
  CredentialsProviderError: 'StoreDenied',
  TokenProviderError: 'StoreDenied',
  // throttling, whatever status it comes with (some services say 403 or 429)
  SlowDown: 'StoreUnavailable',
  SlowDownRead: 'StoreUnavailable',
  SlowDownWrite: 'StoreUnavailable',
  Throttling: 'StoreUnavailable',
  ThrottlingException: 'StoreUnavailable',
  ThrottledException: 'StoreUnavailable',
  RequestThrottled: 'StoreUnavailable',
  RequestLimitExceeded: 'StoreUnavailable',
  BandwidthLimitExceeded: 'StoreUnavailable',
  TooManyRequests: 'StoreUnavailable',
  // the service's own troubles, also those that come as 400
  InternalError: 'StoreUnavailable',
  ServiceUnavailable: 'StoreUnavailable',
  RequestTimeout: 'StoreUnavailable',
  // this machine's clock is wrong; the SDK goes by that of the answer from then on
  RequestTimeTooSkewed: 'StoreUnavailable',
  // the body was damaged or cut on its way to the service, which noticed: sending it again may help
  BadDigest: 'StoreUnavailable',
  XAmzContentSHA256Mismatch: 'StoreUnavailable',
  XAmzContentChecksumMismatch: 'StoreUnavailable',
  IncompleteBody: 'StoreUnavailable',
  // limits
  EntityTooLarge: 'TooLarge',
  QuotaExceeded: 'NoSpace',
  InvalidRange: 'Corrupt',
  NotImplemented: 'Unsupported',
  MethodNotAllowed: 'Unsupported',
};

/** Answers without a known code (a HEAD has no document), by status. A 404 that names nothing proves nothing. */
const byStatus: Readonly<Record<number, ErrorCode>> = {
  301: 'StoreDenied',
  401: 'StoreDenied',
  403: 'StoreDenied',
  404: 'StoreUnavailable',
  405: 'Unsupported',
  408: 'StoreUnavailable',
  409: 'Busy',
  413: 'TooLarge',
  416: 'Corrupt',
  425: 'StoreUnavailable',
  429: 'StoreUnavailable',
  501: 'Unsupported',
  507: 'NoSpace',
};

export interface S3Failure {
  readonly name: string;
  /** Absent when no answer came. */
  readonly status: number | undefined;
  readonly message: string;
}

export function describeFailure(error: unknown): S3Failure {
  const { name, Code, message, code, $metadata } = error as {
    name?: unknown;
    Code?: unknown;
    message?: unknown;
    code?: unknown;
    $metadata?: { httpStatusCode?: number };
  };
  const text = [Code, name, code].filter((item): item is string => typeof item === 'string');
  return {
    name: text.find((item) => item in byName) ?? (typeof code === 'string' ? code : (text[0] ?? 'Error')),
    status: $metadata?.httpStatusCode,
    // The SDK's word for an answer without one.
    message: typeof message !== 'string' ? String(error) : message === 'UnknownError' ? '' : message,
  };
}

export function classify({ name, status }: S3Failure): ErrorCode {
  const named = byName[name];
  if (named !== undefined) return named;
  if (status === undefined || status < 300) return 'StoreUnavailable'; // no answer, or one that cannot be read
  return byStatus[status] ?? (status >= 500 ? 'StoreUnavailable' : 'Invalid');
}

/** The error of one operation; `where` names bucket and endpoint, never a secret. */
export function s3Error(
  where: string,
  what: string,
  error: unknown,
  signal: AbortSignal | undefined,
): ArtifactError {
  if (error instanceof ArtifactError) return error;
  if (signal?.aborted === true) return interrupted(signal, error);
  const failure = describeFailure(error);
  const code = classify(failure);
  const status = failure.status === undefined ? '' : `${failure.status} `;
  const hint = hintFor(code, failure);
  return new ArtifactError(
    code,
    `${what} in ${where} failed: ${status}${failure.name}${failure.message === '' ? '' : `: ${failure.message}`}`,
    { s3: failure.name, ...(hint === undefined ? {} : { hint }) },
    error,
  );
}

/**
 * The SDK's errors hold the whole request, signatures and session tokens with it, which must not end in a log. This
 * keeps of one what `describeFailure` reads.
 */
export function leanError(error: unknown): Error {
  const { Code, code, $metadata, stack } = error as {
    Code?: unknown;
    code?: unknown;
    $metadata?: { httpStatusCode?: number; requestId?: string };
    stack?: string;
  };
  const { name, message } = error instanceof Error ? error : new Error(String(error));
  const { httpStatusCode, requestId } = $metadata ?? {};
  const lean = Object.assign(new Error(message), {
    name,
    Code,
    code,
    $metadata: { httpStatusCode, requestId },
  });
  if (stack !== undefined) lean.stack = stack;
  return lean;
}

function hintFor(code: ErrorCode, { name, status }: S3Failure): string | undefined {
  if (name === 'CredentialsProviderError') return keysHint;
  if (name === 'RequestTimeTooSkewed') return "set this machine's clock";
  if (name === 'PermanentRedirect' || name === 'AuthorizationHeaderMalformed' || status === 301)
    return 'give the region of the bucket';
  if (code === 'StoreMissing') return 'create the bucket, or correct its name';
  if (code === 'StoreDenied')
    return 'check the keys, and that they may list, read, write and delete in this bucket';
  if (status === undefined && code === 'StoreUnavailable') return 'check the endpoint and the network';
  return undefined;
}
