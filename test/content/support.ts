import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import type { CacheHolds } from '../../src/content/cache/cache-holds.js';
import { DiskCache } from '../../src/content/cache/disk-cache.js';
import { LocalObjects } from '../../src/content/cache/local-objects.js';
import type { ExtentMap } from '../../src/content/extent-map.js';
import { DiskBudget } from '../../src/content/local/disk-budget.js';
import { StagingFiles } from '../../src/content/local/staging.js';
import type { FileContent, JournaledPart, JournaledUpload, UploadJournal } from '../../src/content/ports.js';
import { BlockFetcher } from '../../src/content/read/block-fetcher.js';
import { BlockReader } from '../../src/content/read/block-reader.js';
import { MemoryCache } from '../../src/content/read/object-blocks.js';
import { ReadAheadBudget } from '../../src/content/read/read-ahead.js';
import { Walks } from '../../src/content/read/walks.js';
import { StoreDistance } from '../../src/content/store-distance.js';
import { ArtifactError } from '../../src/model/errors.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { Body, ByteRange, CallOptions, PartInfo, PutResult } from '../../src/store/object-store.js';
import { bodyLength } from '../../src/store/object-store.js';

export const artifactId = '0198c0de-0000-7000-8000-000000000001';
export const objectKey = (id: string, object: string) => `a/${id}/${object}`;

/** A directory of its own for each test. */
export function useDirectory(): () => string {
  let directory = '';
  beforeEach(() => {
    directory = mkdtempSync(join(tmpdir(), 'content-'));
  });
  afterEach(() => rmSync(directory, { recursive: true, force: true }));
  return () => directory;
}

/** A memory store that says what was asked of it, and holds back or fails GETs when told to. */
export class WatchedStore extends MemoryStore {
  gets: { key: string; offset: number; length: number }[] = [];
  heads = 0;
  /** Awaited before each GET is answered. */
  gate: Promise<void> | null = null;
  failure: Error | null = null;
  /** Of the next GETs so many fail, if `failure` is set. */
  failing = Number.POSITIVE_INFINITY;

  override async get(key: string, range?: ByteRange, options?: CallOptions): Promise<Buffer> {
    this.gets.push({ key, offset: range?.offset ?? 0, length: range?.length ?? -1 });
    if (this.gate !== null) await this.gate;
    if (this.failure !== null && this.failing-- > 0) throw this.failure;
    return super.get(key, range, options);
  }

  override head(key: string, options?: CallOptions) {
    this.heads++;
    return super.head(key, options);
  }

  puts: { key: string; length: number }[] = [];
  parts: { key: string; part: number; length: number }[] = [];
  aborted: string[] = [];
  /** Consulted before each write reaches the store. */
  onWrite: (what: { key: string; part: number; length: number }) => Promise<void> | void = () => {};

  override async put(key: string, body: Body, options?: CallOptions): Promise<PutResult> {
    const length = bodyLength(body);
    await this.onWrite({ key, part: 0, length });
    const result = await super.put(key, body, options);
    this.puts.push({ key, length });
    return result;
  }

  override async uploadPart(
    key: string,
    uploadId: string,
    part: number,
    body: Body,
    options?: CallOptions,
  ): Promise<PartInfo> {
    const length = bodyLength(body);
    await this.onWrite({ key, part, length });
    const info = await super.uploadPart(key, uploadId, part, body, options);
    this.parts.push({ key, part, length });
    this.#sentParts.set(uploadId, (this.#sentParts.get(uploadId) ?? new Set()).add(part));
    return info;
  }

  override abortMultipart(key: string, uploadId: string, options?: CallOptions): Promise<void> {
    this.aborted.push(uploadId);
    return super.abortMultipart(key, uploadId, options);
  }

  /** Wants every part that was sent listed when an upload is completed, as Ceph does. */
  leavesOutParts = true;
  readonly #sentParts = new Map<string, Set<number>>();

  override async completeMultipart(
    key: string,
    uploadId: string,
    parts: readonly PartInfo[],
    options?: CallOptions,
  ): Promise<PutResult> {
    const sent = this.#sentParts.get(uploadId)?.size ?? 0;
    if (!this.leavesOutParts && sent > parts.length) {
      throw new ArtifactError('Unsupported', `cannot leave out a part of ${key}`);
    }
    return super.completeMultipart(key, uploadId, parts, options);
  }

  get sentBytes(): number {
    return [...this.puts, ...this.parts].reduce((sum, { length }) => sum + length, 0);
  }

  async putObject(object: string, bytes: Buffer): Promise<void> {
    await super.put(objectKey(artifactId, object), bytes);
  }

