import { crc32 } from 'node:zlib';
import { ArtifactError } from '../../model/errors.js';

/**
 * A pack is one object that holds many small files:
 *
 *   the files' bytes, one after another
 *   index: JSON {"kind":"artifactfs.pack","formatVersion":1,"entries":[[sha256, offset, length], ...]}
 *   trailer, 24 bytes:
 *      0  length of the index, u32 little-endian
 *      4  CRC32 of the index, u32 little-endian
 *      8  offset of the index, u64 little-endian
 *     16  'AFSPACK1'
 *
 * Readers go by the extents of a tree and never need the index; it makes a pack readable alone, for `verify` and for
 * whoever has nothing but the bucket. `sha256` is that of the entry's bytes, which is the whole file unless the file
 * was changed in part.
 */
export interface PackEntry {
  readonly sha256: string;
  readonly offset: number;
  readonly length: number;
}

const packTrailerBytes = 24;
const magic = Buffer.from('AFSPACK1');
/** An upper bound of one entry in the index: 64 hex digits, two numbers, punctuation. */
const indexEntryBytes = 96;
const indexFixedBytes = 80;

/** Room that index and trailer of a pack with so many entries take at most. */
export const packFooterBytes = (entries: number): number =>
  indexFixedBytes + entries * indexEntryBytes + packTrailerBytes;

/** Index and trailer that follow `dataBytes` of file contents. */
export function encodePackFooter(entries: readonly PackEntry[], dataBytes: number): Buffer {
  const rows = entries.map(({ sha256, offset, length }) => [sha256, offset, length]);
  const index = Buffer.from(JSON.stringify({ kind: 'artifactfs.pack', formatVersion: 1, entries: rows }));
  const trailer = Buffer.alloc(packTrailerBytes);
  trailer.writeUInt32LE(index.length, 0);
  trailer.writeUInt32LE(crc32(index), 4);
  trailer.writeBigUInt64LE(BigInt(dataBytes), 8);
  magic.copy(trailer, 16);
  return Buffer.concat([index, trailer]);
}

/** Reads the index of a whole pack. `Corrupt` when it is not one; `UnsupportedFormat` when a newer build wrote it. */
export function decodePack(name: string, pack: Buffer): PackEntry[] {
  const trailer = pack.subarray(Math.max(0, pack.length - packTrailerBytes));
  if (trailer.length < packTrailerBytes || !trailer.subarray(16).equals(magic)) {
    throw new ArtifactError('Corrupt', `object ${name} does not end as a pack does`);
  }
  const length = trailer.readUInt32LE(0);
  const start = Number(trailer.readBigUInt64LE(8));
  const index = pack.subarray(start, start + length);
  if (start + length + packTrailerBytes !== pack.length || crc32(index) !== trailer.readUInt32LE(4)) {
    throw new ArtifactError('Corrupt', `the index of pack ${name} is damaged`);
  }
  const { formatVersion, entries } = JSON.parse(index.toString()) as {
    formatVersion: number;
    entries: [string, number, number][];
  };
  if (formatVersion !== 1) {
    throw new ArtifactError('UnsupportedFormat', `pack ${name} has format ${formatVersion}`, {
      hint: 'update artifactfs',
    });
  }
  return entries.map(([sha256, offset, length_]) => ({ sha256, offset, length: length_ }));
}
