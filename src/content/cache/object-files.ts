import { mkdirSync, openSync, renameSync, utimes, write } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { limits } from '../../model/limits.js';
import type { BlockFiles, FilePiece } from '../local/block-files.js';
import { type BlockTable, decodeIndex, encodeHeader, entryBytes, headerBytes } from '../local/disk-index.js';
import { FileRange } from '../local/local-range.js';
import { OpenFiles } from '../local/open-files.js';
import type { DiskObject } from './disk-object.js';

const { blockBytes } = limits;
const writeAsync = promisify(write);

/**
 * The two files of each cached object: `<name>.data`, sparse, each block at its own offset, and `<name>.idx`
 * (disk-index.ts). Everything here fails with the system's error.
 */
export class ObjectFiles {
  readonly directory: string;
  readonly #blockFiles: BlockFiles;
  readonly #open: OpenFiles<string>;

  constructor(directory: string, blockFiles: BlockFiles) {
    this.directory = directory;
    this.#blockFiles = blockFiles;
    this.#open = new OpenFiles((file) => join(directory, file), limits.cacheOpenFilesMax);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
  }

  dataPath(name: string): string {
    return join(this.directory, `${name}.data`);
  }

  #indexPath(name: string): string {
    return join(this.directory, `${name}.idx`);
  }

  /** null: there is no index, or none of this object. */
  async readIndex(key: string, name: string): Promise<BlockTable | null> {
    const bytes = await readFile(this.#indexPath(name)).catch(() => null);
    return bytes === null ? null : decodeIndex(key, bytes);
  }

  /** Says to the next run that the object was used now. */
  noteUse(name: string): void {
    const now = new Date();
    utimes(this.#indexPath(name), now, now, () => {});
  }

  /** A range of the data file, all of which is there. */
  range(object: DiskObject, offset: number, length: number, onRead: (bytes: number) => void): FileRange {
    const { name, table } = object;
    const lastBlock = Math.floor((offset + length - 1) / blockBytes);
    const checkedEnd = lastBlock * blockBytes + table.length(lastBlock);
    const file = this.#open.acquire(`${name}.data`, false);
    return new FileRange(this.#open, file, { offset, length, crcs: table.crcs, checkedEnd }, onRead);
  }

  /** A descriptor of the data file for reading, which the caller closes. */
  openData(name: string): number {
    return openSync(this.dataPath(name), 'r');
  }

  /** Writes blocks. Answers the checksums of each piece. */
  async writeData(name: string, pieces: readonly FilePiece[]): Promise<Uint32Array[]> {
    const file = this.#open.acquire(`${name}.data`, true);
    try {
      return await this.#blockFiles.write(file.fd, pieces);
    } finally {
      this.#open.release(file);
    }
  }

  writeHeader({ key, name, table }: DiskObject): Promise<void> {
    return this.#writeIndexAt(name, 0, encodeHeader(key, table.size));
  }

  /** Writes what the table says of `count` blocks. */
  writeEntries({ name, table }: DiskObject, first: number, count: number): Promise<void> {
    return this.#writeIndexAt(name, headerBytes + first * entryBytes, table.encode(first, count));
  }

  /** Makes the file at `path` the data of an object, by rename. */
  takeData(name: string, path: string): void {
    renameSync(path, this.dataPath(name));
  }

  /** The index of an object that is all there. */
  writeWholeIndex({ key, name, table }: DiskObject, size: number): Promise<void> {
    const entries = table.encode(0, Math.ceil(size / blockBytes));
    const index = Buffer.concat([encodeHeader(key, size), entries]);
    return writeFile(this.#indexPath(name), index, { mode: 0o600 });
  }

  /** Closes both files as soon as nobody uses them. */
  drop(name: string): void {
    this.#open.drop(`${name}.data`);
    this.#open.drop(`${name}.idx`);
  }

  async remove(name: string): Promise<void> {
    // The index first: data without an index is swept at the next start, an index without data would be believed.
    await rm(this.#indexPath(name), { force: true });
    await rm(this.dataPath(name), { force: true });
  }

  closeAll(): void {
    this.#open.closeAll();
  }

  async #writeIndexAt(name: string, offset: number, bytes: Buffer): Promise<void> {
    const file = this.#open.acquire(`${name}.idx`, true);
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await writeAsync(file.fd, bytes, done, bytes.length - done, offset + done)).bytesWritten;
      }
    } finally {
      this.#open.release(file);
    }
  }
}
