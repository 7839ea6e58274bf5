import { randomInt } from 'node:crypto';
import { LRUCache } from 'lru-cache';
import type { Entry } from '../model/entry.js';
import { limits } from '../model/limits.js';
import { backoffMs, pause } from '../store/backoff.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { corrupt } from './fields.js';
import { objectKey, treeObject } from './keys.js';
import { decodeMetarange } from './metarange-codec.js';
import { decodeRange } from './range-codec.js';
import { sha256Hex } from './record-codec.js';
import type { TreeRef } from './records.js';
import type { Metarange, RangeRef, TreeReader } from './trees.js';

/**
 * Reads ranges and metaranges from the store, each verified against the hash in its reference. The last ones that were
 * written here, and metaranges that were read, are remembered as stored: a commit asks for its base's, and then for its
 * own.
 */
export class StoredTrees implements TreeReader {
  readonly #store: ObjectStore;
  /** By hash. */
  readonly #remembered = new LRUCache<string, Buffer>({
    maxSize: limits.treeBytesRememberedMax,
    sizeCalculation: (bytes) => Math.max(1, bytes.length),
  });

  constructor(store: ObjectStore) {
    this.#store = store;
  }

  async metarange(artifactId: string, tree: TreeRef, options?: CallOptions): Promise<Metarange> {
    const where = pieceName('metarange', artifactId, tree);
    const known = this.#remembered.get(tree.sha256);
    const bytes = known ?? (await this.#read(where, artifactId, tree, options));
    const metarange = await decodeMetarange(where, bytes, tree);
    if (known === undefined) this.remember(tree, bytes);
    return metarange;
  }

  /** `stored` is what the store has, or will have, where `piece` says. */
  remember(piece: Piece, stored: Buffer): void {
    this.#remembered.set(piece.sha256, stored);
  }

  async range(artifactId: string, range: RangeRef, options?: CallOptions): Promise<Entry[]> {
    const where = pieceName('range', artifactId, range);
    const known = this.#remembered.get(range.sha256);
    return decodeRange(where, known ?? (await this.#read(where, artifactId, range, options)), range);
  }

  /** A range has no checksum but this one: an answer that was damaged on its way is asked for again. */
  async #read(where: string, artifactId: string, piece: Piece, options?: CallOptions): Promise<Buffer> {
    const { offset, length } = piece;
    for (let attempt = 1; ; attempt++) {
      const bytes = await this.#store.get(objectKey(artifactId, piece.object), { offset, length }, options);
      const found = sha256Hex(bytes);
      if (found === piece.sha256) return bytes;
      if (attempt === limits.storeDamagedGetsMax)
        throw corrupt(where, `has the hash ${found}, not ${piece.sha256}`);
      await pause(backoffMs(attempt, {}), options?.signal);
    }
  }
}

/** Where some bytes of a tree lie, and what they hash to. */
export interface Piece {
  readonly object: string;
  readonly offset: number;
  readonly length: number;
  readonly sha256: string;
}

/**
 * Gathers the pieces of one attempt to commit into few objects: the tree of a small commit is one PUT. Keys are fresh
 * for every attempt, so plain PUTs can be repeated and one that lands late harms nothing.
 */
export class TreeObjectWriter {
  readonly #store: ObjectStore;
  readonly #artifactId: string;
  readonly #stageId: string;
  readonly #options: CallOptions;
  #n: number;
  #chunks: Buffer[] = [];
  #size = 0;
  #putting: Promise<unknown> = Promise.resolve();

  constructor(store: ObjectStore, artifactId: string, stageId: string, options: CallOptions = {}) {
    this.#store = store;
    this.#artifactId = artifactId;
    this.#stageId = stageId;
    this.#options = options;
    // Random, because after a crash nobody remembers which numbers earlier attempts of the stage have used.
    this.#n = randomInt(2 ** 47);
  }

  /** Takes the bytes and answers where they will lie. A full object is sent while the next one fills. */
  async add(bytes: Buffer): Promise<Piece> {
    const piece: Piece = {
      object: treeObject(this.#stageId, this.#n),
      offset: this.#size,
      length: bytes.length,
      sha256: sha256Hex(bytes),
    };
    this.#chunks.push(bytes);
    this.#size += bytes.length;
    if (this.#size >= limits.treeObjectBytesTarget) await this.#send();
    return piece;
  }

  /** Every piece is in the store when it resolves. */
  async finish(): Promise<void> {
    if (this.#size > 0) await this.#send();
    await this.#putting;
  }

  async #send(): Promise<void> {
    const key = objectKey(this.#artifactId, treeObject(this.#stageId, this.#n));
    const body = this.#chunks;
    this.#n++;
    this.#chunks = [];
    this.#size = 0;
    const before = this.#putting;
    const put = before.then(() => this.#store.put(key, body, this.#options));
    // Whoever waits next is told; until then a failure must not count as unhandled.
    put.catch(() => undefined);
    this.#putting = put;
    await before;
  }
}

const pieceName = (what: string, artifactId: string, piece: Piece): string =>
  `${what} ${objectKey(artifactId, piece.object)} at ${piece.offset}+${piece.length}`;
