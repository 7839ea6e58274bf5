import type { Node } from './node.js';
import type { TreeCore } from './tree-core.js';

/**
 * Tells the uploader which bytes of own staging files were written. Uploads of a generation under commit belong to the
 * commit; what comes after it waits for the next stage.
 */
export class UploadNotices {
  readonly #core: TreeCore;

  constructor(core: TreeCore) {
    this.#core = core;
  }

  /** [start, start + length) of the node's own staging file. */
  written(node: Node, start: number, length: number): void {
    const { stage, uploader } = this.#core;
    if (stage.sealed !== null) return;
    const { artifactId, stageId } = stage;
    uploader.written({ artifactId, stageId, file: node.file, path: this.#core.pathOf(node) }, start, length);
  }

  /** All that the node's own staging file has of it. */
  allOf(node: Node): void {
    for (const { start, length, source } of node.map) {
      if (source.type === 'local' && source.file === node.file) this.written(node, start, length);
    }
  }

  /** What was written since the generation `gen`, while a commit kept the uploader from knowing. */
  since(gen: number): void {
    const { db, stage, table, uploader } = this.#core;
    if (!stage.exists || stage.sealed !== null) return;
    const { artifactId, stageId, s } = stage;
    for (const ino of db.inodes.contentChangedSince(s, gen)) {
      const row = db.inodes.get(s, ino);
      if (row === undefined) continue;
      const node = table.get(ino);
      const path = node === undefined ? `inode-${ino}` : this.#core.pathOf(node);
      for (const { length, source } of db.inodes.extents(s, row)) {
        if (source.type !== 'local' || source.file !== row.file) continue;
        uploader.written({ artifactId, stageId, file: source.file, path }, source.offset, length);
      }
    }
  }
}
