import { closeSync, constants, fstatSync, openSync } from 'node:fs';

/** A descriptor in use. Hand it back with `release`; it is not closed before. */
export interface OpenFile {
  readonly fd: number;
  /** The same file past the page cache, once it was asked for. */
  directFd: number | null;
  /** Bytes on disk (st_blocks), as of the last look. */
  allocated: number;
  users: number;
  /** Closed as soon as nobody uses it. */
  doomed: boolean;
}

/**
 * Descriptors of many files, those of the file used longest ago closed first: 100,000 staged files must not need 100,000
 * descriptors. Those in use are never closed, so the limit may be passed by those of as many files as there are calls under way.
 */
export class OpenFiles<Name> {
  readonly #pathOf: (file: Name) => string;
  readonly #descriptorsMax: number;
  /** In order of use: the first is the oldest. */
  readonly #open = new Map<Name, OpenFile>();
  #descriptors = 0;

  constructor(pathOf: (file: Name) => string, descriptorsMax: number) {
    this.#pathOf = pathOf;
    this.#descriptorsMax = descriptorsMax;
  }

  /** Descriptors that are open: a file has two once it was asked for past the page cache. */
  get count(): number {
    return this.#descriptors;
  }

  peek(file: Name): OpenFile | undefined {
    return this.#open.get(file);
  }

  /** Throws the system's error; without `create` that is ENOENT for a file that does not exist. */
  acquire(file: Name, create: boolean): OpenFile {
    let entry = this.#open.get(file);
    if (entry === undefined) {
      this.#evict();
      const flags = constants.O_RDWR | (create ? constants.O_CREAT : 0);
      const fd = openSync(this.#pathOf(file), flags, 0o600);
      this.#descriptors++;
      entry = { fd, directFd: null, allocated: fstatSync(fd).blocks * 512, users: 0, doomed: false };
    } else {
      this.#open.delete(file);
    }
    this.#open.set(file, entry);
    entry.users++;
    return entry;
  }

  /** The descriptor of a file in use past the page cache. Throws where its file system cannot. */
  direct(entry: OpenFile): number {
    if (entry.directFd === null) {
      this.#evict();
      // By the descriptor: the name may be gone or another file's.
      entry.directFd = openSync(`/proc/self/fd/${entry.fd}`, constants.O_RDWR | constants.O_DIRECT);
      this.#descriptors++;
    }
    return entry.directFd;
  }

  release(entry: OpenFile): void {
    entry.users--;
    if (entry.doomed && entry.users === 0) this.#close(entry);
  }

  /** Closes the file now or when its last user is done. */
  drop(file: Name): void {
    const entry = this.#open.get(file);
    if (entry === undefined) return;
    this.#open.delete(file);
    entry.doomed = true;
    if (entry.users === 0) this.#close(entry);
  }

  closeAll(): void {
    for (const file of [...this.#open.keys()]) this.drop(file);
  }

  #evict(): void {
    for (const [file, entry] of this.#open) {
      if (this.#descriptors < this.#descriptorsMax) return;
      if (entry.users === 0) this.drop(file);
    }
  }

  #close({ fd, directFd }: OpenFile): void {
    closeSync(fd);
    this.#descriptors--;
    if (directFd === null) return;
    closeSync(directFd);
    this.#descriptors--;
  }
}
