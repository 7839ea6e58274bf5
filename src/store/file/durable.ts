import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import { type FileHandle, mkdir, open, rename, rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import { errnoOf } from './file-errors.js';

export const dirMode = 0o700;
export const fileMode = 0o600;
const placeAttemptsMax = 10;

/** Writes under the root so that a name, once it can be seen, survives a power cut with its whole content. */
export class DurableDir {
  readonly root: string;
  readonly #tmp: string;
  readonly #running = new Map<string, Promise<void>>();
  readonly #waiting = new Map<string, Promise<void>>();

  constructor(root: string) {
    this.root = root;
    this.#tmp = join(root, '.tmp');
  }

  /** Calls `fill` with a new private file, makes its content durable, then `place`s it; removes it in any case. */
  async write(
    fill: (file: FileHandle) => Promise<void>,
    place: (tmp: string) => Promise<void>,
  ): Promise<void> {
    const tmp = join(this.#tmp, randomUUID());
    const file = await this.#create(tmp);
    try {
      try {
        await fill(file);
        await file.datasync();
      } finally {
        await file.close();
      }
      await place(tmp);
    } finally {
      await rm(tmp, { force: true });
    }
  }

  /** Moves or links `tmp` to `path` by `how`, making the directories on the way; durable when it resolves. */
  async place(
    tmp: string,
    path: string,
    how: (from: string, to: string) => Promise<void> = rename,
  ): Promise<void> {
    for (let attempt = 1; ; attempt++) {
      try {
        await how(tmp, path);
        break;
      } catch (error) {
        // The directory is missing, or deleteMany removed it as empty just now.
        if (errnoOf(error) !== 'ENOENT' || attempt === placeAttemptsMax) throw error;
        await this.makeDir(dirname(path));
      }
    }
    await this.syncDir(dirname(path));
  }

  /** Makes a directory below the root, and those on the way. Never the root: when that is gone, so is the store. */
  async makeDir(path: string): Promise<void> {
    if (path === this.root) return;
    try {
      await mkdir(path, { mode: dirMode });
    } catch (error) {
      const errno = errnoOf(error);
      if (errno === 'EEXIST') return;
      if (errno !== 'ENOENT' || dirname(path) === this.root) throw error;
      await this.makeDir(dirname(path));
      return this.makeDir(path);
    }
    await this.syncDir(dirname(path));
  }

  /** Callers that wait for a running sync of the same directory share the next one. */
  syncDir(path: string): Promise<void> {
    const waiting = this.#waiting.get(path);
    if (waiting !== undefined) return waiting;
    const next = (this.#running.get(path) ?? Promise.resolve()).then(() => {
      this.#waiting.delete(path);
      const sync = syncOnce(path);
      const settled: Promise<void> = sync
        .catch(() => undefined)
        .then(() => {
          if (this.#running.get(path) === settled) this.#running.delete(path);
        });
      this.#running.set(path, settled);
      return sync;
    });
    this.#waiting.set(path, next);
    return next;
  }

  async #create(tmp: string): Promise<FileHandle> {
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_EXCL;
    try {
      return await open(tmp, flags, fileMode);
    } catch (error) {
      if (errnoOf(error) !== 'ENOENT') throw error;
      await this.makeDir(this.#tmp);
      return open(tmp, flags, fileMode);
    }
  }
}

async function syncOnce(path: string): Promise<void> {
  let dir: FileHandle;
  try {
    dir = await open(path, constants.O_RDONLY | constants.O_DIRECTORY);
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return; // emptied and removed by deleteMany: nothing to keep
    throw error;
  }
  try {
    await dir.sync();
  } finally {
    await dir.close();
  }
}

/** Writes all chunks, in as few calls as the system takes them in. */
export async function writeChunks(
  file: FileHandle,
  chunks: readonly Buffer[],
  offset: number,
): Promise<void> {
  let position = offset;
  for (const chunk of chunks) {
    for (let done = 0; done < chunk.length; ) {
      const { bytesWritten } = await file.write(chunk, done, chunk.length - done, position);
      done += bytesWritten;
      position += bytesWritten;
    }
  }
}
