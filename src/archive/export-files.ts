import { createHash, randomUUID } from 'node:crypto';
import { link, mkdir, open, readdir, rename, rm, symlink } from 'node:fs/promises';
import { basename, dirname, join } from 'node:path';
import { type Entry, entryPath } from '../model/entry.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import type { FileCalls } from '../util/file-calls.js';
import { forEachOf } from '../util/for-each-of.js';
import { type Run, runsOf } from '../workspace/fsck/content-check.js';
import { objectKey } from '../workspace/keys.js';
import { checkFileName } from '../workspace/names.js';
import type { TreeRef } from '../workspace/records.js';
import { StoredTrees } from '../workspace/tree-store.js';
import { LocalFiles, localError } from './local-files.js';
import { type Loss, NotKept } from './not-kept.js';
import { type Piece, storedContent } from './stored-content.js';

export interface ExportFilesOptions extends CallOptions {
  readonly store: ObjectStore;
  readonly artifactId: string;
  /** Of the version. */
  readonly tree: TreeRef;
  /** Is made; may be there as an empty directory. */
  readonly directory: string;
  readonly calls: FileCalls | null;
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
}

export interface ExportedFiles {
  readonly files: number;
  readonly directories: number;
  /** Symlinks, devices, FIFOs and sockets. */
  readonly others: number;
  readonly bytes: number;
  readonly notKept: readonly Loss[];
}

const filesAtOnce = 3;

/**
 * Writes all files of a version into a directory, with everything that they are. It is filled under another name and gets its
 * own when it is whole: who is cut off leaves nothing, but for a `.part` directory when the machine stops. `Exists` when
 * something is there.
 */
export async function exportFiles(options: ExportFilesOptions): Promise<ExportedFiles> {
  const { directory } = options;
  await requireFree(directory);
  const partial = join(dirname(directory), `.${basename(directory)}.${randomUUID()}.part`);
  try {
    await mkdir(partial, { mode: 0o700 });
    const exported = await new FilesWriter(partial, options).run();
    await rename(partial, directory);
    return exported;
  } catch (error) {
    throw localError(error, directory);
  } finally {
    await rm(partial, { recursive: true, force: true });
  }
}

async function requireFree(directory: string): Promise<void> {
  let names: string[];
  try {
    names = await readdir(directory);
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return;
    if ((error as NodeJS.ErrnoException).code !== 'ENOTDIR') throw localError(error, directory);
    names = [directory];
  }
  if (names.length === 0) return;
  throw new ArtifactError('Exists', `${directory} exists already`, {
    hint: 'export into a directory that is empty or not there; nothing is overwritten',
  });
}

class FilesWriter {
  readonly #top: string;
  readonly #options: ExportFilesOptions;
  readonly #local: LocalFiles;
  readonly #notKept = new NotKept();
  readonly #totals = { files: 0, directories: 0, others: 0, bytes: 0 };
  /** In tree order: a directory comes before what is in it. */
  readonly #directories: Entry[] = [];
  readonly #made = new Set<string>(['']);
  /** Where the first name of a hard-linked file is, when it is written. */
  readonly #linked = new Map<number, Promise<string>>();

  constructor(top: string, options: ExportFilesOptions) {
    this.#top = top;
    this.#options = options;
    this.#local = new LocalFiles(options.calls, this.#notKept);
  }

