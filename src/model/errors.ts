/**
 * Every failure of artifactfs has one of these codes. The union is closed: fuse/errno.ts, http/ and cli/ each
 * map all of it in one exhaustive table, so a new code without an errno, a status and an exit code does not compile.
 */
export type ErrorCode =
  // names and kinds
  | 'NotFound' // the name, version, artifact or object does not exist (proved, never guessed)
  | 'Exists' // the name is taken; for stores: create-if-absent found the key present
  | 'NotDirectory'
  | 'IsDirectory'
  | 'NotEmpty'
  | 'NameTooLong'
  | 'InvalidName' // not UTF-8, a reserved name, or not allowed for an artifact
  | 'TooManyLinks'
  | 'Loop' // rename of a directory into itself
  | 'CrossDevice' // rename or link between two artifacts: programs copy instead
  | 'NoAttribute' // extended attribute missing
  // rights
  | 'ReadOnly' // versions never change; a read-only mount
  | 'NotPermitted' // the operation is refused here, whoever asks (a regular file in the root)
  | 'AccessDenied' // this caller may not
  // arguments and limits
  | 'Invalid'
  | 'TooLarge'
  | 'NoSpace' // local disk or budget full
  | 'Unsupported'
  | 'BadHandle'
  | 'Executing' // a program that runs is not emptied
  | 'NotSeekable' // lseek DATA/HOLE past the end
  // versions
  | 'NothingStaged'
  | 'Conflict' // somebody else committed a change to the same paths; details.paths names them
  | 'OutcomeUnknown' // the slot may or may not hold our record; it is being resolved
  | 'Busy' // already committing, mounted, locked, or a store answered 409
  | 'Stale' // the thing changed under the handle
  // store
  | 'StoreUnavailable' // time-out, reset, throttling, 5xx: may succeed later
  | 'StoreDenied' // credentials or policy
  | 'StoreMissing' // no such bucket or directory
  | 'Corrupt' // bytes are not what they must be: torn, foreign, truncated, wrong checksum
  | 'UnsupportedFormat' // written by a newer artifactfs
  | 'Interrupted'
  | 'TimedOut'
  | 'Internal'; // a bug of ours

export interface ErrorDetails {
  /** What the user can do about it, as one imperative sentence. */
  readonly hint?: string;
  readonly [key: string]: unknown;
}

/** The one error class. `message` names the thing and what happened to it; `cause` keeps the original. */
export class ArtifactError extends Error {
  override readonly name = 'ArtifactError';
  readonly code: ErrorCode;
  readonly details: ErrorDetails;

  constructor(code: ErrorCode, message: string, details: ErrorDetails = {}, cause?: unknown) {
    super(message, cause === undefined ? undefined : { cause });
    this.code = code;
    this.details = details;
  }
}

export function isCode(error: unknown, ...codes: ErrorCode[]): error is ArtifactError {
  return error instanceof ArtifactError && codes.includes(error.code);
}

/** Gives any thrown value a code; an error without one is a bug of ours and stays visible as `Internal`. */
export function toArtifactError(error: unknown): ArtifactError {
  if (error instanceof ArtifactError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const code = (error as { code?: unknown } | null)?.code;
  if (code === 'ENOSPC' || code === 'EDQUOT' || code === 'SQLITE_FULL') {
    return new ArtifactError(
      'NoSpace',
      `local disk full: ${message}`,
      { hint: 'free space under the state directory' },
      error,
    );
  }
  if (error instanceof Error && error.name === 'AbortError')
    return new ArtifactError('Interrupted', message, {}, error);
  return new ArtifactError('Internal', message, {}, error);
}