  get gotBytes(): number {
    return this.gets.reduce((sum, { length }) => sum + length, 0);
  }
}

export interface ReadingOptions {
  readonly memoryBytes?: number;
  readonly diskBytes?: number;
  /** GETs on their way. */
  readonly fetchBytes?: number;
  /** What may wait to be written to the disk cache. */
  readonly cacheWriteBytes?: number;
  readonly holds?: CacheHolds;
}

/** The read path alone, wired as createContent wires it. */
export function readingSide(directory: string, store: WatchedStore, options: ReadingOptions = {}) {
  const budget = new DiskBudget(options.diskBytes ?? 2 ** 40);
  const staging = new StagingFiles(join(directory, 'staging'), budget);
  const memory = new MemoryCache(options.memoryBytes ?? 256 << 20);
  const writeBytes = options.cacheWriteBytes ?? 256 << 20;
  const disk = new DiskCache(join(directory, 'cache'), budget, writeBytes, options.holds);
  const fetcher = new BlockFetcher(store, memory, disk, options.fetchBytes ?? 64 << 20, new StoreDistance());
  const readAhead = new ReadAheadBudget((options.memoryBytes ?? 256 << 20) / 2);
  const localObjects = new LocalObjects(disk, store);
  const walks = new Walks({ fetcher, memory, readAhead, objectKey });
  const reader = new BlockReader({ memory, fetcher, staging, readAhead, walks, localObjects, objectKey });
  return {
    budget,
    staging,
    memory,
    disk,
    fetcher,
    readAhead,
    walks,
    localObjects,
    reader,
    async [Symbol.asyncDispose]() {
      await disk[Symbol.asyncDispose]();
      staging[Symbol.dispose]();
    },
  };
}

/** Node's warnings while `work` runs, which come late. */
export async function warningsDuring(work: () => Promise<unknown>): Promise<string[]> {
  const warnings: string[] = [];
  const note = ({ name, message }: Error) => warnings.push(`${name}: ${message}`);
  process.on('warning', note);
  try {
    await work();
    await new Promise((resolve) => setImmediate(resolve));
  } finally {
    process.off('warning', note);
  }
  return warnings;
}

/** What stage.db does for the uploader: outlives it, as a file would. */
export class MemoryJournal implements UploadJournal {
  readonly rows = new Map<number, Row>();
  #lastNumber = 0;

  nextObjectNumber(): number {
    return ++this.#lastNumber;
  }

  saveUpload(upload: JournaledUpload): void {
    const { artifactId: id, stageId, file, path, object, uploadId, partBytes } = upload;
    const fields = { artifactId: id, stageId, file, path, object, uploadId, partBytes };
    this.rows.set(file, { ...fields, parts: new Map(), completedSize: null, sha256: null });
  }

  savePart(file: number, part: JournaledPart): void {
    this.#row(file).parts.set(part.part, part);
  }

  dropPart(file: number, part: number): void {
    this.#row(file).parts.delete(part);
  }

  complete(file: number, size: number, sha256: string | null): void {
    Object.assign(this.#row(file), { completedSize: size, sha256 });
  }

  remove(file: number): void {
    this.rows.delete(file);
  }

  all() {
    return [...this.rows.values()].map((row) => ({ ...row, parts: [...row.parts.values()] }));
  }

  readonly prefixes = new Set<string>();

  noteBegun(prefix: string): void {
    this.prefixes.add(prefix);
  }

  forgetBegun(prefix: string): void {
    this.prefixes.delete(prefix);
  }

  begun() {
    return [...this.prefixes];
  }

  #row(file: number): Row {
    const row = this.rows.get(file);
    if (row === undefined) throw new Error(`no upload of file ${file} is journaled`);
    return row;
  }
}

type Row = JournaledUpload & {
  parts: Map<number, JournaledPart>;
  completedSize: number | null;
  sha256: string | null;
};

export const contentOf = (map: ExtentMap, size: number): FileContent => ({
  size: () => size,
  pieces: (offset, length) => map.pieces(offset, length),
});

/** Bytes that differ everywhere, so that a block at a wrong place is noticed. */
export function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.alloc(length, Buffer.from(pageOf(seed)));
  // One page repeated would be too regular: each 256 bytes say where they are.
  for (let at = 0; at + 8 <= length; at += 256) bytes.writeUInt32LE((at ^ (seed * 2654435761)) >>> 0, at);
  return bytes;
}

function pageOf(seed: number): Uint8Array {
  const page = new Uint32Array(1021);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i < page.length; i++) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    page[i] = state;
  }
  return new Uint8Array(page.buffer);
}
