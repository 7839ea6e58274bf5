import { constants } from 'node:os';
import { ArtifactError, toArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { within } from '../util/within.js';
import type { FileSystem, KernelNotifier, LocalRange } from '../vfs/file-system.js';
import { isToldToEnd } from './asker.js';
import { codesToReport, errnoOfCode } from './errno.js';
import type { RangeArguments } from './native.js';
import type { Session } from './operations/operation.js';
import { isUnanswered, operations } from './operations/table.js';
import { PendingRequests } from './pending-requests.js';
import {
  decodeInit,
  type InitOptions,
  type Negotiated,
  negotiate,
  protocolMajor,
  replyInit,
  replyInitMajor,
} from './protocol/init.js';
import { opcode, opcodeName, opcodesMax } from './protocol/opcodes.js';
import { Refusal } from './protocol/refusal.js';
import { Reply } from './protocol/reply.js';
import { Request, type RequestMemory, requestHeaderBytes } from './protocol/request.js';
import { isChanging, namesOf } from './request-names.js';

/** The way to the kernel, for one reply: 0, or -errno (ENOENT: the kernel no longer wants it). */
export interface Wire {
  /** Sends the first `bytes` of the driver's reply memory. */
  reply(bytes: number): number;
  /** The same, followed by `payload`. */
  replyWith(bytes: number, payload: Uint8Array): number;
  /**
   * Sends bytes of a local file as the reply to a read, if no disk has to be waited for, or from a thread; see native/channel.h. Above
   * 0: nothing was sent. Left out: the driver sends what it is given.
   */
  replyRange?(...range: RangeArguments): number;
  replyRangeLater?(...range: RangeArguments): Promise<number>;
}

/** A request that failed in a way somebody should read about: the errno alone would not tell. */
export interface RequestFailure {
  /** Name of the request: `lookup`, `write`. */
  readonly operation: string;
  readonly nodeId: number;
  readonly pid: number;
  readonly errno: number;
  readonly error: Error;
}

export interface DriverOptions {
  readonly init: InitOptions;
  /** How long the kernel waits for an answer, in ms; 0 (default) for as long as it takes. */
  readonly requestTimeoutMs?: number;
  /** Whether the thread that asks has been told to end; default: what /proc says. */
  readonly isToldToEnd?: (thread: number) => boolean | undefined;
  readonly onError: (failure: RequestFailure) => void;
}

/**
 * Turns requests of the kernel into calls of a file system, and answers into replies. It does not read and does not
 * wait: bytes come in by `handle`, one request at a time, and replies leave through the wire.
 *
 * INVARIANT: each request is answered exactly once, but FORGET, BATCH_FORGET and INTERRUPT never are. (Of a read that was given up
 * while a thread reads a local file, the kernel refuses the second answer.)
 */
export class Driver implements Session {
  readonly fileSystem: FileSystem;
  /** Resolves when the kernel and we have agreed; rejects when we cannot, or the connection ended before. */
  readonly ready: Promise<Negotiated>;
  /** Requests seen, by opcode. */
  readonly counts: number[] = new Array<number>(opcodesMax).fill(0);
  readonly #options: DriverOptions;
  readonly #reply: Reply;
  #wire: Wire | undefined;
  #notifier: KernelNotifier | undefined;
  readonly #pending: PendingRequests;
  #negotiated: Negotiated | undefined;
  #resolveReady: (agreed: Negotiated) => void = () => {};
  #rejectReady: (error: unknown) => void = () => {};

  constructor(fileSystem: FileSystem, options: DriverOptions) {
    this.fileSystem = fileSystem;
    this.#options = options;
    this.#reply = new Reply();
    this.#pending = new PendingRequests({
      timeoutMs: options.requestTimeoutMs ?? 0,
      giveUp: (request, why) => this.#giveUp(request, why),
      isToldToEnd: options.isToldToEnd ?? isToldToEnd,
    });
    this.ready = new Promise((resolve, reject) => {
      this.#resolveReady = resolve;
      this.#rejectReady = reject;
    });
    this.ready.catch(() => {}); // whoever mounts awaits it; nobody else has to
  }

  /** The memory that replies are built in: the wire sends from it. */
  get replyMemory(): Buffer {
    return this.#reply.fields.bytes;
  }

  /** Gives the driver its way out, before the first request. */
  connect(wire: Wire, notifier: KernelNotifier): void {
    this.#wire = wire;
    this.#notifier = notifier;
  }

  get negotiated(): Negotiated | undefined {
    return this.#negotiated;
  }

  /** Requests whose answer the file system has promised. */
  get pending(): Pick<PendingRequests, 'count' | 'givenUpCount' | 'oldestMs'> {
    return this.#pending;
  }

  /** One request: the bytes of `memory` from `start` (a multiple of 8) to `end`. Throws nothing. */
  handle(memory: RequestMemory, start: number, end: number): void {
    if (end - start < requestHeaderBytes || memory.words[start >> 2] !== end - start) {
      this.#report(
        undefined,
        constants.errno.EPROTO,
        new Error(`a request of ${end - start} bytes with a wrong length`),
      );
      return;
    }
    const request = new Request(memory, start, end);
    const number = request.opcode;
    if (number < opcodesMax) this.counts[number] = (this.counts[number] as number) + 1;
    if (this.fileSystem.accesses?.isOpen === true) {
      request.startedMs = performance.now();
      request.about = namesOf(request);
    }
    try {
      if (this.#negotiated === undefined) this.#initialise(request);
      else this.#run(request);
    } catch (error) {
      this.#fail(request, error);
    }
  }

  #run(request: Request): void {
    const operation = operations[request.opcode];
    if (operation === undefined) {
      this.#send(request, constants.errno.ENOSYS);
      return;
    }
    if (request.bodyBytes < operation.bodyBytesMin) {
      throw new Refusal(constants.errno.EINVAL, `a body of ${request.bodyBytes} bytes is too short`);
    }
    operation.run(this, request);
  }

  #initialise(request: Request): void {
    if (request.opcode !== opcode.init || request.bodyBytes < 16) {
      throw new Refusal(constants.errno.EIO, 'the kernel asked before it introduced itself');
    }
    const offer = decodeInit(request);
    const reply = this.#reply;
    reply.begin(request.unique, 0);
    if (offer.major > protocolMajor) {
      replyInitMajor(reply);
      this.#write();
      return;
    }
    let agreed: Negotiated;
    try {
      agreed = negotiate(offer, this.#options.init);
    } catch (error) {
      this.#rejectReady(
        new ArtifactError('Unsupported', (error as Error).message, { hint: 'use a newer kernel' }),
      );
      throw error;
    }
    replyInit(reply, agreed);
    this.#negotiated = agreed;
    const sent = this.#write();
    if (sent !== 0) {
      this.#rejectReady(
        new ArtifactError('Internal', `the kernel refused our answer to INIT (errno ${-sent})`),
      );
      return;
    }
    if (this.#notifier !== undefined) this.fileSystem.attach(this.#notifier);
    this.#resolveReady(agreed);
  }

  answer<T>(
    request: Request,
    result: MaybePromise<T>,
    pack: (reply: Reply, value: T) => void,
    undo?: (value: T) => void,
  ): void {
    if (!(result instanceof Promise)) {
      this.#succeed(request, result, pack, undo);
      request.over();
      return;
    }
    if (isChanging(request)) request.about = namesOf(request);
    this.#pending.add(request);
    result.then(
      (value) => {
        if (this.#pending.settled(request)) this.#succeed(request, value, pack, undo);
        else this.#succeedLate(request, value, undo);
        request.over();
        this.#pending.afterSettling();
      },
      (error: unknown) => {
        if (this.#pending.settled(request)) this.#fail(request, error);
        request.over();
        this.#pending.afterSettling();
      },
    );
  }

  localRange(handle: number, offset: number, length: number): LocalRange | undefined {
    if (this.#wire?.replyRange === undefined) return undefined;
    return this.fileSystem.localRange?.(handle, offset, length);
  }

  answerRange(request: Request, range: LocalRange, otherwise: () => void): void {
    const wire = this.#wire;
    const { offset, length, crcs } = range;
    const toSend: RangeArguments = [
      request.unique,
      range.descriptor,
      offset,
      length,
      crcs,
      limits.checkBytes,
      range.checkedEnd,
    ];
    // Copying what is at hand is shorter than the way to a thread and back.
    const isSmall = length < limits.syncIoBytesMax;
    const sent = (isSmall ? wire?.replyRange?.(...toSend) : undefined) ?? constants.errno.EAGAIN;
    if (sent !== constants.errno.EAGAIN) {
      this.#rangeSent(request, range, sent, otherwise);
      return;
    }
    this.#pending.add(request);
    void (wire?.replyRangeLater?.(...toSend) ?? Promise.resolve(constants.errno.ENOSYS)).then((later) => {
      if (this.#pending.settled(request)) this.#rangeSent(request, range, later, otherwise);
      else range.release(false);
      this.#pending.afterSettling();
    });
  }

  #rangeSent(request: Request, range: LocalRange, sent: number, otherwise: () => void): void {
    range.release(sent <= 0);
    if (sent > 0) {
      try {
        otherwise();
      } catch (error) {
        this.#fail(request, error);
      }
      return;
    }
    if (request.startedMs !== 0) this.#record(request, 0);
    if (sent !== 0) this.#unsent(request, -sent);
  }

  interrupt(unique: number): void {
    this.#pending.interrupt(unique);
  }

  /**
   * The connection is gone: tells everybody who still waits, and resolves when the last answer (which nobody gets) is
   * there, so that the file system can be closed; at the latest after `timeoutMs`. Answers how much work went on then.
   */
  async end(reason: string, timeoutMs = 0): Promise<number> {
    this.#rejectReady(new ArtifactError('Interrupted', reason));
    this.#pending.abortAll();
    if (timeoutMs > 0) await within(timeoutMs, this.drained());
    else await this.drained();
    this.#pending.stop();
    return this.#pending.count + this.#pending.givenUpCount;
  }

  /** Resolves when no request is under way. */
  drained(): Promise<void> {
    return this.#pending.drained();
  }

  /** Answers a request whose result nobody waits for any more. */
  #giveUp(request: Request, why: ArtifactError): void {
    let error = why;
    if (why.code === 'TimedOut') {
      const { fileSystem } = this;
      const place = fileSystem.pathOf?.(request.nodeId) ?? `#${request.nodeId}`;
      const hint = 'the store may be away; the option request-timeout says how long to wait';
      error = new ArtifactError('TimedOut', `${opcodeName(request.opcode)} ${place}: ${why.message}`, {
        hint,
      });
      fileSystem.noteFailure?.(request.nodeId, error);
    }
    this.#fail(request, error);
  }

  /** What was answered with a failure has happened after all. */
  #succeedLate<T>(request: Request, value: T, undo: ((value: T) => void) | undefined): void {
    try {
      undo?.(value);
    } catch (error) {
      this.#report(request, constants.errno.EIO, toArtifactError(error));
    }
    if (!isChanging(request)) return;
    for (const { parent, name } of request.about) this.#notifier?.invalidateEntry(parent, name);
    this.#notifier?.invalidateInode(request.nodeId, 0, 0);
  }

  #succeed<T>(
    request: Request,
    value: T,
    pack: (reply: Reply, value: T) => void,
    undo: ((value: T) => void) | undefined,
  ): void {
    const reply = this.#reply;
    reply.begin(request.unique, 0);
    try {
      pack(reply, value);
    } catch (error) {
      undo?.(value);
      this.#fail(request, error);
      return;
    }
    const sent = this.#write();
    // A missing name is sent as a success where the kernel may keep it.
    const isMissing = value === undefined && request.opcode === opcode.lookup;
    if (request.startedMs !== 0) this.#record(request, isMissing ? constants.errno.ENOENT : 0);
    if (sent !== 0) this.#unsent(request, -sent, () => undo?.(value));
  }

  #fail(request: Request, thrown: unknown): void {
    if (thrown instanceof Refusal) {
      if (thrown.errno === constants.errno.EILSEQ) this.#report(request, thrown.errno, thrown);
      this.#send(request, thrown.errno);
      return;
    }
    const error = toArtifactError(thrown);
    const errno = errnoOfCode[error.code];
    if (codesToReport.has(error.code)) this.#report(request, errno, error);
    // The errno does not say which disk is full, nor what helps.
    if (error.code === 'NoSpace') this.fileSystem.noteFailure?.(request.nodeId, error);
    this.#send(request, errno);
  }

  /** A reply without a body. */
  #send(request: Request, errno: number): void {
    if (isUnanswered(request.opcode)) return;
    this.#reply.begin(request.unique, errno);
    const sent = this.#write();
    if (request.startedMs !== 0) this.#record(request, errno);
    if (sent !== 0) this.#unsent(request, -sent);
  }

  #record(request: Request, errno: number): void {
    this.fileSystem.accesses?.record({
      operation: opcodeName(request.opcode),
      node: request.nodeId,
      about: request.about,
      uid: request.uid,
      gid: request.gid,
      pid: request.pid,
      errno,
      durationMs: performance.now() - request.startedMs,
    });
  }

  #write(): number {
    const wire = this.#wire;
    if (wire === undefined) throw new ArtifactError('Internal', 'the driver is not connected');
    const reply = this.#reply;
    reply.finish();
    const { payload } = reply;
    return payload === undefined ? wire.reply(reply.length) : wire.replyWith(reply.length, payload);
  }

  #unsent(request: Request, errno: number, undo?: () => void): void {
    const { ENOENT, ENODEV, ENOTCONN, EBADF, ECONNABORTED } = constants.errno;
    const expected = [ENOENT, ENODEV, ENOTCONN, EBADF, ECONNABORTED].includes(errno);
    try {
      undo?.();
    } catch (error) {
      this.#report(request, errno, toArtifactError(error));
    }
    if (!expected) {
      this.#report(
        request,
        errno,
        new ArtifactError('Internal', `the kernel refused a reply (errno ${errno})`),
      );
      // It still waits for one. An error has no form it could refuse.
      this.#reply.begin(request.unique, constants.errno.EIO);
      this.#write();
    }
  }

  #report(request: Request | undefined, errno: number, error: Error): void {
    this.#options.onError({
      operation: request === undefined ? 'unknown' : opcodeName(request.opcode),
      nodeId: request?.nodeId ?? 0,
      pid: request?.pid ?? 0,
      errno,
      error,
    });
  }
}
