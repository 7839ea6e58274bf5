import { createHash } from 'node:crypto';
import { chmod, mkdir, mkdtemp, rm, stat } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { ArtifactError, isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { type Database, openDatabase } from '../util/sqlite.js';
import { type DaemonRecord, readRecord, writeRecord } from './registry.js';

/** What the kernel takes as the path of a socket; the terminating NUL is not counted. */
const socketPathBytesMax = process.platform === 'linux' ? 107 : 103;

/**
 * The local state of one workspace: a private directory that one process at a time may use.
 *
 * The lock is the write lock of a SQLite database: a lock of the kernel on an open file, which goes with the process
 * however it dies, is seen across PID namespaces (containers that share the directory), and is never left behind.
 */
export class StateDirectory implements AsyncDisposable {
  readonly path: string;
  readonly socketPath: string;
  readonly #lock: Database;
  readonly #temporary: boolean;

  private constructor(path: string, socketPath: string, lock: Database, temporary: boolean) {
    this.path = path;
    this.socketPath = socketPath;
    this.#lock = lock;
    this.#temporary = temporary;
  }

  /**
   * Locks `base`/`workspaceId`, making it when it is missing; `base` null means a temporary one, removed at the end.
   * `Busy` names who has it (details.pid, mountPoint, socketPath); a command that only works for a moment is waited for.
   */
  static async open(base: string | null, workspaceId: string): Promise<StateDirectory> {
    const path =
      base === null
        ? await mkdtemp(join(tmpdir(), 'artifactfs-'))
        : await privateDirectory(join(base, workspaceId));
    const lock = await acquire(path);
    try {
      return new StateDirectory(path, await socketPathFor(path), lock, base === null);
    } catch (error) {
      lock.close();
      throw error;
    }
  }

  /** Tells others who is here, for their messages. */
  async announce(record: DaemonRecord): Promise<void> {
    await writeRecord(join(this.path, 'daemon.json'), record);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await rm(this.socketPath, { force: true });
    await rm(join(this.path, 'daemon.json'), { force: true });
    this.#lock.close();
    if (this.#temporary) await rm(this.path, { recursive: true, force: true });
  }
}

async function privateDirectory(path: string): Promise<string> {
  try {
    await mkdir(path, { recursive: true, mode: 0o700 });
    const { uid, mode } = await stat(path);
    if (process.getuid !== undefined && uid !== process.getuid()) {
      throw new ArtifactError('AccessDenied', `state directory ${path} belongs to another user`, {
        hint: 'choose another with --state-dir',
      });
    }
    if ((mode & 0o077) !== 0) await chmod(path, 0o700);
    return path;
  } catch (error) {
    if (error instanceof ArtifactError) throw error;
    const { code, message } = error as NodeJS.ErrnoException;
    throw new ArtifactError(
      code === 'ENOSPC' || code === 'EDQUOT' ? 'NoSpace' : 'AccessDenied',
      `state directory ${path} cannot be made: ${message}`,
      { hint: 'choose another with --state-dir' },
      error,
    );
  }
}

/** While commands give the lock to one another each of them is waited for anew. */
async function acquire(path: string): Promise<Database> {
  let deadline = Date.now() + limits.stateLockWaitMsMax;
  let lastPid: number | undefined;
  for (;;) {
    const lock = tryLock(join(path, 'lock.db'));
    if (lock !== undefined) return lock;
    const holder = await readRecord(join(path, 'daemon.json'));
    if (holder !== undefined && holder.pid !== lastPid) {
      lastPid = holder.pid;
      deadline = Date.now() + limits.stateLockWaitMsMax;
    }
    // Without a record it is starting or ending.
    const passing = holder === undefined || holder.transient;
    if (!passing || Date.now() > deadline) throw busy(path, holder);
    await sleep(50);
  }
}

function tryLock(path: string): Database | undefined {
  const db = openDatabase(path, { migrations: [] });
  try {
    db.pragma('busy_timeout = 0');
    db.exec('BEGIN IMMEDIATE');
    return db;
  } catch (error) {
    db.close();
    if (isCode(error, 'Busy') || (error as { code?: unknown }).code === 'SQLITE_BUSY') return undefined;
    throw error;
  }
}

function busy(path: string, holder: DaemonRecord | undefined): ArtifactError {
  if (holder === undefined) return new ArtifactError('Busy', `${path} is in use by another artifactfs`);
  const { pid, mountPoint, socketPath, transient } = holder;
  const where = mountPoint === null ? '' : ` and is mounted at ${mountPoint}`;
  return new ArtifactError('Busy', `workspace ${holder.store} is in use by process ${pid}${where}`, {
    hint:
      mountPoint === null
        ? 'try again when it is done'
        : `use that mount, or end it first: artifactfs unmount ${mountPoint}`,
    pid,
    mountPoint,
    socketPath,
    transient,
  });
}

/** In the state directory; where the kernel takes no path of that length, in a private one of short name. */
async function socketPathFor(path: string): Promise<string> {
  const inside = join(path, 'control.sock');
  if (Buffer.byteLength(inside) <= socketPathBytesMax) return inside;
  const directory = await privateDirectory(join(tmpdir(), `artifactfs-${process.getuid?.() ?? 0}`));
  const short = join(directory, `${createHash('sha256').update(path).digest('hex').slice(0, 16)}.sock`);
  if (Buffer.byteLength(short) <= socketPathBytesMax) return short;
  throw new ArtifactError('NameTooLong', `no socket fits into ${path} or ${directory}`, {
    hint: 'choose a shorter --state-dir',
  });
}
