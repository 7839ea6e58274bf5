import { ExtentMap } from '../../content/extent-map.js';
import type { FileContent, FileReader } from '../../content/ports.js';
import type { Ino } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { crashPoint } from '../../util/crash-point.js';
import { type Deferred, deferred } from '../../util/deferred.js';
import { chain, isPromise, type MaybePromise } from '../../util/maybe-promise.js';
import type { Change } from './change.js';
import type { Node } from './node.js';
import { dropCapabilities, dropPrivileges } from './privileges.js';
import { SettledFiles } from './settled-files.js';
import type { StagedPlace } from './slabs.js';
import { StagingCleaner } from './staging-files.js';
import { StagingSync } from './staging-sync.js';
import type { TreeCore } from './tree-core.js';
import { UploadNotices } from './upload-notices.js';

interface WrittenPlace extends StagedPlace {
  /** What the slabs had of the file was copied to `file`, too. */
  readonly hasGrown: boolean;
}

/** Bytes of staged files: written to the inode's staging file at the same offset, then named by its extent map. */
export class ContentOps {
  readonly cleaner: StagingCleaner;
  readonly syncs: StagingSync;
  readonly settled: SettledFiles;
  readonly #notices: UploadNotices;
  readonly #core: TreeCore;
  #writesRunning = 0;
  /** While a commit seals: writes wait until it has. */
  #gate: Deferred<void> | null = null;
  #idle: Deferred<void> | null = null;

  constructor(core: TreeCore) {
    this.#core = core;
    this.syncs = new StagingSync(core);
    this.settled = new SettledFiles(core);
    this.#notices = new UploadNotices(core);
    const remove = (file: number): void => {
      this.syncs.removed(file);
      core.staging.remove(file);
    };
    this.cleaner = new StagingCleaner(
      remove,
      core.uploader,
      () => core.db.files.next(),
      (ino, file) => this.#localFiles(ino).includes(file),
    );
    core.dispose = (node) => this.#dispose(node);
    this.#adoptSlabs();
  }

  open(node: Node): FileReader {
    const core = this.#core;
    if (node.kind === 'dir') throw new ArtifactError('IsDirectory', `${core.pathOf(node)} is a directory`);
    if (node.kind !== 'file') throw new ArtifactError('Invalid', `${core.pathOf(node)} has no bytes to read`);
    this.checkThere(node);
    const content: FileContent = {
      size: () => node.size,
      pieces: (offset, length) => node.map.pieces(offset, length),
    };
    const place =
      core.base === null || node.base === null ? undefined : { order: core.base, path: node.base };
    const reader = core.reader.open(core.stage.artifactId, content, place);
    node.readers++;
    core.retain(node);
    let closed = false;
    return {
      read: (offset, length, signal, borrower) => reader.read(offset, length, signal, borrower),
      local: (offset, length) => reader.local(offset, length),
      close: () => {
        if (closed) return;
        closed = true;
        reader.close();
        node.readers--;
        this.cleaner.settle(node);
        this.dropIfDiscarded(node);
        core.release(node);
      },
    };
  }

