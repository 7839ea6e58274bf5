import type { Uploader } from '../../content/ports.js';
import type { Ino } from '../../model/entry.js';
import type { Node } from './node.js';
import { Slabs } from './slabs.js';

/**
 * Removes staging files that an inode does not name any more: at once, or later where something still reads them - a
 * commit that uploads a sealed generation, or open files. What a killed daemon leaves is removed at its next start.
 */
export class StagingCleaner {
  readonly slabs: Slabs;
  readonly #removeFile: (file: number) => void;
  readonly #uploader: Uploader;
  readonly #names: (ino: Ino, file: number) => boolean;
  /** Held back by a commit. */
  #commitRuns = false;
  #afterCommit: { ino: Ino; file: number }[] = [];
  /** Held back by readers of a node. */
  readonly #afterReaders = new Map<Node, Set<number>>();

  /** `names`: whether an inode has a piece in a staging file now. */
  constructor(
    removeFile: (file: number) => void,
    uploader: Uploader,
    newFile: () => number,
    names: (ino: Ino, file: number) => boolean,
  ) {
    this.#removeFile = removeFile;
    this.#uploader = uploader;
    this.#names = names;
    this.slabs = new Slabs(newFile, removeFile);
  }

  /** `files` of `node` are not named by its row any more. */
  drop(node: Node, files: Iterable<number>): void {
    if (node.readers === 0 && node.writesRunning === 0) {
      this.dropUnread(node.ino, files);
      return;
    }
    const waiting = this.#afterReaders.get(node) ?? new Set<number>();
    for (const file of files) waiting.add(file);
    if (waiting.size > 0) this.#afterReaders.set(node, waiting);
  }

  /** Of an inode that nothing reads. */
  dropUnread(ino: Ino, files: Iterable<number>): void {
    for (const file of files) {
      if (this.#commitRuns) this.#afterCommit.push({ ino, file });
      else this.#remove(ino, file);
    }
  }

  /** The node has no reader or running write any more. */
  settle(node: Node): void {
    const files = this.#afterReaders.get(node);
    if (files === undefined || node.readers > 0 || node.writesRunning > 0) return;
    this.#afterReaders.delete(node);
    this.dropUnread(node.ino, files);
  }

  holdForCommit(): void {
    this.#commitRuns = true;
  }

  /** The commit is over, however it ended. */
  releaseCommit(): void {
    this.#commitRuns = false;
    this.slabs.close();
    for (const { ino, file } of this.#afterCommit.splice(0)) this.#remove(ino, file);
  }

  /** Inodes have other numbers now, by their old ones. */
  renumbered(numbers: ReadonlyMap<Ino, Ino>): void {
    this.slabs.renumbered(numbers);
    for (const item of this.#afterCommit) item.ino = numbers.get(item.ino) ?? item.ino;
  }

  #remove(ino: Ino, file: number): void {
    if (this.slabs.has(file)) {
      // Since this was put off the inode may have got bytes in the same slab again.
      if (!this.#names(ino, file)) this.slabs.release(file, ino);
      return;
    }
    // First the file: what was uploaded from it may be kept as cache.
    this.#removeFile(file);
    this.#uploader.forget(file);
  }
}
