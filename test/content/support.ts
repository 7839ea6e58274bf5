import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach } from 'vitest';
import { BlockFetcher } from '../../src/content/block-fetcher.js';
import { BlockReader } from '../../src/content/block-reader.js';
import { DiskBudget } from '../../src/content/disk-budget.js';
import { DiskCache } from '../../src/content/disk-cache.js';
import type { ExtentMap } from '../../src/content/extent-map.js';
import { MemoryCache } from '../../src/content/object-blocks.js';
import type { FileContent } from '../../src/content/ports.js';
import { ReadAheadBudget } from '../../src/content/read-ahead.js';
import { StagingFiles } from '../../src/content/staging.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { ByteRange, CallOptions } from '../../src/store/object-store.js';

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

  override async get(key: string, range?: ByteRange, options?: CallOptions): Promise<Buffer> {
    this.gets.push({ key, offset: range?.offset ?? 0, length: range?.length ?? -1 });
    if (this.gate !== null) await this.gate;
    if (this.failure !== null) throw this.failure;
    return super.get(key, range, options);
  }

  override head(key: string, options?: CallOptions) {
    this.heads++;
    return super.head(key, options);
  }

  async putObject(object: string, bytes: Buffer): Promise<void> {
    await this.put(objectKey(artifactId, object), bytes);
  }

  get gotBytes(): number {
    return this.gets.reduce((sum, { length }) => sum + length, 0);
  }
}

export interface ReadingOptions {
  readonly memoryBytes?: number;
  readonly diskBytes?: number;
}

/** The read path alone, wired as createContent wires it. */
export function readingSide(directory: string, store: WatchedStore, options: ReadingOptions = {}) {
  const budget = new DiskBudget(options.diskBytes ?? 2 ** 40);
  const staging = new StagingFiles(join(directory, 'staging'), budget);
  const memory = new MemoryCache(options.memoryBytes ?? 256 << 20);
  const disk = new DiskCache(join(directory, 'cache'), budget, 256 << 20);
  const fetcher = new BlockFetcher(store, memory, disk, 64 << 20);
  const readAhead = new ReadAheadBudget((options.memoryBytes ?? 256 << 20) / 2);
  const reader = new BlockReader({ memory, fetcher, staging, readAhead, objectKey });
  return {
    budget,
    staging,
    memory,
    disk,
    fetcher,
    readAhead,
    reader,
    async [Symbol.asyncDispose]() {
      await disk[Symbol.asyncDispose]();
      staging[Symbol.dispose]();
    },
  };
}

export const contentOf = (map: ExtentMap, size: number): FileContent => ({
  size: () => size,
  pieces: (offset, length) => map.pieces(offset, length),
});

/** Bytes that differ everywhere, so that a block at a wrong place is noticed. */
export function noise(length: number, seed: number): Buffer {
  const bytes = Buffer.allocUnsafe(length);
  let state = (seed * 2654435761 + 12345) >>> 0;
  for (let i = 0; i + 4 <= length; i += 4) {
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    state >>>= 0;
    bytes.writeUInt32LE(state, i);
  }
  for (let i = length - (length % 4); i < length; i++) bytes[i] = i & 0xff;
  return bytes;
}
