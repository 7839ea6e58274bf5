import { opcode } from '../protocol/opcodes.js';
import { replyNothing } from '../protocol/replies.js';
import { getattr, setattr, statfs, syncfs } from './attributes.js';
import { fsyncdir, opendir, readdir, readdirplus, releasedir } from './directories.js';
import { create, fsync, open, read, release, tmpfile, write } from './files.js';
import {
  batchForget,
  forget,
  link,
  lookup,
  mkdir,
  mknod,
  readlink,
  rename,
  rename2,
  rmdir,
  symlink,
  unlink,
} from './names.js';
import type { Operation } from './operation.js';
import { copyFileRange, copyFileRange64, fallocate, lseek } from './ranges.js';
import { getxattr, listxattr, removexattr, setxattr } from './xattrs.js';

/** Is never answered. */
const interrupt: Operation = {
  bodyBytesMin: 8,
  run: (session, request) => session.interrupt(request.u64(0)),
};

const destroy: Operation = {
  bodyBytesMin: 0,
  run: (session, request) => session.answer(request, undefined, replyNothing),
};

/**
 * What is answered, by opcode; everything else gets ENOSYS, after which the kernel does without: ACCESS (the kernel
 * checks rights itself: default_permissions), locks (local to the machine), BMAP, IOCTL, POLL; and FLUSH, since all that
 * a close has to bring here are WRITEs, which the kernel sends, and whose failure it reports, by itself.
 */
export const operations: readonly (Operation | undefined)[] = table({
  [opcode.lookup]: lookup,
  [opcode.forget]: forget,
  [opcode.getattr]: getattr,
  [opcode.setattr]: setattr,
  [opcode.readlink]: readlink,
  [opcode.symlink]: symlink,
  [opcode.mknod]: mknod,
  [opcode.mkdir]: mkdir,
  [opcode.unlink]: unlink,
  [opcode.rmdir]: rmdir,
  [opcode.rename]: rename,
  [opcode.link]: link,
  [opcode.open]: open,
  [opcode.read]: read,
  [opcode.write]: write,
  [opcode.statfs]: statfs,
  [opcode.release]: release,
  [opcode.fsync]: fsync,
  [opcode.setxattr]: setxattr,
  [opcode.getxattr]: getxattr,
  [opcode.listxattr]: listxattr,
  [opcode.removexattr]: removexattr,
  [opcode.opendir]: opendir,
  [opcode.readdir]: readdir,
  [opcode.releasedir]: releasedir,
  [opcode.fsyncdir]: fsyncdir,
  [opcode.create]: create,
  [opcode.interrupt]: interrupt,
  [opcode.destroy]: destroy,
  [opcode.batchForget]: batchForget,
  [opcode.fallocate]: fallocate,
  [opcode.readdirplus]: readdirplus,
  [opcode.rename2]: rename2,
  [opcode.lseek]: lseek,
  [opcode.copyFileRange]: copyFileRange,
  [opcode.syncfs]: syncfs,
  [opcode.tmpfile]: tmpfile,
  [opcode.copyFileRange64]: copyFileRange64,
});

function table(rows: Record<number, Operation>): (Operation | undefined)[] {
  const list: (Operation | undefined)[] = [];
  for (const [number, operation] of Object.entries(rows)) list[Number(number)] = operation;
  return list;
}

/** Requests that the kernel does not wait for: no answer, not even an error. */
export const isUnanswered = (number: number): boolean =>
  number === opcode.forget || number === opcode.batchForget || number === opcode.interrupt;
