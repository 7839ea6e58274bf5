import type { MaybePromise } from '../../util/maybe-promise.js';
import type { FileSystem, LocalRange } from '../../vfs/file-system.js';
import type { Negotiated } from '../protocol/init.js';
import type { Reply } from '../protocol/reply.js';
import type { Request } from '../protocol/request.js';

/** What an operation works with: the file system, and the way back to the kernel. */
export interface Session {
  readonly fileSystem: FileSystem;
  /** What was agreed on with the kernel; undefined before. */
  readonly negotiated: Negotiated | undefined;

  /**
   * Answers the request when `result` is there: at once, if it is no promise. `pack` fills in the reply's body; what
   * it throws becomes the answer. `undo` is called when the kernel no longer wants an answer that it would have to
   * give back (a looked-up node, an open handle).
   */
  answer<T>(
    request: Request,
    result: MaybePromise<T>,
    pack: (reply: Reply, value: T) => void,
    undo?: (value: T) => void,
  ): void;

  /** As `FileSystem.localRange`, where there is a way to the kernel for such bytes. */
  localRange(handle: number, offset: number, length: number): LocalRange | undefined;

  /** Answers a read by bytes of a local file, and releases it. When they cannot be sent, `otherwise` answers. */
  answerRange(request: Request, range: LocalRange, otherwise: () => void): void;

  /** Aborts the signal of a request under way, if it still is. */
  interrupt(unique: number): void;
}

/** One kind of request: unpack, call the file system, answer. */
export interface Operation {
  /** The fixed part of its body, in bytes. A shorter request is answered EINVAL. */
  readonly bodyBytesMin: number;
  run(session: Session, request: Request): void;
}
