import type { Kind } from '../../model/entry.js';
import type { Attributes, NodeEntry } from '../../vfs/file-system.js';
import type { Fields } from './fields.js';

/** File type bits of st_mode, and the d_type of a directory entry (the same, shifted). */
export const typeBits: Record<Kind, number> = {
  fifo: 0o010000,
  char: 0o020000,
  dir: 0o040000,
  block: 0o060000,
  file: 0o100000,
  symlink: 0o120000,
  socket: 0o140000,
};
const kinds = new Map<number, Kind>(
  Object.entries(typeBits).map(([kind, bits]) => [bits, kind as Kind] as const),
);
const typeMask = 0o170000;
const permissionMask = 0o7777;

export const directoryType = (kind: Kind): number => typeBits[kind] >> 12;
export const permissionsOf = (mode: number): number => mode & permissionMask;

/** The kind a mode of MKNOD asks for; no type bits mean a regular file. */
export function kindOf(mode: number): Kind | undefined {
  const bits = mode & typeMask;
  return bits === 0 ? 'file' : kinds.get(bits);
}

/** What st_blksize says: the page size, so that programs with buffers of one block stay small. */
const blockBytes = 4096;

export const attributesWords = 22;
export const entryWords = 10 + attributesWords;

/** fuse_attr at an even word. All its 22 words are written. */
export function packAttributes(fields: Fields, at: number, attributes: Attributes): void {
  const { atime, mtime, ctime } = attributes;
  fields.big64(at, attributes.ino);
  fields.u64(at + 2, attributes.size);
  fields.u64(at + 4, attributes.blocks);
  fields.u64(at + 6, atime.s);
  fields.u64(at + 8, mtime.s);
  fields.u64(at + 10, ctime.s);
  fields.u32(at + 12, atime.ns);
  fields.u32(at + 13, mtime.ns);
  fields.u32(at + 14, ctime.ns);
  fields.u32(at + 15, typeBits[attributes.kind] | permissionsOf(attributes.mode));
  fields.u32(at + 16, attributes.nlink);
  fields.u32(at + 17, attributes.uid);
  fields.u32(at + 18, attributes.gid);
  fields.u32(at + 19, attributes.rdev);
  fields.u32(at + 20, blockBytes);
  fields.u32(at + 21, 0);
}

/** fuse_entry_out at an even word. All its 32 words are written. */
export function packEntry(fields: Fields, at: number, entry: NodeEntry): void {
  fields.u64(at, entry.nodeId);
  fields.u64(at + 2, entry.generation);
  fields.seconds(at + 4, at + 8, entry.entrySeconds);
  fields.seconds(at + 6, at + 9, entry.attrSeconds);
  packAttributes(fields, at + 10, entry.attributes);
}
