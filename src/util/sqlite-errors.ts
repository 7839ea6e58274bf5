import { ArtifactError, type ErrorCode } from '../model/errors.js';

export function isSqliteError(error: unknown): boolean {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' && code.startsWith('SQLITE_');
}

/**
 * Gives a failure of SQLite, or of a system call on its files, a code and the file's path. Errors with a code of ours
 * pass unchanged; what is neither (a broken constraint, wrong SQL) is a bug of ours: `Internal`.
 */
export function sqliteFailure(error: unknown, path: string): ArtifactError {
  if (error instanceof ArtifactError) return error;
  const message = error instanceof Error ? error.message : String(error);
  const failure = classify((error as { code?: unknown } | null)?.code);
  const hint = failure.hint === undefined ? {} : { hint: failure.hint };
  return new ArtifactError(failure.code, `${path}: ${failure.words}: ${message}`, { ...hint, path }, error);
}

interface Failure {
  readonly code: ErrorCode;
  readonly words: string;
  readonly hint?: string;
}

function classify(code: unknown): Failure {
  if (typeof code !== 'string') return unexpected;
  const exact = byCode.get(code);
  if (exact !== undefined) return exact;
  // Extended codes repeat the primary one: SQLITE_CORRUPT_INDEX, SQLITE_BUSY_SNAPSHOT.
  const primary = /^SQLITE_[A-Z]+/.exec(code)?.[0];
  return byCode.get(primary ?? '') ?? unexpected;
}

const unexpected: Failure = { code: 'Internal', words: 'local database failed' };
const corrupt: Failure = {
  code: 'Corrupt',
  words: 'not a readable database',
  hint: 'keep a copy of the file; only catalog.db may be deleted, it is rebuilt from the store',
};
const full: Failure = { code: 'NoSpace', words: 'local disk full', hint: 'free space in its directory' };
// Quotas, and a full disk below -shm or a delayed write, reach us under these names and not as SQLITE_FULL.
const cannotWrite: Failure = {
  code: 'NoSpace',
  words: 'local disk refuses writes (full, over quota or failing)',
  hint: 'free space in its directory, and look into the system log for disk errors',
};
const denied: Failure = { code: 'AccessDenied', words: 'not allowed', hint: 'check its owner and mode' };
const readOnly: Failure = { code: 'ReadOnly', words: 'cannot be written' };
const busy: Failure = {
  code: 'Busy',
  words: 'locked by another process',
  hint: 'end the other artifactfs that uses this state directory',
};
const missing: Failure = { code: 'NotFound', words: 'no such file or directory' };

const byCode: ReadonlyMap<string, Failure> = new Map(
  Object.entries({
    SQLITE_NOTADB: corrupt,
    SQLITE_CORRUPT: corrupt,
    SQLITE_FORMAT: corrupt,
    SQLITE_IOERR: { code: 'Corrupt', words: 'local disk failed', hint: 'look into the system log' },
    SQLITE_FULL: full,
    SQLITE_IOERR_WRITE: cannotWrite,
    SQLITE_IOERR_FSYNC: cannotWrite,
    SQLITE_IOERR_DIR_FSYNC: cannotWrite,
    SQLITE_IOERR_TRUNCATE: cannotWrite,
    SQLITE_IOERR_SHMSIZE: cannotWrite,
    SQLITE_IOERR_SHMMAP: cannotWrite,
    SQLITE_BUSY: busy,
    SQLITE_LOCKED: busy,
    SQLITE_READONLY: readOnly,
    SQLITE_PERM: denied,
    SQLITE_AUTH: denied,
    SQLITE_CANTOPEN: {
      code: 'AccessDenied',
      words: 'cannot be opened',
      hint: 'check that it is a file of yours',
    },
    ENOENT: missing,
    ENOTDIR: missing,
    EACCES: denied,
    EPERM: denied,
    EROFS: readOnly,
    ENOSPC: full,
    EDQUOT: full,
    EIO: { code: 'Corrupt', words: 'local disk failed', hint: 'look into the system log' },
  } satisfies Record<string, Failure>),
);
