import { mkdirSync, openSync, renameSync, utimes, write } from 'node:fs';
import { readFile, rm, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { promisify } from 'node:util';
import { limits } from '../model/limits.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { BlockChecker } from './block-checker.js';
import { type BlockFiles, plainBlockFiles } from './block-files.js';
import { CacheHolds } from './cache-holds.js';
import type { DiskBudget } from './disk-budget.js';
import {
  BlockTable,
  cacheName,
  checksPerBlock,
  decodeIndex,
  encodeHeader,
  entryBytes,
  headerBytes,
} from './disk-index.js';
import { findCached } from './disk-scan.js';
import { FileRange, readRange } from './local-range.js';
import { OpenFiles } from './open-files.js';
import type { LocalRange } from './ports.js';
import { WriteBehind } from './write-behind.js';

const { blockBytes, checkBytes } = limits;
const writeAsync = promisify(write);

/** The cached blocks of one object. After its eviction it is `dead`: it answers and takes nothing any more. */
export interface DiskObject {
  readonly key: string;
  readonly name: string;
  readonly table: BlockTable;
  dead: boolean;
  /** INVARIANT: all blocks up to the object's size are here, and had their checksums since this daemon started. */
  verified: boolean;
  /** Who reads the data file past us. */
  readers: number;
  /** Taken by the data file after it was removed, as long as it has readers. */
  leftBytes: number;
}

/** An object whose bytes a local file has. */
export interface WholeObject {
  readonly key: string;
  readonly size: number;
  /** CRC32 of every `limits.checkBytes` of it. */
  readonly checks: readonly number[];
}

interface Entry {
  bytes: number;
  object: DiskObject | null;
}

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
 * Blocks of objects on the local disk: `<name>.data`, sparse, each block at its own offset, and `<name>.idx`
 * (disk-index.ts). Survives restarts. Whole objects are evicted, the one used longest ago first. Nothing here fails
 * a read: what cannot be kept is counted and fetched again.
 */
export class DiskCache implements AsyncDisposable {
  readonly #directory: string;
  readonly #budget: DiskBudget;
  readonly #files: OpenFiles<string>;
  readonly #blockFiles: BlockFiles;
  /** In order of use: the first is the oldest. */
  #entries = new Map<string, Entry>();
  readonly #removals = new Map<string, Promise<void>>();
  readonly #holds: CacheHolds;
  readonly #scanned: Promise<void>;
  readonly #writes: WriteBehind;
  readonly #work = new Set<Promise<void>>();
  readonly #checker = new BlockChecker();
  #closed = false;
  readonly #counts = { badBlocks: 0, verifiedObjects: 0, hitBytes: 0, skippedBytes: 0, writeErrors: 0 };
  #lastError: string | null = null;
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
    this.#blockFiles = blockFiles;
    this.#directory = directory;
    this.#holds = holds;
    this.#budget = budget;
    this.#writes = new WriteBehind(pendingBytesMax);
    this.#files = new OpenFiles((file) => join(directory, file), limits.cacheOpenFilesMax);
    mkdirSync(directory, { recursive: true, mode: 0o700 });
    budget.attachCache(
      () => this.#makeRoom(0, null),
      (bytes) => this.#reclaim(bytes),
    );
    this.#scanned = this.#scan();
    this.#track(this.#scanned);
  }

  statistics(): DiskCacheStatistics {
    return {
      objects: this.#entries.size,
      bytes: this.#budget.cachedBytes,
      ...this.#counts,
      lastError: this.#lastError,
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
    let sum = 0;
    for (const name of this.#holds.names()) sum += this.#entries.get(name)?.bytes ?? 0;
    return sum;
  }

  /** Keeps objects, by their names here, from being pushed out until what is answered is called. */
  hold(names: readonly string[]): () => void {
    return this.#holds.hold(names);
  }

  /** Removes objects by their names here, or all (null), but not those that are held. Answers how many bytes they had. */
  async evict(names: readonly string[] | null): Promise<number> {
    await this.#scanned.catch(() => {});
    let bytes = 0;
    for (const name of names ?? [...this.#entries.keys()]) {
      const entry = this.#entries.get(name);
      if (entry === undefined || this.#holds.has(name)) continue;
      bytes += entry.bytes;
      this.#evict(name);
    }
    await Promise.all(this.#removals.values());
    return bytes;
  }

  /** What is cached of an object, empty when nothing is. */
  async open(key: string): Promise<DiskObject> {
    const name = cacheName(key);
    await this.#removals.get(name);
    const known = this.#entries.get(name)?.object;
    if (known) return known;
    const bytes = await readFile(join(this.#directory, `${name}.idx`)).catch(() => null);
    const table = bytes === null ? null : decodeIndex(key, bytes);
    // Somebody else may have opened it meanwhile; there must be one table per object.
    const entry = this.#entries.get(name);
    if (entry?.object) return entry.object;
    const object = newObject(key, name, table ?? new BlockTable());
    if (table === null) return object;
    if (entry !== undefined) entry.object = object;
    else this.#entries.set(name, { bytes: this.#added(table.bytes), object });
    const now = new Date();
    utimes(join(this.#directory, `${name}.idx`), now, now, () => {});
    return object;
  }

  has(object: DiskObject, block: number, length: number): boolean {
    return object.table.length(block) >= length;
  }

  /** All of a range that is not empty. */
  hasRange(object: DiskObject, offset: number, length: number): boolean {
    if (object.dead) return false;
    const end = offset + length;
    for (let block = Math.floor(offset / blockBytes); block * blockBytes < end; block++) {
      if (!this.has(object, block, Math.min(blockBytes, end - block * blockBytes))) return false;
    }
    return true;
  }

  /** Every block of an object of this size. */
  hasAll(object: DiskObject, size: number): boolean {
    return this.hasRange(object, 0, size);
  }

  /**
   * Reads all of an object that is here with exactly so many bytes, off the event loop, and marks it `verified` or drops the
   * blocks that are not what was stored.
   */
  async verify(object: DiskObject, size: number): Promise<void> {
    const crcs = object.table.crcs.slice(0, Math.ceil(size / checkBytes));
    const path = join(this.#directory, `${object.name}.data`);
    const bad = await this.#checker.badPieces({ path, size, pieceBytes: checkBytes, crcs });
    if (object.dead) return;
    for (const piece of bad) this.#bad(object, piece * checkBytes);
    if (bad.length > 0 || !this.hasAll(object, size)) return;
    object.verified = true;
    this.#counts.verifiedObjects++;
  }

  /** The object, if somebody opened it since the start and it was not evicted. */
  opened(key: string): DiskObject | undefined {
    return this.#entries.get(cacheName(key))?.object ?? undefined;
  }

  /** The object, when all of it was verified. */
  verified(key: string): DiskObject | undefined {
    const object = this.opened(key);
    return object?.verified === true ? object : undefined;
  }

  /**
   * The file with the object's bytes, for reading, as used now; the caller closes it. It is never cut, and its verified blocks are
   * never changed; an eviction unlinks it, and its room is free when it is closed. undefined: it is gone.
   */
  openData(object: DiskObject): number | undefined {
    if (object.dead || !this.#use(object)) return undefined;
    try {
      return openSync(join(this.#directory, `${object.name}.data`), 'r');
    } catch {
      return undefined; // somebody removed it; the next read finds out
    }
  }

  /** Counts the room of the object's data file as taken, also after an eviction, until what is answered is called. */
  holdData(key: string): () => void {
    const object = this.opened(key);
    if (object === undefined) return () => {};
    object.readers++;
    return () => {
      object.readers--;
      if (object.readers > 0 || object.leftBytes === 0) return;
      this.#budget.addLeft(-object.leftBytes);
      object.leftBytes = 0;
    };
  }

  /** [offset, offset + length) for who reads and verifies it himself; undefined: not all of it is here. */
  local(object: DiskObject, offset: number, length: number): LocalRange | undefined {
    if (!this.hasRange(object, offset, length)) return undefined;
    this.#use(object);
    const lastBlock = Math.floor((offset + length - 1) / blockBytes);
    const checkedEnd = lastBlock * blockBytes + object.table.length(lastBlock);
    try {
      const file = this.#files.acquire(`${object.name}.data`, false);
      const { crcs } = object.table;
      return new FileRange(this.#files, file, { offset, length, crcs, checkedEnd }, this.#onHit);
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

  async #storeLater(object: DiskObject, start: number, bytes: Buffer, done: () => void): Promise<boolean> {
    const hasRoom = await this.#writes.reserveLater(bytes.length);
    if (hasRoom) this.#storeReserved(object, start, bytes, done);
    return hasRoom;
  }

  #storeReserved(object: DiskObject, start: number, bytes: Buffer, done: () => void): void {
    const { length } = bytes;
    const run = () => this.#writes.run(length, () => this.#write(object, start, bytes));
    const write = this.#begin(object, length, run, done);
    if (write !== null) return;
    this.#writes.release(length);
    this.skipped(length);
    queueMicrotask(done);
  }

  /** The same as `store` for who waits until the bytes are here. False: there is no room. Rejects when writing fails. */
  async keepNow(object: DiskObject, start: number, bytes: Buffer): Promise<boolean> {
    const write = this.#begin(object, bytes.length, () => this.#write(object, start, bytes));
    if (write === null) return false;
    await write;
    return !object.dead;
  }

  /** Counts `length` bytes as on their way to the disk while `write` runs. null: there is no room, and it did not run. */
  #begin(
    object: DiskObject,
    length: number,
    write: () => Promise<void>,
    ended: () => void = () => {},
  ): Promise<void> | null {
    if (object.dead || !this.#use(object) || !this.#makeRoom(length, object.name)) return null;
    const written = this.#budget.writeCached(length, write).finally(ended);
    this.#track(written);
    return written;
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
    this.#track(kept);
  }

  /** Remembers the exact size of an object, so that nobody has to ask the store again. */
  noteSize(object: DiskObject, size: number): void {
    if (object.dead || object.table.size === size) return;
    object.table.size = size;
    if (object.table.bytes === 0) return;
    this.#track(this.#writeHeader(object));
  }

  /**
   * Takes a local file that holds exactly an object's bytes as the cache of that object, by rename. `checks` are those of
   * its bytes as they were sent. Throws when it cannot: the file stays where it was.
   */
  adopt({ key, size, checks }: WholeObject, path: string): void {
    const name = cacheName(key);
    if (this.#removals.has(name)) throw new Error(`${name} is being removed`);
    this.#retire(name);
    renameSync(path, join(this.#directory, `${name}.data`));
    const table = BlockTable.whole(size, checks);
    const object = newObject(key, name, table);
    this.#entries.set(name, { bytes: this.#added(size), object });
    const index = Buffer.concat([encodeHeader(key, size), table.encode(0, Math.ceil(size / blockBytes))]);
    const done = writeFile(join(this.#directory, `${name}.idx`), index, { mode: 0o600 });
    this.#track(done);
    this.#makeRoom(0, null);
  }

  /** Resolves when everything handed to `store` so far is on disk or given up. */
  async settled(): Promise<void> {
    while (this.#work.size > 0) await Promise.all(this.#work);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    await this.#checker[Symbol.asyncDispose]();
    await this.settled();
    this.#writes.close();
    await this.settled();
    this.#files.closeAll();
  }

  async #write(object: DiskObject, start: number, bytes: Buffer): Promise<void> {
    // What was evicted for these bytes must be gone, or for a while both are on the disk.
    if (this.#removals.size > 0) await Promise.all(this.#removals.values());
    if (object.dead) return;
    const isNew = object.table.bytes === 0;
    const checks = await this.#writeData(object, start, bytes);
    if (object.dead) return;
    const first = start / blockBytes;
    const count = Math.ceil(bytes.length / blockBytes);
    let grown = 0;
    for (let i = 0; i < count; i++) {
      const length = Math.min(blockBytes, bytes.length - i * blockBytes);
      const crcs = checks.subarray(i * checksPerBlock, (i + 1) * checksPerBlock);
      // A longer form of the block may have been stored meanwhile; its entry stays true.
      if (object.table.length(first + i) > length) continue;
      grown += length - object.table.length(first + i);
      object.table.set(first + i, length, crcs);
    }
    const entry = this.#entries.get(object.name);
    if (entry !== undefined) entry.bytes += this.#added(grown);
    if (isNew) await this.#writeHeader(object);
    const entries = object.table.encode(first, count);
    await this.#writeFile(`${object.name}.idx`, headerBytes + first * entryBytes, entries);
  }

  #writeHeader(object: DiskObject): Promise<void> {
    return this.#writeFile(`${object.name}.idx`, 0, encodeHeader(object.key, object.table.size));
  }

  /** Answers the checksums. */
  async #writeData(object: DiskObject, start: number, bytes: Buffer): Promise<Uint32Array> {
    const file = this.#files.acquire(`${object.name}.data`, true);
    try {
      return await this.#blockFiles.write(file.fd, start, bytes);
    } finally {
      this.#files.release(file);
    }
  }

  async #writeFile(name: string, offset: number, bytes: Buffer): Promise<void> {
    const file = this.#files.acquire(name, true);
    try {
      for (let done = 0; done < bytes.length; ) {
        done += (await writeAsync(file.fd, bytes, done, bytes.length - done, offset + done)).bytesWritten;
      }
    } finally {
      this.#files.release(file);
    }
  }

  /** What is stored of an object cannot be read at all. */
  #lost(object: DiskObject, error: unknown): void {
    this.#lastError = messageOf(error);
    this.#counts.badBlocks++;
    if (!object.dead) this.#evict(object.name);
  }

  #bad(object: DiskObject, offset: number): void {
    const block = Math.floor(offset / blockBytes);
    // Several readers find the same.
    if (object.dead || object.table.length(block) === 0) return;
    this.#counts.badBlocks++;
    object.verified = false;
    const entry = this.#entries.get(object.name);
    if (entry !== undefined) entry.bytes += this.#added(-object.table.length(block));
    object.table.set(block, 0, []);
    const cleared = this.#writeFile(
      `${object.name}.idx`,
      headerBytes + block * entryBytes,
      object.table.encode(block, 1),
    );
    this.#track(cleared);
  }

  /** Makes the object the one used last. False: another record of the same object has taken its place. */
  #use(object: DiskObject): boolean {
    const entry = this.#entries.get(object.name) ?? { bytes: 0, object };
    entry.object ??= object;
    if (entry.object !== object) return false;
    this.#entries.delete(object.name);
    this.#entries.set(object.name, entry);
    return true;
  }

  /** Evicts others than `keep` until `bytes` more fit. False: they do not. */
  #makeRoom(bytes: number, keep: string | null): boolean {
    const max = this.#budget.cacheBytesMax;
    for (const [name, entry] of this.#entries) {
      if (this.#budget.cachedBytes + bytes <= max) return true;
      // What is only about to be written gives no room, nor does what somebody has open.
      if (name === keep || entry.bytes === 0 || isRead(entry)) continue;
      if (!this.#holds.has(name)) this.#evict(name);
    }
    return this.#budget.cachedBytes + bytes <= max;
  }

  /** For staged files: what is held goes, too, but last. */
  #reclaim(bytes: number): void {
    let freed = 0;
    for (const held of [false, true]) {
      for (const [name, entry] of this.#entries) {
        if (freed >= bytes) return;
        if (this.#holds.has(name) !== held || isRead(entry)) continue;
        freed += entry.bytes;
        this.#evict(name);
      }
    }
  }

  #evict(name: string): void {
    const bytes = this.#retire(name);
    const path = join(this.#directory, name);
    // The index first: data without an index is swept at the next start, an index without data would be believed.
    const removal = rm(`${path}.idx`, { force: true })
      .then(() => rm(`${path}.data`, { force: true }))
      .catch((error: unknown) => this.#failed(error))
      .finally(() => this.#removals.delete(name));
    this.#removals.set(name, removal);
    this.#budget.addLeaving(bytes, removal);
    this.#track(removal);
  }

  /** Forgets an object without touching its files. Returns the bytes they hold. */
  #retire(name: string): number {
    const entry = this.#entries.get(name);
    if (entry === undefined) return 0;
    this.#entries.delete(name);
    if (entry.object !== null) entry.object.dead = true;
    this.#files.drop(`${name}.data`);
    this.#files.drop(`${name}.idx`);
    this.#added(-entry.bytes);
    if (entry.object !== null && isRead(entry)) {
      entry.object.leftBytes = entry.bytes;
      this.#budget.addLeft(entry.bytes);
    }
    return entry.bytes;
  }

  /** Takes in what earlier runs left. Runs beside everything else: what was opened meanwhile is used more recently. */
  async #scan(): Promise<void> {
    const found = await findCached(this.#directory, (name) => this.#closed || this.#entries.has(name));
    const merged = new Map<string, Entry>();
    for (const { name, bytes } of found) {
      if (!this.#entries.has(name)) merged.set(name, { bytes: this.#added(bytes), object: null });
    }
    for (const [name, entry] of this.#entries) merged.set(name, entry);
    this.#entries = merged;
    this.#makeRoom(0, null);
  }

  #added(bytes: number): number {
    if (bytes !== 0) this.#budget.addCached(bytes);
    return bytes;
  }

  #failed(error: unknown): void {
    this.#counts.writeErrors++;
    this.#lastError = messageOf(error);
  }

  /** Work that nobody waits for but `settled`; a failure is counted. */
  #track(work: Promise<void>): void {
    const tracked = work
      .catch((error: unknown) => this.#failed(error))
      .finally(() => this.#work.delete(tracked));
    this.#work.add(tracked);
  }
}

/** Somebody has the data file open past us: removing it would free nothing. */
const isRead = (entry: Entry): boolean => entry.object !== null && entry.object.readers > 0;

const newObject = (key: string, name: string, table: BlockTable): DiskObject => ({
  key,
  name,
  table,
  dead: false,
  verified: false,
  readers: 0,
  leftBytes: 0,
});

const messageOf = (error: unknown) => (error instanceof Error ? error.message : String(error));
