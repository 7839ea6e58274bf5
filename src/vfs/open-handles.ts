import { ArtifactError } from '../model/errors.js';
import type { OpenReply } from './file-system.js';
import type { FileHandle, Node, OpenDirectory } from './node.js';

interface OpenFile {
  readonly node: Node;
  readonly file: FileHandle;
}

/** What the kernel has open, by the numbers it was given. Throws `BadHandle` for others. */
export class OpenHandles {
  readonly #files = new Map<number, OpenFile>();
  readonly #directories = new Map<number, OpenDirectory>();
  #next = 1;

  get fileCount(): number {
    return this.#files.size;
  }

  get directoryCount(): number {
    return this.#directories.size;
  }

  addFile(node: Node, file: FileHandle): OpenReply {
    const handle = this.#next++;
    this.#files.set(handle, { node, file });
    node.opens++;
    return { handle, ...file.reply };
  }

  file(handle: number): FileHandle {
    return this.#file(handle).file;
  }

  releaseFile(handle: number): void {
    const { node, file } = this.#file(handle);
    this.#files.delete(handle);
    node.opens--;
    file.release();
  }

  addDirectory(directory: OpenDirectory): OpenReply {
    const handle = this.#next++;
    this.#directories.set(handle, directory);
    return { handle, ...directory.reply };
  }

  directory(handle: number): OpenDirectory {
    const directory = this.#directories.get(handle);
    if (directory === undefined) throw new ArtifactError('BadHandle', `no open directory ${handle}`);
    return directory;
  }

  releaseDirectory(handle: number): void {
    const directory = this.directory(handle);
    this.#directories.delete(handle);
    directory.release();
  }

  #file(handle: number): OpenFile {
    const open = this.#files.get(handle);
    if (open === undefined) throw new ArtifactError('BadHandle', `no open file ${handle}`);
    return open;
  }
}
