import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { limits } from '../../model/limits.js';

const { blockBytes, checkBytes } = limits;
export const checksPerBlock = blockBytes / checkBytes;

/**
 * The sidecar of one cached object: which blocks are in the data file beside it.
 *
 *   0  'AFSBLK02'        8 bytes
 *   8  block size        u32, as all numbers little-endian
 *  12  CRC32 of the rest of the header
 *  16  object size       f64, -1 when not known
 *  24  SHA-256 of the object's key
 *  56  check size        u32
 *  60  0                 4 bytes
 *  64  per block: how many of its bytes are there (u32; 0: none), CRC32 of each check-size piece of these (u32 each; the
 *      last piece may be shorter)
 *
 * The data is written before its entry, without a sync in between: after a power loss an entry may name bytes that
 * never reached the disk. The CRCs, checked at every read, decide. They are of pieces of a block, so that a small read
 * does not have to read all of it.
 */
export const headerBytes = 64;
export const entryBytes = 4 + 4 * checksPerBlock;
const magic = Buffer.from('AFSBLK02');

/** CRC32 of each piece of `checkBytes`, the last of which may be shorter. */
export function checksOf(bytes: Buffer): number[] {
  const crcs: number[] = [];
  for (let at = 0; at < bytes.length; at += checkBytes) crcs.push(crc32(bytes.subarray(at, at + checkBytes)));
  return crcs;
}

/** Entries of blocks, growing on demand. */
export class BlockTable {
  size: number | null;
  #lengths: Uint32Array;
  #crcs: Uint32Array;
  #bytes = 0;

  constructor(size: number | null = null, blocks = 8) {
    this.size = size;
    this.#lengths = new Uint32Array(blocks);
    this.#crcs = new Uint32Array(blocks * checksPerBlock);
  }

  /** Of an object that is there from its first byte to its last. */
  static whole(size: number, crcs: readonly number[]): BlockTable {
    const table = new BlockTable(size, Math.ceil(size / blockBytes));
    for (let block = 0; block * blockBytes < size; block++) {
      const length = Math.min(blockBytes, size - block * blockBytes);
      table.set(block, length, crcs.slice(block * checksPerBlock, (block + 1) * checksPerBlock));
    }
    return table;
  }

  /** Bytes of the block that are on disk; 0 for none. */
  length(block: number): number {
    return this.#lengths[block] ?? 0;
  }

  /** CRC32 of each piece of `checkBytes` of the object, from its start. Pieces that are not there have any. */
  get crcs(): Uint32Array {
    return this.#crcs;
  }

  set(block: number, length: number, crcs: ArrayLike<number>): void {
    if (block >= this.#lengths.length) this.#grow(Math.max(this.#lengths.length * 2, block + 1));
    this.#bytes += length - this.length(block);
    this.#lengths[block] = length;
    this.#crcs.set(crcs, block * checksPerBlock);
  }

  /** The stored form of `count` entries from `block` on. */
  encode(block: number, count: number): Buffer {
    const bytes = Buffer.alloc(count * entryBytes);
    let at = 0;
    for (let i = block; i < block + count; i++) {
      at = bytes.writeUInt32LE(this.length(i), at);
      for (let check = i * checksPerBlock; check < (i + 1) * checksPerBlock; check++) {
        at = bytes.writeUInt32LE(this.#crcs[check] ?? 0, at);
      }
    }
    return bytes;
  }

  /** Bytes of all blocks that are there. */
  get bytes(): number {
    return this.#bytes;
  }

  /** End of the last byte that is there: the object is at least so long. */
  get end(): number {
    const last = this.#lengths.findLastIndex((length) => length > 0);
    return last < 0 ? 0 : last * blockBytes + this.length(last);
  }

  #grow(blocks: number): void {
    const lengths = new Uint32Array(blocks);
    lengths.set(this.#lengths);
    this.#lengths = lengths;
    const crcs = new Uint32Array(blocks * checksPerBlock);
    crcs.set(this.#crcs);
    this.#crcs = crcs;
  }
}

export function encodeHeader(key: string, size: number | null): Buffer {
  const header = Buffer.alloc(headerBytes);
  magic.copy(header);
  header.writeUInt32LE(blockBytes, 8);
  header.writeDoubleLE(size ?? -1, 16);
  keyHash(key).copy(header, 24);
  header.writeUInt32LE(checkBytes, 56);
  header.writeUInt32LE(crc32(header.subarray(16)), 12);
  return header;
}

/** null: not a sidecar of this object and this version. A torn last entry counts as absent. */
export function decodeIndex(key: string, bytes: Buffer): BlockTable | null {
  if (bytes.length < headerBytes || !bytes.subarray(0, 8).equals(magic)) return null;
  if (bytes.readUInt32LE(8) !== blockBytes || bytes.readUInt32LE(56) !== checkBytes) return null;
  if (bytes.readUInt32LE(12) !== crc32(bytes.subarray(16, headerBytes))) return null;
  if (!bytes.subarray(24, 56).equals(keyHash(key))) return null;
  const size = bytes.readDoubleLE(16);
  const count = Math.floor((bytes.length - headerBytes) / entryBytes);
  const table = new BlockTable(size < 0 ? null : size, Math.max(8, count));
  for (let block = 0; block < count; block++) {
    const at = headerBytes + block * entryBytes;
    const length = bytes.readUInt32LE(at);
    if (length === 0 || length > blockBytes) continue;
    table.set(
      block,
      length,
      Array.from({ length: checksPerBlock }, (_, i) => bytes.readUInt32LE(at + 4 + i * 4)),
    );
  }
  return table;
}

/** The name under which an object is cached: keys may be longer than a file name may be. */
export const cacheName = (key: string): string => keyHash(key).toString('hex').slice(0, 40);

const keyHash = (key: string) => createHash('sha256').update(key).digest();
