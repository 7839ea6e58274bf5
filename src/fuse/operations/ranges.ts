import { constants } from 'node:os';
import type { MaybePromise } from '../../util/maybe-promise.js';
import type { AllocateRange } from '../../vfs/file-system.js';
import { allocateFlag, whence } from '../protocol/flags.js';
import { Refusal } from '../protocol/refusal.js';
import { replyCount, replyNothing, replyOffset } from '../protocol/replies.js';
import type { Request } from '../protocol/request.js';
import type { Operation, Session } from './operation.js';

/** Requests about ranges of open files: room, holes, copies. */

/** Answered EOPNOTSUPP where it cannot be done; ENOSYS would end it for the whole mount. */
export const fallocate: Operation = {
  bodyBytesMin: 32,
  run(session, request) {
    const offset = request.size(2);
    const length = request.u64(4);
    request.checkEnd(offset, length);
    const mode = request.u32(6);
    const keepSize = (mode & allocateFlag.keepSize) !== 0;
    const range = { offset, length, how: howOf(mode), keepSize };
    session.answer(request, session.fileSystem.allocate(request, request.u64(0), range), replyNothing);
  },
};

function howOf(mode: number): AllocateRange['how'] {
  const { keepSize, punchHole, zeroRange } = allocateFlag;
  if (mode === 0 || mode === keepSize) return 'allocate';
  if (mode === (punchHole | keepSize)) return 'punch';
  if (mode === zeroRange || mode === (zeroRange | keepSize)) return 'zero';
  throw new Refusal(constants.errno.EOPNOTSUPP, `fallocate of mode ${mode}`);
}

export const lseek: Operation = {
  bodyBytesMin: 24,
  run(session, request) {
    const what = request.u32(4);
    if (what !== whence.data && what !== whence.hole) {
      throw new Refusal(constants.errno.EINVAL, `lseek from ${what}`);
    }
    // No file has anything at offsets that are not exact here.
    const offset = request.u64(2);
    const found = session.fileSystem.seek(
      request,
      request.u64(0),
      offset,
      what === whence.data ? 'data' : 'hole',
    );
    session.answer(request, found, replyOffset);
  },
};

/** Most that fits into the answer of COPY_FILE_RANGE. */
const countMax = 2 ** 32 - 4096;

export const copyFileRange: Operation = {
  bodyBytesMin: 56,
  run: (session, request) => session.answer(request, copy(session, request, countMax), replyCount),
};

export const copyFileRange64: Operation = {
  bodyBytesMin: 56,
  run: (session, request) =>
    session.answer(request, copy(session, request, Number.MAX_SAFE_INTEGER), replyOffset),
};

/** fuse_copy_file_range_in. */
function copy(session: Session, request: Request, lengthMax: number): MaybePromise<number> {
  const from = { handle: request.u64(0), offset: request.u64(2) };
  const to = { handle: request.u64(6), offset: request.size(8) };
  return session.fileSystem.copyRange(request, from, to, Math.min(request.u64(10), lengthMax));
}
