import { ArtifactError, type ErrorCode } from '../../model/errors.js';
import { interrupted } from '../keys.js';

/** What the operating system's refusals mean for a store. ENOENT is decided by the caller, who knows what was missing. */
const codes: Readonly<Record<string, ErrorCode>> = {
  ENOSPC: 'NoSpace',
  EDQUOT: 'NoSpace',
  EACCES: 'StoreDenied',
  EPERM: 'StoreDenied',
  EROFS: 'StoreDenied',
  EFBIG: 'TooLarge',
  ENAMETOOLONG: 'Invalid',
  ELOOP: 'Invalid',
};

export const errnoOf = (error: unknown): string | undefined => {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : undefined;
};

export const isMissing = (error: unknown): boolean => ['ENOENT', 'ENOTDIR'].includes(errnoOf(error) ?? '');

/** Anything that is not in the table (EIO, EMFILE, ESTALE of a network disk) may succeed later. */
export function fileError(url: string, what: string, error: unknown, signal?: AbortSignal): ArtifactError {
  if (error instanceof ArtifactError) return error;
  if (signal?.aborted === true) return interrupted(signal, error);
  const errno = errnoOf(error);
  const code = (errno !== undefined && codes[errno]) || 'StoreUnavailable';
  const message = `${what} in ${url} failed: ${error instanceof Error ? error.message : String(error)}`;
  const hint = hints[code];
  return new ArtifactError(code, message, hint === undefined ? {} : { hint }, error);
}

const hints: Partial<Record<ErrorCode, string>> = {
  NoSpace: 'free space on the disk that holds the store',
  StoreDenied: 'give this user the right to read and write the directory of the store',
};
