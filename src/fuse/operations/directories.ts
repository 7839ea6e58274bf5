import type { MaybePromise } from '../../util/maybe-promise.js';
import { DirectoryList } from '../protocol/directory.js';
import { replyBytes, replyNothing, replyOpen } from '../protocol/replies.js';
import type { Request } from '../protocol/request.js';
import type { Operation, Session } from './operation.js';

/** Requests about open directories. */

export const opendir: Operation = {
  bodyBytesMin: 8,
  run(session, request) {
    const { fileSystem } = session;
    const result = fileSystem.openDirectory(request, request.nodeId, request.u32(0));
    session.answer(request, result, replyOpen, (reply) => fileSystem.releaseDirectory(reply.handle));
  },
};

export const readdir: Operation = {
  bodyBytesMin: 40,
  run(session, request) {
    const list = new DirectoryList(request.u32(4));
    answerList(session, request, list, () =>
      session.fileSystem.readDirectory(request, request.u64(0), request.u64(2), (entry) => list.add(entry)),
    );
  },
};

export const readdirplus: Operation = {
  bodyBytesMin: 40,
  run(session, request) {
    const { fileSystem } = session;
    const list = new DirectoryList(request.u32(4));
    const fill = () =>
      fileSystem.readDirectoryPlus(request, request.u64(0), request.u64(2), (entry, node) =>
        list.addPlus(entry, node),
      );
    answerList(session, request, list, fill, () => {
      for (const node of list.nodes()) fileSystem.forget(node, 1);
    });
  },
};

/**
 * Sends what was collected. A failure after some entries does not undo them, since they count as looked up: they are
 * sent, and the next call, which starts after them, meets the failure again.
 */
function answerList(
  session: Session,
  request: Request,
  list: DirectoryList,
  fill: () => MaybePromise<void>,
  undo?: () => void,
): void {
  const giveUp = (error: unknown): void => {
    if (list.isEmpty) throw error;
  };
  let result: MaybePromise<void>;
  try {
    result = fill();
  } catch (error) {
    result = giveUp(error);
  }
  if (result instanceof Promise) result = result.catch(giveUp);
  session.answer(request, result, (reply) => replyBytes(reply, list.close()), undo);
}

export const releasedir: Operation = {
  bodyBytesMin: 8,
  run(session, request) {
    session.answer(request, session.fileSystem.releaseDirectory(request.u64(0)), replyNothing);
  },
};

export const fsyncdir: Operation = {
  bodyBytesMin: 12,
  run(session, request) {
    session.answer(request, session.fileSystem.fsyncDirectory(request, request.u64(0)), replyNothing);
  },
};
