import type { Staging, Uploader } from '../../content/ports.js';
import type { Node } from './node.js';

/**
 * Removes staging files that no inode names any more: at once, or later where something still reads them - a commit
 * that uploads a sealed generation, or open files. What a killed daemon leaves is removed at its next start.
 */
export class StagingCleaner {
  readonly #staging: Staging;
  readonly #uploader: Uploader;
  /** Held back by a commit. */
  #commitRuns = false;
  readonly #afterCommit = new Set<number>();
  /** Held back by readers of a node. */
  readonly #afterReaders = new Map<Node, Set<number>>();

  constructor(staging: Staging, uploader: Uploader) {
    this.#staging = staging;
    this.#uploader = uploader;
  }

  /** `files` of `node` are not named by its row any more. */
  drop(node: Node, files: Iterable<number>): void {
    for (const file of files) {
      if (this.#commitRuns) this.#afterCommit.add(file);
      else if (node.readers > 0 || node.writesRunning > 0) this.#wait(node, file);
      else this.#remove(file);
    }
  }

  /** Of an inode that is not in memory, so nothing reads it. */
  dropUnread(files: Iterable<number>): void {
    for (const file of files) {
      if (this.#commitRuns) this.#afterCommit.add(file);
      else this.#remove(file);
    }
  }

  /** The node has no reader or running write any more. */
  settle(node: Node): void {
    const files = this.#afterReaders.get(node);
    if (files === undefined || node.readers > 0 || node.writesRunning > 0) return;
    this.#afterReaders.delete(node);
    this.drop(node, files);
  }

  holdForCommit(): void {
    this.#commitRuns = true;
  }

  /** The commit is over, however it ended. */
  releaseCommit(): void {
    this.#commitRuns = false;
    for (const file of this.#afterCommit) this.#remove(file);
    this.#afterCommit.clear();
  }

  #wait(node: Node, file: number): void {
    const files = this.#afterReaders.get(node) ?? new Set<number>();
    files.add(file);
    this.#afterReaders.set(node, files);
  }

  #remove(file: number): void {
    // First the file: what was uploaded from it may be kept as cache.
    this.#staging.remove(file);
    this.#uploader.forget(file);
  }
}