  write(
    node: Node,
    offset: number,
    data: Uint8Array,
    killPrivileges: boolean,
    keepTimes: boolean,
  ): MaybePromise<number> {
    this.#checkWrite(node, offset, data.length);
    if (data.length === 0) return 0;
    const wait = this.#gate?.promise ?? node.growing;
    if (wait !== null) return wait.then(() => this.write(node, offset, data, killPrivileges, keepTimes));
    const written = this.#writeBytes(node, offset, data);
    const record = (place: WrittenPlace) =>
      this.#record(node, place, offset, data.length, killPrivileges, keepTimes);
    if (!isPromise(written)) return record(written);
    this.#begin(node);
    return written.then(record).finally(() => this.#end(node));
  }

  /** Inside a change, after the content was touched, unless the node has no name. */
  resize(node: Node, size: number, change: Change | null): void {
    this.cut(node, change, (map) => map.truncate(size));
    node.size = size;
  }

  /** Takes pieces out of the map. Inside a change, after the content was touched, unless the node has no name. */
  cut(node: Node, change: Change | null, take: (map: ExtentMap) => void): void {
    const before = node.map.localFiles();
    take(node.map);
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
      dropCapabilities(node, change);
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
        for (const file of node.map.localFiles()) {
          this.cleaner.slabs.use(file, node.ino);
          this.cleaner.slabs.release(file, content.ino);
        }
        this.cleaner.drop(node, old);
      });
    });
    this.#notices.allOf(node);
  }

  /** A file without a name got one: its bytes may be uploaded. */
  named(node: Node): void {
    node.isLinkable = false;
    this.#notices.allOf(node);
  }

  /** Throws `Stale` for a discarded file that nobody had open. */
  checkThere(node: Node): void {
    if (node.isDiscarded && !node.isInUse)
      throw new ArtifactError('Stale', `${this.#core.pathOf(node)} was discarded`);
  }

  /** The bytes of a discarded file go with its last user: the kernel may know it for long afterwards. */
  dropIfDiscarded(node: Node): void {
    if (!node.isDiscarded || node.isInUse) return;
    this.#dispose(node);
    node.map = new ExtentMap();
    node.file = 0;
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
    this.#notices.since(gen);
  }

  /** Staging files of a published inode, unless something still reads them. */
  dropSealed(ino: Ino, files: readonly number[]): void {
    const node = this.#core.table.get(ino);
    const used = new Set(this.#localFiles(ino));
    const gone = files.filter((file) => !used.has(file));
    if (node === undefined) this.cleaner.dropUnread(ino, gone);
    else this.cleaner.drop(node, gone);
  }

  /** The staging files that an inode names. */
  #localFiles(ino: Ino): number[] {
    const { db, stage, table } = this.#core;
    const node = table.get(ino);
    if (node !== undefined) return node.map.localFiles();
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
    this.checkThere(node);
  }

  /** Answers where the bytes are. Bytes of a sealed generation are never written over. */
  #writeBytes(node: Node, offset: number, data: Uint8Array): MaybePromise<WrittenPlace> {
    const { staging, stage, db } = this.#core;
    const { gen } = stage;
    const isOwn = node.file !== 0 && node.fileGen === gen;
    if (!isOwn && Math.max(node.size, offset + data.length) <= limits.slabFileBytesMax) {
      const place = this.cleaner.slabs.place(node.ino, node.map, gen, offset, data.length);
      return chain(staging.write(place.file, place.at, data), () => ({ ...place, hasGrown: false }));
    }
    let grown: MaybePromise<boolean> = false;
    if (!isOwn) {
      node.file = db.files.next();
      node.fileGen = gen;
      grown = this.#copySmall(node, node.file);
    }
    const { file } = node;
    return chain(grown, (hasGrown) =>
      chain(staging.write(file, offset, data), () => ({ file, at: offset, hasGrown })),
    );
  }

  /**
   * The file has grown out of the slabs: all staged bytes of it move to its own staging file, which can be uploaded
   * while it is written. False when there are none.
   */
  #copySmall(node: Node, file: number): MaybePromise<boolean> {
    const { staging } = this.#core;
    let copied: MaybePromise<boolean> = false;
    for (const { start, length, source } of node.map) {
      if (source.type !== 'local' || !this.cleaner.slabs.has(source.file)) continue;
      const copy = () =>
        chain(staging.read(source.file, source.offset, length), (bytes) => staging.write(file, start, bytes));
      copied = chain(copied, () => chain(copy(), () => true));
    }
    if (!isPromise(copied)) return copied;
    // Other writes must not come between the reading of old bytes and their writing.
    const over = (): void => {
      node.growing = null;
    };
    node.growing = copied.then(over, over);
    return copied;
  }

  /** Inside a change: what `#copySmall` has copied is in `file` now. Answers the slabs that were left. */
  #moveSmall(node: Node, file: number): number[] {
    const left = new Set<number>();
    for (const { start, length, source } of [...node.map]) {
      if (source.type !== 'local' || !this.cleaner.slabs.has(source.file)) continue;
      node.map.set(start, length, { type: 'local', file, offset: start });
      left.add(source.file);
    }
    return [...left];
  }

  /** The bytes are in a staging file: name them. */
  #record(
    node: Node,
    place: WrittenPlace,
    start: number,
    length: number,
    killPrivileges: boolean,
    keepTimes: boolean,
  ): number {
    const core = this.#core;
    crashPoint('stage-bytes-written');
    const { file, at, hasGrown } = place;
    this.syncs.written(file);
    this.settled.changed(node);
    const isOwn = file === node.file;
    const left: number[] = [];
    const apply = (now: Node['mtime'], change: Change | null) => {
      if (hasGrown) left.push(...this.#moveSmall(node, file));
      const under = node.map.otherLocalFiles(start, length, file);
      node.map.set(start, length, { type: 'local', file, offset: at });
      for (const other of under) if (!node.map.names(other)) left.push(other);
      if (left.includes(node.file)) node.file = 0;
      node.size = Math.max(node.size, start + length);
      if (!keepTimes) {
        node.mtime = now;
        node.ctime = now;
      } else if (!node.timesTold) {
        node.timesOwed = now;
      }
      if (killPrivileges) dropPrivileges(node);
      dropCapabilities(node, change);
    };
    if (!node.hasName) {
      apply(core.clock(), null);
      this.cleaner.drop(node, left);
      return length;
    }
    core.change((change) => {
      const { count } = node.map;
      const log =
        isOwn &&
        !hasGrown &&
        count > limits.extentsInlineMax &&
        node.logged < Math.max(limits.extentLogRowsMax, count);
      if (log) change.touchWrite(node, start, length, file);
      else change.touchContent(node);
      apply(change.now, change);
    });
    this.cleaner.drop(node, left);
    if (hasGrown) this.#notices.written(node, 0, node.size);
    else if (isOwn) this.#notices.written(node, start, length);
    return length;
  }

  #begin(node: Node): void {
    this.#writesRunning++;
    node.writesRunning++;
    this.#core.retain(node);
  }

  #end(node: Node): void {
    node.writesRunning--;
    this.cleaner.settle(node);
    this.dropIfDiscarded(node);
    this.#core.release(node);
    if (--this.#writesRunning === 0 && this.#idle !== null) {
      this.#idle.resolve();
      this.#idle = null;
    }
  }

  /** Staging files that several inodes name were slabs of an earlier daemon. */
  #adoptSlabs(): void {
    const { db, stage } = this.#core;
    if (!stage.exists) return;
    const users = new Map<number, Ino[]>();
    for (const [ino, files] of db.inodes.eachStagingFiles(stage.s)) {
      for (const file of files) users.set(file, [...(users.get(file) ?? []), ino]);
    }
    for (const [file, inos] of users) if (inos.length > 1) this.cleaner.slabs.adopt(file, inos);
  }

  /** The inode is gone: so are its bytes. */
  #dispose(node: Node): void {
    if (node.kind !== 'file') return;
    this.settled.changed(node);
    const files = new Set(node.map.localFiles());
    if (node.file !== 0) files.add(node.file);
    this.cleaner.drop(node, files);
  }
}
