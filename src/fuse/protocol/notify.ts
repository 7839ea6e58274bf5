import type { NodeId } from '../../vfs/file-system.js';
import { Fields } from './fields.js';
import { invalidateFlag, notifyCode } from './flags.js';
import { replyBody, replyHeaderBytes } from './reply.js';

/**
 * Notifications: messages to the kernel that answer no request. The header carries the kind where replies carry the
 * error, and no unique. Each function gives one complete message.
 */
export function invalidateInodeMessage(node: NodeId, offset: number, length: number): Buffer {
  const fields = new Fields(replyHeaderBytes + 24);
  header(fields, notifyCode.invalidateInode);
  fields.u64(replyBody, node);
  fields.u64(replyBody + 2, offset);
  fields.u64(replyBody + 4, length);
  return fields.bytes;
}

/**
 * `expireOnly` (where the kernel offers it) makes the kernel ask again before it believes the name, instead of cutting
 * it off: a process whose current directory it is keeps it, if the name still means the same.
 */
export function invalidateEntryMessage(parent: NodeId, name: string, expireOnly: boolean): Buffer {
  const nameBytes = Buffer.byteLength(name);
  const fields = new Fields(replyHeaderBytes + 16 + nameBytes + 1);
  header(fields, notifyCode.invalidateEntry);
  fields.u64(replyBody, parent);
  fields.u32(replyBody + 2, nameBytes);
  fields.u32(replyBody + 3, expireOnly ? invalidateFlag.expireOnly : 0);
  const at = replyHeaderBytes + 16;
  fields.bytes.write(name, at);
  fields.bytes[at + nameBytes] = 0;
  return fields.bytes;
}

export function invalidateEveryEntryMessage(): Buffer {
  const fields = new Fields(replyHeaderBytes);
  header(fields, notifyCode.nextEpoch);
  return fields.bytes;
}

/** The kernel forgets those that it has no use for. */
export function pruneMessage(nodes: readonly NodeId[]): Buffer {
  const fields = new Fields(replyHeaderBytes + 16 + nodes.length * 8);
  header(fields, notifyCode.prune);
  fields.u32(replyBody, nodes.length);
  fields.u32(replyBody + 1, 0);
  fields.u64(replyBody + 2, 0);
  for (const [i, node] of nodes.entries()) fields.u64(replyBody + 4 + i * 2, node);
  return fields.bytes;
}

function header(fields: Fields, code: number): void {
  fields.u32(0, fields.bytes.length);
  fields.u32(1, code);
  fields.u64(2, 0);
}
