import type { NodeId } from '../vfs/file-system.js';
import { opcode } from './protocol/opcodes.js';
import type { Request } from './protocol/request.js';

/** A name that a request is about. */
export interface RequestName {
  readonly parent: NodeId;
  readonly name: string;
}

/** Where the first name begins in the body, by opcode. */
const nameOffsets: Readonly<Record<number, number>> = {
  [opcode.lookup]: 0,
  [opcode.unlink]: 0,
  [opcode.rmdir]: 0,
  [opcode.symlink]: 0,
  [opcode.mkdir]: 8,
  [opcode.link]: 8,
  [opcode.rename]: 8,
  [opcode.mknod]: 16,
  [opcode.create]: 16,
  [opcode.tmpfile]: 16,
  [opcode.rename2]: 16,
};

/** The names in a request's body, while that can still be read. None for requests about an inode, or a bad name. */
export function namesOf(request: Request): readonly RequestName[] {
  const at = nameOffsets[request.opcode];
  if (at === undefined) return [];
  const parent = request.nodeId;
  try {
    if (request.opcode !== opcode.rename && request.opcode !== opcode.rename2) {
      return [{ parent, name: request.name(at) }];
    }
    const [name, newName] = request.names(at);
    return [
      { parent, name },
      { parent: request.u64(0), name: newName },
    ];
  } catch {
    return [];
  }
}

/** What changes something: when its answer comes too late, the kernel does not know what it has cached. */
const changing: ReadonlySet<number> = new Set([
  opcode.setattr,
  opcode.symlink,
  opcode.mknod,
  opcode.mkdir,
  opcode.unlink,
  opcode.rmdir,
  opcode.rename,
  opcode.rename2,
  opcode.link,
  opcode.open, // with O_TRUNC
  opcode.create,
  opcode.write,
  opcode.setxattr,
  opcode.removexattr,
  opcode.fallocate,
  opcode.copyFileRange,
  opcode.copyFileRange64,
]);

/** What waits for the local disk alone: bytes that were written may take it longer than any deadline. */
const syncing: ReadonlySet<number> = new Set([opcode.fsync, opcode.fsyncdir, opcode.syncfs]);

export const isSyncing = (request: Request): boolean => syncing.has(request.opcode);

export const isChanging = (request: Request): boolean => changing.has(request.opcode);
