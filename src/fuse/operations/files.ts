import { ArtifactError } from '../../model/errors.js';
import type { NodeEntry, OpenReply } from '../../vfs/file-system.js';
import { permissionsOf } from '../protocol/attributes.js';
import { fsyncFlag, openFlag, writeFlag } from '../protocol/flags.js';
import { replyBytes, replyCount, replyCreated, replyNothing, replyOpen } from '../protocol/replies.js';
import type { Request } from '../protocol/request.js';
import type { Operation, Session } from './operation.js';

/** Requests about open files and their bytes. */

export const open: Operation = {
  bodyBytesMin: 8,
  run(session, request) {
    const { fileSystem } = session;
    const killPrivileges = (request.u32(1) & openFlag.killSetIds) !== 0;
    const result = fileSystem.open(request, request.nodeId, request.u32(0), killPrivileges);
    session.answer(request, result, replyOpen, (reply) => fileSystem.release(reply.handle));
  },
};

export const create: Operation = {
  bodyBytesMin: 16,
  run(session, request) {
    const { fileSystem } = session;
    request.umask = request.u32(2) & 0o777;
    const mode = permissionsOf(request.u32(1));
    const killPrivileges = (request.u32(3) & openFlag.killSetIds) !== 0;
    const { nodeId } = request;
    const result = fileSystem.create(request, nodeId, request.name(16), mode, request.u32(0), killPrivileges);
    session.answer(request, result, replyCreated, undoCreate(session));
  },
};

/** O_TMPFILE: as CREATE, but the name after the body means nothing. */
export const tmpfile: Operation = {
  bodyBytesMin: 16,
  run(session, request) {
    const { fileSystem } = session;
    request.umask = request.u32(2) & 0o777;
    const mode = permissionsOf(request.u32(1));
    const result = fileSystem.createUnnamed(request, request.nodeId, mode, request.u32(0));
    session.answer(request, result, replyCreated, undoCreate(session));
  },
};

const undoCreate =
  ({ fileSystem }: Session) =>
  (entry: NodeEntry & { open: OpenReply }): void => {
    fileSystem.release(entry.open.handle);
    fileSystem.forget(entry.nodeId, 1);
  };

export const read: Operation = {
  bodyBytesMin: 40,
  run(session, request) {
    const handle = request.u64(0);
    const offset = request.u64(2);
    const length = request.u32(4);
    const range = session.localRange(handle, offset, length);
    if (range === undefined) readBytes(session, request, handle, offset, length);
    else session.answerRange(request, range, () => readBytes(session, request, handle, offset, length));
  },
};

function readBytes(session: Session, request: Request, handle: number, offset: number, length: number): void {
  session.answer(request, session.fileSystem.read(request, handle, offset, length), (reply, data) => {
    if (data.length > length) {
      throw new ArtifactError(
        'Internal',
        `read answered ${data.length} bytes where ${length} were asked for`,
      );
    }
    replyBytes(reply, data);
  });
}

export const write: Operation = {
  bodyBytesMin: 40,
  run(session, request) {
    const offset = request.size(2);
    const length = request.u32(4);
    request.checkEnd(offset, length);
    const writeFlags = request.u32(5);
    const data = request.lendData(40, length);
    const result = session.fileSystem.write(request, request.u64(0), offset, data, {
      killPrivileges: (writeFlags & writeFlag.killSetIds) !== 0,
      fromCache: (writeFlags & writeFlag.fromCache) !== 0,
    });
    session.answer(request, result, replyCount);
  },
};

export const fsync: Operation = {
  bodyBytesMin: 12,
  run(session, request) {
    const dataOnly = (request.u32(2) & fsyncFlag.dataOnly) !== 0;
    session.answer(request, session.fileSystem.fsync(request, request.u64(0), dataOnly), replyNothing);
  },
};

export const release: Operation = {
  bodyBytesMin: 8,
  run(session, request) {
    session.answer(request, session.fileSystem.release(request.u64(0)), replyNothing);
  },
};
