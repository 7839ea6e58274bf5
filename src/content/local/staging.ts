import {
  close,
  fdatasync,
  fstatSync,
  fsync,
  lstatSync,
  mkdirSync,
  open,
  read,
  readdirSync,
  readSync,
  unlink,
  unlinkSync,
  write,
  writeSync,
} from 'node:fs';
import { readdir } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { ArtifactError, isCode, toArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { isPromise, type MaybePromise } from '../../util/maybe-promise.js';
import type { LocalRange, Staging } from '../ports.js';
import { type BlockFiles, plainBlockFiles } from './block-files.js';
import { DirectIo } from './direct-io.js';
import type { DiskBudget } from './disk-budget.js';
import { FileRange } from './local-range.js';
import { type OpenFile, OpenFiles } from './open-files.js';

const writeAsync = promisify(write);
const readAsync = promisify(read);

/**
 * The staged bytes of this mount: one sparse file `<directory>/<n>` per staged file, mode 0600.
 *
 * Calls below `syncIoBytesMax` go straight to the page cache on the event loop: the system call is shorter than the
 * way to a pool thread and back (measured for 4 KiB: 8 us against 45 us), and no turn of the loop lets two requests
 * interleave. Larger ones go through libuv's pool: their copying runs beside the loop, and a disk that cannot follow
 * holds up a pool thread and not the loop. Of those, whole pages go past the page cache (direct-io.ts).
 *
 * A failed write acknowledges nothing: the range it was for holds undefined bytes, which no extent names.
 */
export class StagingFiles implements Staging, Disposable {
  readonly directory: string;
  readonly #budget: DiskBudget;
  readonly #files: OpenFiles<number>;
  readonly #direct: DirectIo;
  /** Files whose fdatasync failed once: the kernel may have dropped their dirty pages, so they can never be synced. */
  readonly #unsyncable = new Map<number, ArtifactError>();
  /** Names made since the directory was last synced; at start nobody knows. */
  #namesMade = 1;
  #namesSynced = 0;
  #directorySync: Promise<void> | null = null;

  constructor(
    directory: string,
    budget: DiskBudget,
    openFilesMax: number = limits.stagingOpenFilesMax,
    blockFiles: BlockFiles = plainBlockFiles,
  ) {
    this.directory = directory;
    this.#budget = budget;
    this.#files = new OpenFiles((file) => this.path(file), openFilesMax);
    this.#direct = new DirectIo((entry) => this.#files.direct(entry), blockFiles);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    for (const name of readdirSync(directory)) {
      if (isFileName(name)) budget.addStaged(lstatSync(join(directory, name)).blocks * 512);
    }
  }

  path(file: number): string {
    return join(this.directory, String(file));
  }

  admitRows(): void {
    this.#budget.admitRows();
  }

  get reclaimable(): boolean {
    return this.#budget.reclaimable;
  }

  reclaimRows<T>(retry: () => MaybePromise<T>): Promise<T> {
    return this.#budget.reclaim(limits.reclaimBytesMin, retry);
  }

  usedBytes(): number {
    return this.#budget.stagedBytes;
  }

  /** Descriptors held open now. */
  get openFiles(): number {
    return this.#files.count;
  }

  write(file: number, offset: number, data: Uint8Array): MaybePromise<void> {
    this.#budget.admit(data.length);
    const written = this.#attempt(file, offset, data);
    if (written === undefined) return undefined;
    return Promise.resolve(written).then((failure) =>
      failure === undefined ? undefined : this.#retry(file, offset, data),
    );
  }

  read(file: number, offset: number, length: number): MaybePromise<Buffer> {
    const target = Buffer.allocUnsafe(length);
    const done = this.readInto(file, offset, target);
    return isPromise(done) ? done.then(() => target) : target;
  }

  /** The same for who reads it himself. */
  local(file: number, offset: number, length: number): LocalRange {
    const entry = this.#acquire(file, false);
    return new FileRange(this.#files, entry, { offset, length, crcs: null, checkedEnd: 0 });
  }

  /** Fills all of `target`; a file that ends before is `Corrupt`, because extents name only written bytes. */
  readInto(file: number, offset: number, target: Buffer): MaybePromise<void> {
    const entry = this.#acquire(file, false);
    if (target.length >= limits.syncIoBytesMax) return this.#readLarge(file, entry, offset, target);
    try {
      for (let done = 0; done < target.length; ) {
        const count = readSync(entry.fd, target, done, target.length - done, offset + done);
        if (count === 0) throw this.#short(file, offset + done);
        done += count;
      }
      return undefined;
    } catch (error) {
      throw this.#failure(error, file, 'read');
    } finally {
      this.#files.release(entry);
    }
  }

  async sync(file: number): Promise<void> {
    const failed = this.#unsyncable.get(file);
    if (failed !== undefined) throw failed;
    const entry = this.#acquireToSync(file);
    try {
      await promisify(fdatasync)(entry.fd);
      this.#account(entry);
    } catch (error) {
      const failure = this.#failure(error, file, 'sync');
      this.#unsyncable.set(file, failure);
      throw failure;
    } finally {
      this.#files.release(entry);
    }
    await this.#syncDirectory();
  }

  remove(file: number): void {
    this.#unsyncable.delete(file);
    const path = this.path(file);
    let allocated = this.#files.peek(file)?.allocated;
    this.#files.drop(file);
    try {
      allocated ??= lstatSync(path).blocks * 512;
      // Freeing the blocks of a large file takes long. If it fails, the next start finds a file nobody names.
      if (allocated > limits.unlinkSyncBytesMax) this.#budget.addLeaving(allocated, this.#unlinkLater(file));
      else unlinkSync(path);
    } catch (error) {
      if (!hasCode(error, 'ENOENT')) throw this.#failure(error, file, 'remove');
      allocated = 0;
    }
    this.#budget.addStaged(-allocated);
  }

  /** Until its name is gone somebody may have opened it anew: that would keep its blocks. */
  async #unlinkLater(file: number): Promise<void> {
    try {
      await promisify(unlink)(this.path(file));
    } finally {
      this.#files.drop(file);
    }
  }

  /** Lets `take` move the file away. False when it threw: the file is still here. Open readers of it go on. */
  handOver(file: number, take: (path: string) => void): boolean {
    const path = this.path(file);
    const allocated = lstatSync(path, { throwIfNoEntry: false })?.blocks ?? 0;
    // Off this side of the budget first: the other side is about to count it.
    this.#budget.addStaged(-allocated * 512);
    try {
      take(path);
    } catch {
      this.#budget.addStaged(allocated * 512);
      return false;
    }
    this.#files.drop(file);
    this.#unsyncable.delete(file);
    return true;
  }

  async files(): Promise<number[]> {
    const names = await readdir(this.directory);
    return names.filter(isFileName).map(Number);
  }

  [Symbol.dispose](): void {
    this.#files.closeAll();
  }

  /** Answers the failure instead of throwing it when freeing cache may help: that is the one case that is tried again. */
  #attempt(file: number, offset: number, data: Uint8Array): MaybePromise<ArtifactError | undefined> {
    const large = data.length >= limits.syncIoBytesMax;
    const full = (error: unknown): ArtifactError => {
      if (isCode(error, 'NoSpace') && this.#budget.reclaimable) return error;
      throw error;
    };
    try {
      this.#budget.admitOnDisk(data.length);
      const entry = this.#acquire(file, true);
      if (large) return this.#writeLarge(file, entry, offset, data).then(() => undefined, full);
      this.#writeSmall(file, entry, offset, data);
      return undefined;
    } catch (error) {
      return full(error);
    }
  }

  /** The disk is full while the cache holds bytes, or removed files do: those go first. */
  #retry(file: number, offset: number, data: Uint8Array): Promise<void> {
    return this.#budget.reclaim(Math.max(data.length, limits.reclaimBytesMin), () => {
      this.#budget.admitOnDisk(data.length);
      return this.#writeLarge(file, this.#acquire(file, true), offset, data);
    });
  }

  #writeSmall(file: number, entry: OpenFile, offset: number, data: Uint8Array): void {
    this.#budget.beginWrite(data.length);
    try {
      for (let done = 0; done < data.length; ) {
        done += writeSync(entry.fd, data, done, data.length - done, offset + done);
      }
    } catch (error) {
      throw this.#failure(error, file, 'write');
    } finally {
      this.#budget.endWrite(data.length);
      this.#account(entry);
      this.#files.release(entry);
    }
  }

  async #writeLarge(file: number, entry: OpenFile, offset: number, data: Uint8Array): Promise<void> {
    this.#budget.beginWrite(data.length);
    try {
      for (let done = await this.#direct.write(entry, offset, data); done < data.length; ) {
        const { bytesWritten } = await writeAsync(entry.fd, data, done, data.length - done, offset + done);
        done += bytesWritten;
      }
    } catch (error) {
      throw this.#failure(error, file, 'write');
    } finally {
      this.#budget.endWrite(data.length);
      this.#account(entry);
      this.#files.release(entry);
    }
  }

  async #readLarge(file: number, entry: OpenFile, offset: number, target: Buffer): Promise<void> {
    try {
      for (let done = await this.#direct.read(entry, offset, target); done < target.length; ) {
        const { bytesRead } = await readAsync(entry.fd, target, done, target.length - done, offset + done);
        if (bytesRead === 0) throw this.#short(file, offset + done);
        done += bytesRead;
      }
    } catch (error) {
      throw this.#failure(error, file, 'read');
    } finally {
      this.#files.release(entry);
    }
  }

  #acquire(file: number, create: boolean): OpenFile {
    try {
      const entry = this.#files.acquire(file, create);
      // What has no blocks may have been made just now; a directory sync too many does no harm.
      if (entry.allocated === 0) this.#namesMade++;
      return entry;
    } catch (error) {
      throw this.#failure(error, file, 'open');
    }
  }

  #acquireToSync(file: number): OpenFile {
    try {
      return this.#acquire(file, false);
    } catch (error) {
      const cause = error instanceof Error ? error.cause : undefined;
      if (!hasCode(cause, 'ENOENT')) throw error;
      throw new ArtifactError('NotFound', `there is no staged file ${this.path(file)}`, {}, error);
    }
  }

  #account(entry: OpenFile): void {
    // A file removed meanwhile was taken off the budget with what was known then.
    if (entry.doomed) return;
    const allocated = fstatSync(entry.fd).blocks * 512;
    if (allocated !== entry.allocated) this.#budget.addStaged(allocated - entry.allocated);
    entry.allocated = allocated;
  }

  /** Callers that come while one sync runs share the next, which sees their names. */
  async #syncDirectory(): Promise<void> {
    const made = this.#namesMade;
    while (this.#namesSynced < made) {
      this.#directorySync ??= this.#fsyncDirectory().finally(() => {
        this.#directorySync = null;
      });
      await this.#directorySync;
    }
  }

  async #fsyncDirectory(): Promise<void> {
    const made = this.#namesMade;
    const fd = await promisify(open)(this.directory, 'r');
    try {
      await promisify(fsync)(fd);
    } finally {
      await promisify(close)(fd);
    }
    this.#namesSynced = made;
  }

  #short(file: number, offset: number): ArtifactError {
    return new ArtifactError('Corrupt', `staged bytes at ${offset} of ${this.path(file)} are missing`, {
      hint: 'the machine lost power before they were synced: write the file again',
    });
  }

  #failure(error: unknown, file: number, action: string): ArtifactError {
    if (error instanceof ArtifactError) return error;
    const message = `cannot ${action} ${this.path(file)}`;
    if (hasCode(error, 'EFBIG')) {
      return new ArtifactError('TooLarge', `${message}: larger than the local file system allows`, {}, error);
    }
    const known = toArtifactError(error);
    return new ArtifactError(known.code, `${message}: ${known.message}`, known.details, error);
  }
}

const isFileName = (name: string) => /^\d{1,16}$/.test(name);
const hasCode = (error: unknown, code: string) => (error as { code?: unknown } | null)?.code === code;
