import { limits } from '../../model/limits.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import { BackgroundWork, messageOf } from '../local/background-work.js';
import { type BlockFiles, type FilePiece, plainBlockFiles } from '../local/block-files.js';
import type { DiskBudget } from '../local/disk-budget.js';
import { BlockTable, cacheName, checksPerBlock } from '../local/disk-index.js';
import { findCached } from '../local/disk-scan.js';
import { readRange } from '../local/local-range.js';
import type { LocalRange } from '../ports.js';
import { BlockChecker } from './block-checker.js';
import { CacheHolds } from './cache-holds.js';
import { DiskEntries } from './disk-entries.js';
import { DiskObject, type WholeObject } from './disk-object.js';
import { ObjectFiles } from './object-files.js';
import { WriteBehind } from './write-behind.js';

const { blockBytes, checkBytes } = limits;

export interface DiskCacheStatistics {
  readonly objects: number;
  readonly bytes: number;
  /** Blocks whose bytes did not have the checksum they were stored with; they were fetched again. */
  readonly badBlocks: number;
  /** Objects that were found to be whole, since the start. */
  readonly verifiedObjects: number;
  readonly hitBytes: number;
  /** Not stored because the disk could not follow or had no room. */
  readonly skippedBytes: number;
  readonly writeErrors: number;
  readonly lastError: string | null;
}

/**
 * Blocks of objects on the local disk. Survives restarts. Nothing here fails a read: what cannot be kept is counted and
 * fetched again.
 */
