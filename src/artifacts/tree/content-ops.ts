import { ExtentMap } from '../../content/extent-map.js';
import type { FileContent, FileReader } from '../../content/ports.js';
import type { Ino } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { crashPoint } from '../../util/crash-point.js';
import { type Deferred, deferred } from '../../util/deferred.js';
import { isPromise, type MaybePromise } from '../../util/maybe-promise.js';
import { dropPrivileges } from './attribute-ops.js';
import type { Change } from './change.js';
import type { Node } from './node.js';
import { StagingCleaner } from './staging-files.js';
import type { TreeCore } from './tree-core.js';

/** Bytes of staged files: written to the inode's staging file at the same offset, then named by its extent map. */
export class ContentOps {
  readonly cleaner: StagingCleaner;
  readonly #core: TreeCore;
  #writesRunning = 0;
  /** While a commit seals: writes wait until it has. */
  #gate: Deferred<void> | null = null;
  #idle: Deferred<void> | null = null;

  constructor(core: TreeCore) {
    this.#core = core;
    this.cleaner = new StagingCleaner(core.staging, core.uploader);
    core.dispose = (node) => this.#dispose(node);
  }

  open(node: Node): FileReader {
    const core = this.#core;
    if (node.kind === 'dir') throw new ArtifactError('IsDirectory', `${core.pathOf(node)} is a directory`);
    if (node.kind !== 'file') throw new ArtifactError('Invalid', `${core.pathOf(node)} has no bytes to read`);
    const content: FileContent = {
      size: () => node.size,
      pieces: (offset, length) => node.map.pieces(offset, length),
    };
    const reader = core.reader.open(core.stage.artifactId, content);
    node.readers++;
    core.retain(node);
    let closed = false;
    return {
      read: (offset, length, signal) => reader.read(offset, length, signal),
      close: () => {
        if (closed) return;
        closed = true;
        reader.close();
        node.readers--;
        this.cleaner.settle(node);
        core.release(node);
      },
    };
  }

