import type { Time } from '../../model/entry.js';
import type { SetAttributes } from '../../vfs/file-system.js';
import { permissionsOf } from '../protocol/attributes.js';
import { attributeFlag } from '../protocol/flags.js';
import { replyAttributes, replyNothing, replyStatistics } from '../protocol/replies.js';
import type { Request } from '../protocol/request.js';
import type { Operation } from './operation.js';

/** Requests about what stat(2) and statfs(2) show. */

export const getattr: Operation = {
  bodyBytesMin: 16,
  run(session, request) {
    session.answer(request, session.fileSystem.getAttributes(request, request.nodeId), replyAttributes);
  },
};

export const setattr: Operation = {
  bodyBytesMin: 88,
  run(session, request) {
    const changes = decodeChanges(request);
    const result = session.fileSystem.setAttributes(request, request.nodeId, changes);
    session.answer(request, result, replyAttributes);
  },
};

/** fuse_setattr_in. */
function decodeChanges(request: Request): SetAttributes {
  const valid = request.u32(0);
  const has = (flag: number): boolean => (valid & flag) !== 0;
  const changes: { -readonly [K in keyof SetAttributes]: SetAttributes[K] } = {};
  if (has(attributeFlag.mode)) changes.mode = permissionsOf(request.u32(17));
  if (has(attributeFlag.uid)) changes.uid = request.u32(19);
  if (has(attributeFlag.gid)) changes.gid = request.u32(20);
  if (has(attributeFlag.size)) changes.size = request.size(4);
  const atime = decodeTime(request, valid, attributeFlag.atime, attributeFlag.atimeNow, 8, 14);
  if (atime !== undefined) changes.atime = atime;
  const mtime = decodeTime(request, valid, attributeFlag.mtime, attributeFlag.mtimeNow, 10, 15);
  if (mtime !== undefined) changes.mtime = mtime;
  if (has(attributeFlag.ctime)) changes.ctime = request.time(12, 16);
  // With handleKillPrivV2 the kernel leaves it to us on every change of owner, and says it on some truncations.
  if (has(attributeFlag.killSetIds | attributeFlag.uid | attributeFlag.gid)) changes.killPrivileges = true;
  return changes;
}

function decodeTime(
  request: Request,
  valid: number,
  flag: number,
  nowFlag: number,
  secondsWord: number,
  nanosecondsWord: number,
): Time | 'now' | undefined {
  // Of a file whose writes the kernel keeps its clock counts: then all times of one change are the same moment.
  if ((valid & nowFlag) !== 0 && (valid & attributeFlag.ctime) === 0) return 'now';
  return (valid & flag) === 0 ? undefined : request.time(secondsWord, nanosecondsWord);
}

export const statfs: Operation = {
  bodyBytesMin: 0,
  run(session, request) {
    session.answer(request, session.fileSystem.statistics(request, request.nodeId), replyStatistics);
  },
};

/** The kernel sends it for few kinds of mount, and not for ours so far; see doc/SEMANTICS.md. */
export const syncfs: Operation = {
  bodyBytesMin: 8,
  run(session, request) {
    session.answer(request, session.fileSystem.syncFileSystem(request), replyNothing);
  },
};