export class DiskCache implements AsyncDisposable {
  readonly #budget: DiskBudget;
  readonly #files: ObjectFiles;
  readonly #holds: CacheHolds;
  readonly #entries: DiskEntries;
  readonly #work = new BackgroundWork();
  readonly #writes: WriteBehind<DiskObject, FilePiece>;
  readonly #checker = new BlockChecker();
  readonly #scanned: Promise<void>;
  #closed = false;
  readonly #counts = { badBlocks: 0, verifiedObjects: 0, hitBytes: 0, skippedBytes: 0 };
  readonly #onHit = (bytes: number): void => {
    this.#counts.hitBytes += bytes;
  };

  /** Only staged files push out what is in `holds`. */
  constructor(
    directory: string,
    budget: DiskBudget,
    pendingBytesMax: number,
    holds = new CacheHolds(),
    blockFiles: BlockFiles = plainBlockFiles,
  ) {
    this.#budget = budget;
    this.#holds = holds;
    this.#files = new ObjectFiles(directory, blockFiles);
    this.#entries = new DiskEntries(this.#files, budget, holds, this.#work);
    this.#writes = new WriteBehind(pendingBytesMax, (object, pieces) => this.#write(object, pieces));
    this.#scanned = this.#work.add(this.#scan());
  }

  statistics(): DiskCacheStatistics {
    return {
      objects: this.#entries.count,
      bytes: this.#budget.cachedBytes,
      ...this.#counts,
      writeErrors: this.#work.errors,
      lastError: this.#work.lastError,
    };
  }

  /** Memory of blocks that wait to be written. */
  get waitingBytes(): number {
    return this.#writes.bytes;
  }

  /** What it may hold now. */
  get bytesMax(): number {
    return this.#budget.cacheBytesMax;
  }

  /** What is here of objects that are held. */
  get heldBytes(): number {
    return this.#entries.heldBytes;
  }

  /** Keeps objects, by their names here, from being pushed out until what is answered is called. */
  hold(names: readonly string[]): () => void {
    return this.#holds.hold(names);
  }

  /** Removes objects by their names here, or all (null), but not those that are held. Answers how many bytes they had. */
  async evict(names: readonly string[] | null): Promise<number> {
    await this.#scanned;
    return this.#entries.evictUnheld(names);
  }

  /** What is cached of an object, empty when nothing is. */
  async open(key: string): Promise<DiskObject> {
    const name = cacheName(key);
    await this.#entries.removal(name);
    const known = this.#entries.object(name);
    if (known !== undefined) return known;
    const table = await this.#files.readIndex(key, name);
    // Somebody else may have opened it meanwhile; there must be one table per object.
    const other = this.#entries.object(name);
    if (other !== undefined) return other;
    const object = new DiskObject(key, name, table ?? new BlockTable());
    if (table === null) return object;
    this.#entries.add(object);
    this.#files.noteUse(name);
    return object;
  }

  /** The object, if somebody opened it since the start and it was not evicted. */
  opened(key: string): DiskObject | undefined {
    return this.#entries.object(cacheName(key));
  }

  /** The object, when all of it was verified. */
  verified(key: string): DiskObject | undefined {
    const object = this.opened(key);
    return object?.verified === true ? object : undefined;
  }

  /**
   * Reads all of an object that is here with exactly so many bytes, off the event loop, and marks it `verified` or drops the
   * blocks that are not what was stored.
   */
  async verify(object: DiskObject, size: number): Promise<void> {
    const crcs = object.table.crcs.slice(0, Math.ceil(size / checkBytes));
    const path = this.#files.dataPath(object.name);
    const bad = await this.#checker.badPieces({ path, size, pieceBytes: checkBytes, crcs });
    if (object.dead) return;
    for (const piece of bad) this.#bad(object, piece * checkBytes);
    if (bad.length > 0 || !object.hasAll(size)) return;
    object.verified = true;
    this.#counts.verifiedObjects++;
  }

  /**
   * The file with the object's bytes, for reading, as used now; the caller closes it. It is never cut, and its verified blocks are
   * never changed; an eviction unlinks it, and its room is free when it is closed. undefined: it is gone.
   */
  openData(object: DiskObject): number | undefined {
    if (object.dead || !this.#entries.use(object)) return undefined;
    try {
      return this.#files.openData(object.name);
    } catch {
      return undefined; // somebody removed it; the next read finds out
    }
  }

  /** Counts the room of the object's data file as taken, also after an eviction, until what is answered is called. */
  holdData(key: string): () => void {
    const object = this.opened(key);
    return object === undefined ? () => {} : this.#entries.holdData(object);
  }

  /** [offset, offset + length) for who reads and verifies it himself; undefined: not all of it is here. */
  local(object: DiskObject, offset: number, length: number): LocalRange | undefined {
    if (!object.hasRange(offset, length)) return undefined;
    this.#entries.use(object);
    try {
      return this.#files.range(object, offset, length, this.#onHit);
    } catch (error) {
      this.#lost(object, error);
      return undefined;
    }
  }

  /** [offset, offset + length) with every checksum verified, or null: some of it is not there or not what was stored. */
  async read(object: DiskObject, offset: number, length: number): Promise<Buffer | null> {
    const range = this.local(object, offset, length);
    if (range === undefined) return null;
    try {
      const found = await readRange(range);
      if (!('damagedAt' in found)) return found;
      this.#bad(object, found.damagedAt);
    } catch (error) {
      this.#lost(object, error);
    }
    return null;
  }

  /**
   * Keeps whole blocks (the last may end early) in the background. The bytes must not change until `done` is called, which
   * it is once, later. When too much waits to be written the answer is false, and nothing was taken: the caller tries again when
   * others are done, or says `skipped`. A caller that is `patient` waits for its turn first, but not for ever.
   */
  store(
    object: DiskObject,
    start: number,
    bytes: Buffer,
    patient = false,
    done: () => void = () => {},
  ): MaybePromise<boolean> {
    if (this.#writes.reserve(bytes.length)) this.#storeReserved(object, start, bytes, done);
    else return patient ? this.#storeLater(object, start, bytes, done) : false;
    return true;
  }

  /** So many bytes that `store` did not take are given up. */
  skipped(bytes: number): void {
    this.#counts.skippedBytes += bytes;
  }

  /** The same as `store` for who waits until the bytes are here. False: there is no room. Rejects when writing fails. */
  async keepNow(object: DiskObject, start: number, bytes: Buffer): Promise<boolean> {
    const pieces = [{ offset: start, bytes }];
    const write = this.#begin(object, bytes.length, () => this.#write(object, pieces));
    if (write === null) return false;
    await write;
    return !object.dead;
  }

  /** Keeps a whole object that this mount has just sent. */
  keep(key: string, bytes: Buffer): void {
    const kept = this.open(key).then(async (object) => {
      this.noteSize(object, bytes.length);
      const step = limits.getBytesMax;
      for (let at = 0; at < bytes.length; at += step) {
        const piece = bytes.subarray(at, at + step);
        if (!(await this.store(object, at, piece, true))) this.skipped(piece.length);
      }
    });
    void this.#work.add(kept);
  }

  /** Remembers the exact size of an object, so that nobody has to ask the store again. */
  noteSize(object: DiskObject, size: number): void {
    if (object.dead || object.table.size === size) return;
    object.table.size = size;
    if (object.table.bytes === 0) return;
    void this.#work.add(this.#files.writeHeader(object));
  }

  /**
   * Takes a local file that holds exactly an object's bytes as the cache of that object, by rename. `checks` are those of
   * its bytes as they were sent. Throws when it cannot: the file stays where it was.
   */
  adopt({ key, size, checks }: WholeObject, path: string): void {
    const name = cacheName(key);
    if (this.#entries.removal(name) !== undefined) throw new Error(`${name} is being removed`);
    this.#entries.retire(name);
    this.#files.takeData(name, path);
    const object = new DiskObject(key, name, BlockTable.whole(size, checks));
    this.#entries.add(object);
    void this.#work.add(this.#files.writeWholeIndex(object, size));
    this.#entries.makeRoom(0, null);
  }

  /** Resolves when everything handed to `store` so far is on disk or given up. */
  settled(): Promise<void> {
    return this.#work.settled();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#checker[Symbol.asyncDispose]();
    await this.settled();
    this.#writes.close();
    await this.settled();
    this.#files.closeAll();
  }

  async #storeLater(object: DiskObject, start: number, bytes: Buffer, done: () => void): Promise<boolean> {
    const hasRoom = await this.#writes.reserveLater(bytes.length);
    if (hasRoom) this.#storeReserved(object, start, bytes, done);
    return hasRoom;
  }

  #storeReserved(object: DiskObject, start: number, bytes: Buffer, done: () => void): void {
    const { length } = bytes;
    const run = () => this.#writes.run(object, { offset: start, bytes }, length);
    const write = this.#begin(object, length, run, done);
    if (write !== null) return;
    this.#writes.release(length);
    this.skipped(length);
    queueMicrotask(done);
  }

  /** Counts `length` bytes as on their way to the disk while `write` runs. null: there is no room, and it did not run. */
  #begin(
    object: DiskObject,
    length: number,
    write: () => Promise<void>,
    ended: () => void = () => {},
  ): Promise<void> | null {
    const entries = this.#entries;
    if (object.dead || !entries.use(object) || !entries.makeRoom(length, object.name)) return null;
    const written = this.#budget.writeCached(length, write).finally(ended);
    void this.#work.add(written);
    return written;
  }

  async #write(object: DiskObject, pieces: readonly FilePiece[]): Promise<void> {
    // What was evicted for these bytes must be gone, or for a while both are on the disk.
    const removals = this.#entries.removals();
    if (removals !== undefined) await removals;
    if (object.dead) return;
    const { table } = object;
    const isNew = table.bytes === 0;
    const checks = await this.#files.writeData(object.name, pieces);
    if (object.dead) return;
    let grown = 0;
    for (const [i, piece] of pieces.entries()) grown += enter(table, piece, checks[i]);
    this.#entries.grow(object, grown);
    if (object.dead) return;
    if (isNew) await this.#files.writeHeader(object);
    await Promise.all(
      blockRuns(pieces).map(({ first, end }) => this.#files.writeEntries(object, first, end - first)),
    );
  }

  /** What is stored of an object cannot be read at all. */
  #lost(object: DiskObject, error: unknown): void {
    this.#work.lastError = messageOf(error);
    this.#counts.badBlocks++;
    if (!object.dead) this.#entries.evict(object.name);
  }

  #bad(object: DiskObject, offset: number): void {
    const block = Math.floor(offset / blockBytes);
    const length = object.table.length(block);
    // Several readers find the same.
    if (object.dead || length === 0) return;
    this.#counts.badBlocks++;
    object.verified = false;
    this.#entries.grow(object, -length);
    object.table.set(block, 0, []);
    void this.#work.add(this.#files.writeEntries(object, block, 1));
  }

  /** Takes in what earlier runs left. Runs beside everything else. */
  async #scan(): Promise<void> {
    const found = await findCached(this.#files.directory, (name) => this.#closed || this.#entries.has(name));
    this.#entries.addFound(found);
  }
}