  async run(): Promise<ExportedFiles> {
    const { store, artifactId, tree, signal } = this.#options;
    const trees = new StoredTrees(store);
    const call = signal === undefined ? {} : { signal };
    const metarange = await trees.metarange(artifactId, tree, call);
    for (const range of metarange.ranges) await this.#range(await trees.range(artifactId, range, call));
    // What is made in a directory changes its time, and may not be allowed by its mode.
    for (const entry of this.#directories.reverse()) await this.#finish(entry);
    await this.#local.setAttributes(this.#top, metarange.root, '.');
    return { ...this.#totals, notKept: this.#notKept.list() };
  }

  async #range(entries: readonly Entry[]): Promise<void> {
    const files: Entry[] = [];
    const links: Entry[] = [];
    for (const entry of entries) {
      this.#options.signal?.throwIfAborted();
      checkFileName(entry.name);
      if (!this.#made.has(entry.dir))
        throw new ArtifactError('Corrupt', `${entryPath(entry)} is in no directory of the file table`);
      if (entry.kind === 'dir') await this.#directory(entry);
      else if (entry.kind !== 'file') await this.#other(entry);
      else if (entry.nlink > 1) links.push(entry);
      else files.push(entry);
    }
    const call = this.#options.signal === undefined ? {} : { signal: this.#options.signal };
    await forEachOf(runsOf(files), filesAtOnce, async (one) => {
      if ('entries' in one) await this.#run(one, call);
      else await this.#file(one, call);
    });
    await forEachOf(links, filesAtOnce, (entry) => this.#linkedFile(entry, call));
  }

  async #directory(entry: Entry): Promise<void> {
    await mkdir(this.#place(entry), { mode: 0o700 });
    this.#made.add(entryPath(entry));
    this.#directories.push(entry);
    this.#totals.directories++;
  }

  async #other(entry: Entry): Promise<void> {
    const place = this.#place(entry);
    if (entry.kind === 'symlink') await symlink(entry.target ?? '', place);
    else if (!this.#local.makeNode(place, entry, entryPath(entry))) return;
    this.#totals.others++;
    await this.#finish(entry);
  }

  async #linkedFile(entry: Entry, call: CallOptions): Promise<void> {
    const known = this.#linked.get(entry.ino);
    if (known === undefined) {
      const writing = this.#file(entry, call).then(() => this.#place(entry));
      writing.catch(() => undefined); // told below, and to who waits for it
      this.#linked.set(entry.ino, writing);
      await writing;
      return;
    }
    await link(await known, this.#place(entry));
    this.#totals.files++;
    this.#count(entry.size);
  }

  /** Small files of one object, by one request. */
  async #run(run: Run, call: CallOptions): Promise<void> {
    const { object, offset, length, entries } = run;
    const bytes = await this.#options.store.get(
      objectKey(this.#options.artifactId, object),
      { offset, length },
      call,
    );
    for (const entry of entries) {
      const start = (entry.extents?.[0]?.offset ?? 0) - offset;
      const own = bytes.subarray(start, start + entry.size);
      // What is wrong may be the answer: it is asked for again by itself.
      const isRight = createHash('sha256').update(own).digest('hex') === (entry.sha256 ?? '');
      if (isRight || entry.sha256 === undefined) await this.#write(entry, [own]);
      else await this.#file(entry, call);
    }
  }

  async #file(entry: Entry, call: CallOptions): Promise<void> {
    const { store, artifactId } = this.#options;
    for (let attempt = 1; ; attempt++) {
      try {
        await this.#write(entry, storedContent(store, artifactId, entry, call));
        return;
      } catch (error) {
        if (!isCode(error, 'Corrupt') || attempt === limits.storeDamagedGetsMax) throw error;
        await rm(this.#place(entry), { force: true });
      }
    }
  }

  async #write(entry: Entry, pieces: AsyncIterable<Piece> | Iterable<Piece>): Promise<void> {
    const place = this.#place(entry);
    const file = await open(place, 'wx', 0o600);
    try {
      let end = 0;
      for await (const piece of pieces) {
        const length = typeof piece === 'number' ? piece : piece.length;
        if (typeof piece !== 'number')
          for (let done = 0; done < length; )
            done += (await file.write(piece, done, length - done, end + done)).bytesWritten;
        end += length;
      }
      // A hole at the end is not written.
      await file.truncate(entry.size);
    } finally {
      await file.close();
    }
    await this.#finish(entry);
    this.#totals.files++;
    this.#count(entry.size);
  }

  #finish(entry: Entry): Promise<void> {
    return this.#local.setAttributes(this.#place(entry), entry, entryPath(entry));
  }

  #count(bytes: number): void {
    this.#totals.bytes += bytes;
    this.#options.onProgress?.(this.#totals.bytes, this.#options.tree.bytes);
  }

  #place(entry: Entry): string {
    return join(this.#top, entryPath(entry));
  }
}
