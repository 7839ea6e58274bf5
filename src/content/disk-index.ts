import { createHash } from 'node:crypto';
import { crc32 } from 'node:zlib';
import { limits } from '../model/limits.js';

/**
 * The sidecar of one cached object: which blocks are in the data file beside it.
 *
 *   0  'AFSBLK01'        8 bytes
 *   8  block size        u32, as all numbers little-endian
 *  12  CRC32 of the rest of the header
 *  16  object size       f64, -1 when not known
 *  24  SHA-256 of the object's key
 *  56  0                 8 bytes
 *  64  per block: CRC32 of its bytes (u32), how many of its bytes are there (u32; 0: none)
 *
 * The data is written before its entry, without a sync in between: after a power loss an entry may name bytes that
 * never reached the disk. The CRC, checked at every read, decides.
 */
export const headerBytes = 64;
export const entryBytes = 8;
const magic = Buffer.from('AFSBLK01');

/** Entries of blocks, growing on demand. */
export class BlockTable {
  size: number | null;
  #words: Uint32Array;

  constructor(size: number | null = null, words = new Uint32Array(16)) {
    this.size = size;
    this.#words = words;
  }

  /** Bytes of the block that are on disk; 0 for none. */
  length(block: number): number {
    return this.#words[block * 2 + 1] ?? 0;
  }

  crc(block: number): number {
    return this.#words[block * 2] ?? 0;
  }

  set(block: number, crc: number, length: number): void {
    if (block * 2 + 2 > this.#words.length) {
      const grown = new Uint32Array(Math.max(this.#words.length * 2, block * 2 + 2));
      grown.set(this.#words);
      this.#words = grown;
    }
    this.#words[block * 2] = crc;
    this.#words[block * 2 + 1] = length;
  }

  /** The stored form of `count` entries from `block` on. */
  encode(block: number, count: number): Buffer {
    const bytes = Buffer.alloc(count * entryBytes);
    for (let i = 0; i < count; i++) {
      bytes.writeUInt32LE(this.crc(block + i), i * entryBytes);
      bytes.writeUInt32LE(this.length(block + i), i * entryBytes + 4);
    }
    return bytes;
  }

  /** Bytes of all blocks that are there. */
  get bytes(): number {
    let sum = 0;
    for (let i = 1; i < this.#words.length; i += 2) sum += this.#words[i] ?? 0;
    return sum;
  }

  /** End of the last byte that is there: the object is at least so long. */
  get end(): number {
    for (let block = this.#words.length / 2 - 1; block >= 0; block--) {
      const length = this.length(block);
      if (length > 0) return block * limits.blockBytes + length;
    }
    return 0;
  }
}

export function encodeHeader(key: string, size: number | null): Buffer {
  const header = Buffer.alloc(headerBytes);
  magic.copy(header);
  header.writeUInt32LE(limits.blockBytes, 8);
  header.writeDoubleLE(size ?? -1, 16);
  keyHash(key).copy(header, 24);
  header.writeUInt32LE(crc32(header.subarray(16)), 12);
  return header;
}

/** null: not a sidecar of this object and this version. A torn last entry counts as absent. */
export function decodeIndex(key: string, bytes: Buffer): BlockTable | null {
  if (bytes.length < headerBytes || !bytes.subarray(0, 8).equals(magic)) return null;
  if (bytes.readUInt32LE(8) !== limits.blockBytes) return null;
  if (bytes.readUInt32LE(12) !== crc32(bytes.subarray(16, headerBytes))) return null;
  if (!bytes.subarray(24, 56).equals(keyHash(key))) return null;
  const size = bytes.readDoubleLE(16);
  const count = Math.floor((bytes.length - headerBytes) / entryBytes);
  const words = new Uint32Array(Math.max(16, count * 2));
  for (let i = 0; i < count; i++) {
    const length = bytes.readUInt32LE(headerBytes + i * entryBytes + 4);
    if (length > limits.blockBytes) continue;
    words[i * 2] = bytes.readUInt32LE(headerBytes + i * entryBytes);
    words[i * 2 + 1] = length;
  }
  return new BlockTable(size < 0 ? null : size, words);
}

/** The name under which an object is cached: keys may be longer than a file name may be. */
export const cacheName = (key: string): string => keyHash(key).toString('hex').slice(0, 40);

const keyHash = (key: string) => createHash('sha256').update(key).digest();
