import { constants, read } from 'node:fs';
import { promisify } from 'node:util';
import { limits } from '../../model/limits.js';
import { alignmentBytes, isAligned } from '../../util/aligned-memory.js';
import { deferred } from '../../util/deferred.js';
import { type BlockFiles, plainBlockFiles } from './block-files.js';
import { DiskPace } from './disk-pace.js';
import type { OpenFile } from './open-files.js';

const readAsync = promisify(read);

/**
 * Large reads and writes of staging files past the page cache: copying into its fresh pages costs more processor time than all
 * else that is done with the bytes, and they would be written to the disk later all the same. Only whole pages in aligned
 * memory can go so; whatever else, the caller does through the page cache, which the kernel keeps in agreement.
 */
export class DirectIo {
  readonly #openDirect: (entry: OpenFile) => number;
  readonly #blockFiles: BlockFiles;
  readonly #writers = new WeakMap<OpenFile, FileWrites>();
  #isPossible = constants.O_DIRECT !== undefined;
  readonly #pace = new DiskPace(limits.directBytesPerMsMin);

  /** `openDirect` throws where the file system cannot. */
  constructor(openDirect: (entry: OpenFile) => number, blockFiles: BlockFiles = plainBlockFiles) {
    this.#openDirect = openDirect;
    this.#blockFiles = blockFiles;
  }

  /** Writes the first bytes of `data`, and answers how many: 0 when none can go this way. Throws the system's error. */
  async write(entry: OpenFile, offset: number, data: Uint8Array): Promise<number> {
    const length = data.length - (data.length % alignmentBytes);
    if (length < limits.directBytesMin || offset % alignmentBytes !== 0 || !isAligned(data)) return 0;
    if (this.#pace.isSlow(performance.now())) return 0;
    const fd = this.#descriptor(entry);
    if (fd === null) return 0;
    let writes = this.#writers.get(entry);
    if (writes === undefined) {
      writes = new FileWrites(fd, this.#blockFiles, (bytes, ms) =>
        this.#pace.note(bytes, ms, performance.now()),
      );
      this.#writers.set(entry, writes);
    }
    return this.#unlessRefused(writes.write(offset, data.subarray(0, length)).then(() => length));
  }

  /** The same for reading, of files that were written so: what is in the page cache is read from there. */
  async read(entry: OpenFile, offset: number, target: Buffer): Promise<number> {
    const length = target.length - (target.length % alignmentBytes);
    if (length === 0 || offset % alignmentBytes !== 0 || !isAligned(target) || !this.#writers.has(entry))
      return 0;
    const fd = this.#descriptor(entry);
    if (fd === null) return 0;
    return this.#unlessRefused(readAsync(fd, target, 0, length, offset).then(({ bytesRead }) => bytesRead));
  }

  #descriptor(entry: OpenFile): number | null {
    if (!this.#isPossible) return null;
    try {
      return this.#openDirect(entry);
    } catch {
      this.#isPossible = false;
      return null;
    }
  }

  async #unlessRefused(work: Promise<number>): Promise<number> {
    try {
      return await work;
    } catch (error) {
      // This file system, or the disk below it, wants more than we keep to.
      if ((error as { code?: unknown }).code !== 'EINVAL') throw error;
      this.#isPossible = false;
      return 0;
    }
  }
}

interface Waiting {
  readonly offset: number;
  readonly data: Uint8Array;
  readonly done: ReturnType<typeof deferred<void>>;
}

/** Writes of one file, one after another, as its lock has it anyhow. What waits and follows each other goes as one. */
class FileWrites {
  readonly #fd: number;
  readonly #blockFiles: BlockFiles;
  readonly #onWritten: (bytes: number, ms: number) => void;
  #waiting: Waiting[] = [];
  #isWriting = false;

  constructor(fd: number, blockFiles: BlockFiles, onWritten: (bytes: number, ms: number) => void) {
    this.#fd = fd;
    this.#blockFiles = blockFiles;
    this.#onWritten = onWritten;
  }

  write(offset: number, data: Uint8Array): Promise<void> {
    const done = deferred();
    this.#waiting.push({ offset, data, done });
    if (!this.#isWriting) void this.#run();
    return done.promise;
  }

  async #run(): Promise<void> {
    this.#isWriting = true;
    while (this.#waiting.length > 0) {
      const run = this.#nextRun();
      try {
        await this.#writeRun(run);
        for (const { done } of run) done.resolve();
      } catch (error) {
        for (const { done } of run) done.reject(error);
      }
    }
    this.#isWriting = false;
  }

  /** The first of those that wait, and those that go on where it ends. */
  #nextRun(): Waiting[] {
    const run: Waiting[] = [];
    let end = this.#waiting[0]?.offset;
    let bytes = 0;
    while (bytes < limits.directRunBytesMax) {
      const index = this.#waiting.findIndex(({ offset }) => offset === end);
      const [next] = index < 0 ? [] : this.#waiting.splice(index, 1);
      if (next === undefined) break;
      run.push(next);
      bytes += next.data.length;
      end = next.offset + next.data.length;
    }
    return run;
  }

  async #writeRun(run: readonly Waiting[]): Promise<void> {
    const pieces = run.map(({ data }) => data);
    const ms = await this.#blockFiles.writeFollowing(this.#fd, run[0]?.offset ?? 0, pieces);
    const bytes = pieces.reduce((sum, { length }) => sum + length, 0);
    this.#onWritten(bytes, ms);
  }
}
