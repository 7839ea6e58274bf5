import { isCode } from '../../model/errors.js';
import { crashPoint } from '../../util/crash-point.js';
import type { TreeCore } from './tree-core.js';

/** Brings staging files to stable storage: only those written since they last were, and each once at a time. */
export class StagingSync {
  readonly #core: TreeCore;
  /** Written since they were synced. */
  readonly #unsynced = new Set<number>();
  #knowsAllUnsynced = false;
  /** Syncs under way: who needs the same file waits for them. */
  readonly #syncing = new Map<number, Promise<void>>();

  constructor(core: TreeCore) {
    this.#core = core;
  }

  written(file: number): void {
    this.#unsynced.add(file);
  }

  removed(file: number): void {
    this.#unsynced.delete(file);
  }

  async sync(files: Iterable<number>): Promise<void> {
    for (const file of files) {
      if (this.#unsynced.has(file) || !this.#knowsAllUnsynced) await this.#syncFile(file);
      else await this.#syncing.get(file);
    }
  }

  async syncAll(): Promise<void> {
    if (!this.#knowsAllUnsynced) {
      // An earlier daemon may have been killed before it synced.
      const { db, stage } = this.#core;
      for (const [, files] of db.inodes.eachStagingFiles(stage.s)) {
        for (const file of files) this.#unsynced.add(file);
      }
      this.#knowsAllUnsynced = true;
    }
    const running = [...this.#syncing.values()];
    for (const file of [...this.#unsynced]) await this.#syncFile(file);
    await Promise.all(running);
  }

  #syncFile(file: number): Promise<void> {
    this.#unsynced.delete(file);
    const syncing = this.#syncStaged(file).finally(() => {
      if (this.#syncing.get(file) === syncing) this.#syncing.delete(file);
    });
    this.#syncing.set(file, syncing);
    return syncing;
  }

  async #syncStaged(file: number): Promise<void> {
    try {
      await this.#core.staging.sync(file);
      crashPoint('stage-synced');
    } catch (error) {
      // It was removed, with everything that named it.
      if (isCode(error, 'NotFound') && !this.#core.db.inodes.stagingFiles().has(file)) return;
      this.#unsynced.add(file);
      throw error;
    }
  }
}
