import { constants } from 'node:os';
import { limits } from '../../model/limits.js';
import { initFlag, xattrExtraFlag, xattrFlag } from '../protocol/flags.js';
import { Refusal } from '../protocol/refusal.js';
import { replyBytes, replyCount, replyNothing } from '../protocol/replies.js';
import type { Reply } from '../protocol/reply.js';
import type { Operation } from './operation.js';

/** Requests about extended attributes. */

export const getxattr: Operation = {
  bodyBytesMin: 9,
  run(session, request) {
    const bytesMax = request.u32(0);
    const result = session.fileSystem.getXattr(request, request.nodeId, request.xattrName(8).value);
    session.answer(request, result, (reply, value) => replySized(reply, value, bytesMax));
  },
};

export const listxattr: Operation = {
  bodyBytesMin: 8,
  run(session, request) {
    const bytesMax = request.u32(0);
    const result = session.fileSystem.listXattrs(request, request.nodeId);
    session.answer(request, result, (reply, names) =>
      replySized(reply, Buffer.from(names.map((name) => `${name}\0`).join('')), bytesMax),
    );
  },
};

/** With room for nothing the asker wants to know how much there is. */
function replySized(reply: Reply, value: Uint8Array, bytesMax: number): void {
  if (bytesMax === 0) replyCount(reply, value.length);
  else if (value.length <= bytesMax) replyBytes(reply, value);
  else throw new Refusal(constants.errno.ERANGE, `${value.length} bytes do not fit into ${bytesMax}`);
}

export const setxattr: Operation = {
  bodyBytesMin: 9,
  run(session, request) {
    const isExtended = ((session.negotiated?.flags ?? 0) & initFlag.setxattrExtended) !== 0;
    const length = request.u32(0);
    const flags = request.u32(1);
    if (length > limits.xattrValueBytesMax) {
      throw new Refusal(
        constants.errno.E2BIG,
        `an attribute of ${length} bytes; at most ${limits.xattrValueBytesMax}`,
      );
    }
    const name = request.xattrName(isExtended ? 16 : 8);
    const value = Uint8Array.from(request.data(name.next, length)); // a copy: it may be kept
    const result = session.fileSystem.setXattr(request, request.nodeId, name.value, value, {
      create: (flags & xattrFlag.create) !== 0,
      replace: (flags & xattrFlag.replace) !== 0,
      clearSetgid: isExtended && (request.u32(2) & xattrExtraFlag.clearSetgid) !== 0,
    });
    session.answer(request, result, replyNothing);
  },
};

export const removexattr: Operation = {
  bodyBytesMin: 1,
  run(session, request) {
    const result = session.fileSystem.removeXattr(request, request.nodeId, request.xattrName(0).value);
    session.answer(request, result, replyNothing);
  },
};
