import { codesToReport, errnoOfCode } from '../fuse/errno.js';
import type { RequestFailure } from '../fuse/mount-options.js';
import type { PendingFigures } from '../fuse/mounted-file-system.js';
import { Refusal } from '../fuse/protocol/refusal.js';
import { ArtifactError, toArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { FileSystem } from '../vfs/file-system.js';
import { Call } from './call.js';
import { OpenFiles } from './open-files.js';
import { PathTable } from './path-table.js';

/** One kind of request: what is asked of the file system, and how its thread of libfuse gets the answer. */
export interface Job<T> {
  readonly operation: string;
  work(call: Call): MaybePromise<T>;
  done(value: T): void;
  /** `result` is -errno. */
  failed(result: number): void;
  /** Takes back what nobody was told of. */
  undo?(value: T): void;
  /** The file system works with memory of libfuse, which is gone with the answer: it is waited for. */
  readonly lendsMemory?: boolean;
}

export interface SessionOptions {
  /** How long a request waits for its answer, in ms; 0 for as long as it takes. */
  readonly requestTimeoutMs: number;
  readonly onError: (failure: RequestFailure) => void;
}

interface PendingJob {
  readonly call: Call;
  readonly lendsMemory: boolean;
  isAnswered: boolean;
  fail(error: unknown): void;
}

/** What all handlers of one mount work with: the file system, what libfuse names in it, and requests under way. */
export class Session {
  readonly fileSystem: FileSystem;
  readonly paths: PathTable;
  readonly files = new OpenFiles();
  /** Requests that came, by name. */
  readonly counts: Record<string, number> = {};
  readonly #options: SessionOptions;
  /** In the order they came: the oldest first. */
  readonly #pending = new Set<PendingJob>();
  #timer: NodeJS.Timeout | undefined;

  constructor(fileSystem: FileSystem, options: SessionOptions) {
    this.fileSystem = fileSystem;
    this.paths = new PathTable(fileSystem, limits.fuseNativePathsMax);
    this.#options = options;
  }

  get pending(): PendingFigures {
    const waiting = [...this.#pending].filter((job) => !job.isAnswered);
    const oldest = waiting[0];
    return {
      count: waiting.length,
      oldestMs: oldest === undefined ? 0 : performance.now() - oldest.call.sinceMs,
      givenUpCount: this.#pending.size - waiting.length,
    };
  }

  /** Runs one request. Exactly one of `done` and `failed` is called, once: at once when there is an answer at once. */
  run<T>(job: Job<T>): void {
    const { operation } = job;
    this.counts[operation] = (this.counts[operation] ?? 0) + 1;
    const call = new Call(operation);
    let result: MaybePromise<T>;
    try {
      result = job.work(call);
    } catch (error) {
      job.failed(this.#errno(operation, error));
      return;
    }
    if (result instanceof Promise) this.#wait(job, call, result);
    else job.done(result);
  }

  /** Tells everybody who still waits that it is over. */
  abort(reason: string): void {
    for (const { call } of this.#pending) call.abort(new ArtifactError('Interrupted', reason));
  }

  #wait<T>(job: Job<T>, call: Call, result: Promise<T>): void {
    const pending: PendingJob = {
      call,
      lendsMemory: job.lendsMemory ?? false,
      isAnswered: false,
      fail: (error) => job.failed(this.#errno(job.operation, error)),
    };
    this.#pending.add(pending);
    if (this.#options.requestTimeoutMs > 0)
      this.#timer ??= setTimeout(() => this.#sweep(), limits.fuseSweepMs);
    result.then(
      (value) => {
        this.#pending.delete(pending);
        if (pending.isAnswered) job.undo?.(value);
        else job.done(value);
      },
      (error: unknown) => {
        this.#pending.delete(pending);
        if (!pending.isAnswered) pending.fail(error);
      },
    );
  }

  /** Gives up what is too old: no request waits for ever. */
  #sweep(): void {
    this.#timer = undefined;
    const { requestTimeoutMs } = this.#options;
    const now = performance.now();
    for (const job of this.#pending) {
      const { call } = job;
      if (now - call.sinceMs < requestTimeoutMs) break;
      if (call.takesItsTime || call.isAborted) continue;
      const why = new ArtifactError(
        'TimedOut',
        `${call.operation}: no answer within ${requestTimeoutMs / 1000} s`,
        { hint: 'the store may be away; the option request-timeout says how long to wait' },
      );
      call.abort(why);
      if (job.lendsMemory) continue;
      job.isAnswered = true;
      job.fail(why);
    }
    if (this.#pending.size > 0) this.#timer ??= setTimeout(() => this.#sweep(), limits.fuseSweepMs);
  }

  #errno(operation: string, thrown: unknown): number {
    if (thrown instanceof Refusal) return -thrown.errno;
    const error = toArtifactError(thrown);
    const errno = errnoOfCode[error.code];
    if (codesToReport.has(error.code)) {
      this.#options.onError({ operation, nodeId: 0, pid: 0, errno, error });
    }
    return -errno;
  }
}