  write(node: Node, offset: number, data: Uint8Array, killPrivileges: boolean): MaybePromise<number> {
    this.#checkWrite(node, offset, data.length);
    if (data.length === 0) return 0;
    if (this.#gate !== null)
      return this.#gate.promise.then(() => this.write(node, offset, data, killPrivileges));
    const core = this.#core;
    const file = this.#stagingFile(node);
    const written = core.staging.write(file, offset, data);
    if (!isPromise(written)) return this.#record(node, file, offset, data.length, killPrivileges);
    this.#begin(node);
    return written
      .then(() => this.#record(node, file, offset, data.length, killPrivileges))
      .finally(() => this.#end(node));
  }

  /** Inside a change unless the node has no name. */
  resize(node: Node, size: number, change: Change | null): void {
    const before = node.map.localFiles();
    node.map.truncate(size);
    node.size = size;
    if (before.length === 0) return;
    const kept = new Set(node.map.localFiles());
    // A running write still lands in the current file.
    if (node.writesRunning > 0) kept.add(node.file);
    const gone = before.filter((file) => !kept.has(file));
    if (gone.includes(node.file)) node.file = 0;
    const drop = () => this.cleaner.drop(node, gone);
    if (change === null) drop();
    else change.afterwards(drop);
  }

  /** Gives the content of an inode without a name to a file, in place of what it has. */
  adopt(node: Node, content: Node): void {
    const core = this.#core;
    const old = node.map.localFiles();
    core.change((change) => {
      change.touchContent(node);
      node.map = content.map;
      node.size = content.size;
      node.file = content.file;
      // Nobody else writes into it, and no commit has it: it takes writes of this generation.
      node.fileGen = content.file === 0 ? 0 : core.stage.gen;
      node.mtime = change.now;
      node.ctime = change.now;
      change.afterwards(() => {
        content.map = new ExtentMap();
        content.file = 0;
        this.cleaner.drop(node, old);
      });
    });
    for (const { start, length, source } of node.map) {
      if (source.type === 'local') this.#announce(node, source.file, start, length);
    }
  }

  /** Waits until no write runs, and holds new ones back while `body` runs. */
  async quiet<T>(body: () => MaybePromise<T>): Promise<T> {
    const gate = deferred();
    this.#gate = gate;
    try {
      while (this.#writesRunning > 0) {
        this.#idle = deferred();
        await this.#idle.promise;
      }
      return await body();
    } finally {
      this.#gate = null;
      gate.resolve();
    }
  }

  /** Tells the uploader of what was written while a commit kept it from knowing. */
  announceSince(gen: number): void {
    const { db, stage } = this.#core;
    if (!stage.exists || stage.sealed !== null) return;
    const { artifactId, stageId, s } = stage;
    for (const ino of db.inodes.contentChangedSince(s, gen)) {
      const row = db.inodes.get(s, ino);
      if (row === undefined) continue;
      const node = this.#core.table.get(ino);
      const path = node === undefined ? `inode-${ino}` : this.#core.pathOf(node);
      for (const { length, source } of db.inodes.extents(s, row)) {
        if (source.type !== 'local' || source.file !== row.file) continue;
        this.#core.uploader.written({ artifactId, stageId, file: source.file, path }, source.offset, length);
      }
    }
  }

  /** Staging files of a published inode, unless something still reads them. */
  dropSealed(ino: Ino, files: readonly number[]): void {
    const node = this.#core.table.get(ino);
    const used = new Set(node?.map.localFiles() ?? this.#stagedFiles(ino));
    const gone = files.filter((file) => !used.has(file));
    if (node === undefined) this.cleaner.dropUnread(gone);
    else this.cleaner.drop(node, gone);
  }

  #stagedFiles(ino: Ino): number[] {
    const { db, stage } = this.#core;
    const row = stage.exists ? db.inodes.get(stage.s, ino) : undefined;
    return row === undefined ? [] : db.inodes.extents(stage.s, row).localFiles();
  }

  #checkWrite(node: Node, offset: number, length: number): void {
    const core = this.#core;
    if (node.kind === 'dir') throw new ArtifactError('IsDirectory', `${core.pathOf(node)} is a directory`);
    if (node.kind !== 'file' || !Number.isInteger(offset) || offset < 0)
      throw new ArtifactError('Invalid', `${core.pathOf(node)} cannot be written at ${offset}`);
    if (offset + length > limits.fileSizeBytesMax)
      throw new ArtifactError(
        'TooLarge',
        `${core.pathOf(node)}: a file has at most ${limits.fileSizeBytesMax} bytes`,
      );
  }

  /** The file that takes writes of this generation: bytes of a sealed one do not change any more. */
  #stagingFile(node: Node): number {
    const { gen } = this.#core.stage;
    if (node.file === 0 || node.fileGen !== gen) {
      node.file = this.#core.db.files.next();
      node.fileGen = gen;
    }
    return node.file;
  }

  /** The bytes are in the staging file: name them. */
  #record(node: Node, file: number, start: number, length: number, killPrivileges: boolean): number {
    const core = this.#core;
    crashPoint('stage-bytes-written');
    const apply = (now: Node['mtime']) => {
      node.map.set(start, length, { type: 'local', file, offset: start });
      node.size = Math.max(node.size, start + length);
      node.mtime = now;
      node.ctime = now;
      if (killPrivileges) dropPrivileges(node);
    };
    if (!node.hasName) {
      apply(core.clock());
      return length;
    }
    core.change((change) => {
      const { count } = node.map;
      const log = count > limits.extentsInlineMax && node.logged < Math.max(limits.extentLogRowsMax, count);
      if (log) change.touchWrite(node, start, length, file);
      else change.touchContent(node);
      apply(change.now);
    });
    this.#announce(node, file, start, length);
    return length;
  }

  /** Uploads of a generation under commit belong to the commit; what comes after it waits for the next stage. */
  #announce(node: Node, file: number, start: number, length: number): void {
    const { stage, uploader } = this.#core;
    if (stage.sealed !== null) return;
    const { artifactId, stageId } = stage;
    uploader.written({ artifactId, stageId, file, path: this.#core.pathOf(node) }, start, length);
  }

  #begin(node: Node): void {
    this.#writesRunning++;
    node.writesRunning++;
    this.#core.retain(node);
  }

  #end(node: Node): void {
    node.writesRunning--;
    this.cleaner.settle(node);
    this.#core.release(node);
    if (--this.#writesRunning === 0 && this.#idle !== null) {
      this.#idle.resolve();
      this.#idle = null;
    }
  }

  /** The inode is gone: so are its bytes. */
  #dispose(node: Node): void {
    if (node.kind !== 'file') return;
    const files = new Set(node.map.localFiles());
    if (node.file !== 0) files.add(node.file);
    this.cleaner.drop(node, files);
  }
}
