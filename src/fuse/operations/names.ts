import { constants } from 'node:os';
import { limits } from '../../model/limits.js';
import type { NodeEntry } from '../../vfs/file-system.js';
import { kindOf, permissionsOf } from '../protocol/attributes.js';
import { renameFlag } from '../protocol/flags.js';
import { Refusal } from '../protocol/refusal.js';
import { replyBytes, replyEntry, replyNoEntry, replyNothing } from '../protocol/replies.js';
import type { Reply } from '../protocol/reply.js';
import type { Request } from '../protocol/request.js';
import type { Operation, Session } from './operation.js';

/** Requests about names: finding, making, moving and removing them, and forgetting nodes. */

const forgetOne =
  (session: Session) =>
  (entry: NodeEntry): void =>
    session.fileSystem.forget(entry.nodeId, 1);

export const lookup: Operation = {
  bodyBytesMin: 1,
  run(session, request) {
    const { fileSystem } = session;
    const result = fileSystem.lookup(request, request.nodeId, request.name(0));
    session.answer(
      request,
      result,
      (reply, entry) => replyLookup(reply, entry, fileSystem.negativeSeconds),
      (entry) => entry !== undefined && fileSystem.forget(entry.nodeId, 1),
    );
  },
};

function replyLookup(reply: Reply, entry: NodeEntry | undefined, negativeSeconds: number): void {
  if (entry !== undefined) replyEntry(reply, entry);
  else if (negativeSeconds > 0) replyNoEntry(reply, negativeSeconds);
  else throw new Refusal(constants.errno.ENOENT, 'no such name');
}

/** Is never answered. */
export const forget: Operation = {
  bodyBytesMin: 8,
  run(session, request) {
    session.fileSystem.forget(request.nodeId, request.u64(0));
  },
};

/** Is never answered. */
export const batchForget: Operation = {
  bodyBytesMin: 8,
  run(session, request) {
    const count = Math.min(request.u32(0), Math.floor((request.bodyBytes - 8) / 16));
    for (let i = 0; i < count; i++) {
      session.fileSystem.forget(request.u64(2 + i * 4), request.u64(4 + i * 4));
    }
  },
};

export const mknod: Operation = {
  bodyBytesMin: 16,
  run(session, request) {
    const mode = request.u32(0);
    request.umask = request.u32(2) & 0o777;
    const kind = kindOf(mode);
    if (kind === undefined || kind === 'dir' || kind === 'symlink') {
      throw new Refusal(constants.errno.EINVAL, `mknod of type ${mode.toString(8)}`);
    }
    const result = session.fileSystem.makeNode(
      request,
      request.nodeId,
      request.name(16),
      permissionsOf(mode),
      kind,
      request.u32(1),
    );
    session.answer(request, result, replyEntry, forgetOne(session));
  },
};

export const mkdir: Operation = {
  bodyBytesMin: 8,
  run(session, request) {
    request.umask = request.u32(1) & 0o777;
    const mode = permissionsOf(request.u32(0));
    const result = session.fileSystem.makeDirectory(request, request.nodeId, request.name(8), mode);
    session.answer(request, result, replyEntry, forgetOne(session));
  },
};

export const symlink: Operation = {
  bodyBytesMin: 2,
  run(session, request) {
    const [name, target] = request.names(0, limits.symlinkTargetBytesMax);
    const result = session.fileSystem.symlink(request, request.nodeId, name, target);
    session.answer(request, result, replyEntry, forgetOne(session));
  },
};

export const readlink: Operation = {
  bodyBytesMin: 0,
  run(session, request) {
    const result = session.fileSystem.readLink(request, request.nodeId);
    session.answer(request, result, (reply, target) => replyBytes(reply, Buffer.from(target)));
  },
};

/** The request's own node is the new parent. */
export const link: Operation = {
  bodyBytesMin: 9,
  run(session, request) {
    const result = session.fileSystem.link(request, request.u64(0), request.nodeId, request.name(8));
    session.answer(request, result, replyEntry, forgetOne(session));
  },
};

export const unlink: Operation = {
  bodyBytesMin: 1,
  run(session, request) {
    const result = session.fileSystem.unlink(request, request.nodeId, request.name(0));
    session.answer(request, result, replyNothing);
  },
};

export const rmdir: Operation = {
  bodyBytesMin: 1,
  run(session, request) {
    const result = session.fileSystem.removeDirectory(request, request.nodeId, request.name(0));
    session.answer(request, result, replyNothing);
  },
};

export const rename: Operation = {
  bodyBytesMin: 10,
  run: (session, request) => move(session, request, 8, 0),
};

export const rename2: Operation = {
  bodyBytesMin: 18,
  run: (session, request) => move(session, request, 16, request.u32(2)),
};

function move(session: Session, request: Request, namesAt: number, flags: number): void {
  const noReplace = (flags & renameFlag.noReplace) !== 0;
  const exchange = (flags & renameFlag.exchange) !== 0;
  if ((flags & ~(renameFlag.noReplace | renameFlag.exchange)) !== 0 || (noReplace && exchange)) {
    throw new Refusal(constants.errno.EINVAL, `rename with flags ${flags}`);
  }
  const [name, newName] = request.names(namesAt);
  const newParent = request.u64(0);
  const result = session.fileSystem.rename(request, request.nodeId, name, newParent, newName, {
    noReplace,
    exchange,
  });
  session.answer(request, result, replyNothing);
}