/** Notes what a piece brought. Answers by how many bytes more are there than before. */
function enter(
  table: BlockTable,
  { offset, bytes }: FilePiece,
  checks: Uint32Array = new Uint32Array(),
): number {
  const first = offset / blockBytes;
  let grown = 0;
  for (let i = 0; i * blockBytes < bytes.length; i++) {
    const length = Math.min(blockBytes, bytes.length - i * blockBytes);
    // A longer form of the block may have been stored meanwhile; its entry stays true.
    if (table.length(first + i) > length) continue;
    grown += length - table.length(first + i);
    table.set(first + i, length, checks.subarray(i * checksPerBlock, (i + 1) * checksPerBlock));
  }
  return grown;
}

/** The blocks of pieces; of those that follow each other one run. */
function blockRuns(pieces: readonly FilePiece[]): { first: number; end: number }[] {
  const runs: { first: number; end: number }[] = [];
  for (const { offset, bytes } of pieces.toSorted((a, b) => a.offset - b.offset)) {
    const first = offset / blockBytes;
    const end = Math.ceil((offset + bytes.length) / blockBytes);
    const last = runs.at(-1);
    if (last !== undefined && first <= last.end) last.end = Math.max(last.end, end);
    else runs.push({ first, end });
  }
  return runs;
}
