import type { AttributesReply, FileSystemStatistics, NodeEntry, OpenReply } from '../../vfs/file-system.js';
import { attributesWords, entryWords, packAttributes, packEntry } from './attributes.js';
import type { Fields } from './fields.js';
import { openReplyFlag } from './flags.js';
import { type Reply, replyBody, replyHeaderBytes } from './reply.js';

/** The bodies of replies: each function fills in one answer of the file system. */

export function replyEntry(reply: Reply, entry: NodeEntry): void {
  packEntry(reply.fields, replyBody, entry);
  reply.length = replyHeaderBytes + entryWords * 4;
}

/** "There is no such name, and you may believe it for so long." */
export function replyNoEntry(reply: Reply, seconds: number): void {
  reply.body(entryWords);
  reply.fields.seconds(replyBody + 4, replyBody + 8, seconds);
}

export function replyAttributes(reply: Reply, answer: AttributesReply): void {
  const { fields } = reply;
  fields.seconds(replyBody, replyBody + 2, answer.attrSeconds);
  fields.u32(replyBody + 3, 0);
  packAttributes(fields, replyBody + 4, answer.attributes);
  reply.length = replyHeaderBytes + (4 + attributesWords) * 4;
}

const openWords = 4;

function packOpen(fields: Fields, at: number, open: OpenReply): void {
  let flags = 0;
  if (open.directIo) flags |= openReplyFlag.directIo;
  if (open.backingId !== undefined) flags |= openReplyFlag.passthrough;
  // The kernel refuses both together: it has no pages of such a file.
  else if (open.keepCache) flags |= openReplyFlag.keepCache;
  if (open.nonSeekable) flags |= openReplyFlag.nonSeekable;
  if (open.cacheDirectory) flags |= openReplyFlag.cacheDirectory;
  if (open.noFlush) flags |= openReplyFlag.noFlush;
  fields.u64(at, open.handle);
  fields.u32(at + 2, flags);
  fields.u32(at + 3, open.backingId ?? 0);
}

export function replyOpen(reply: Reply, open: OpenReply): void {
  packOpen(reply.fields, replyBody, open);
  reply.length = replyHeaderBytes + openWords * 4;
}

export function replyCreated(reply: Reply, entry: NodeEntry & { open: OpenReply }): void {
  packEntry(reply.fields, replyBody, entry);
  packOpen(reply.fields, replyBody + entryWords, entry.open);
  reply.length = replyHeaderBytes + (entryWords + openWords) * 4;
}

/** The 32-bit count of WRITE, and of a GETXATTR or LISTXATTR that asks for the size only. */
export function replyCount(reply: Reply, bytes: number): void {
  reply.body(2);
  reply.fields.u32(replyBody, bytes);
}

/** The 64-bit offset of LSEEK, and the count of COPY_FILE_RANGE_64. */
export function replyOffset(reply: Reply, offset: number): void {
  reply.body(2);
  reply.fields.u64(replyBody, offset);
}

export function replyBytes(reply: Reply, bytes: Uint8Array): void {
  reply.payload = bytes;
}

export function replyStatistics(reply: Reply, statistics: FileSystemStatistics): void {
  reply.body(20);
  const { fields } = reply;
  fields.u64(replyBody, statistics.blocks);
  fields.u64(replyBody + 2, statistics.blocksFree);
  fields.u64(replyBody + 4, statistics.blocksAvailable);
  fields.u64(replyBody + 6, statistics.files);
  fields.u64(replyBody + 8, statistics.filesFree);
  fields.u32(replyBody + 10, statistics.blockBytes);
  fields.u32(replyBody + 11, statistics.nameBytesMax);
  fields.u32(replyBody + 12, statistics.blockBytes);
}

export function replyNothing(): void {}
