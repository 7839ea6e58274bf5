import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { Request } from './protocol/request.js';
import { isSyncing } from './request-names.js';

export interface PendingOptions {
  /** How long a request may wait for its answer; 0 for as long as it takes. */
  readonly timeoutMs: number;
  /** Answers a request without its result. It is no longer pending then, but still under way. */
  readonly giveUp: (request: Request, why: ArtifactError) => void;
  /** Whether who made the request wants to end; undefined when nobody knows. */
  readonly isToldToEnd: (thread: number) => boolean | undefined;
}

/** How many waiting requests are looked at in one sweep. */
const askedPerSweepMax = 64;

/**
 * Requests whose answer is a promise. No request waits for ever: one timer, which runs only while there are any, gives
 * up those that are too old, and those whose asker wants to end: the kernel does not say that of reads with O_DIRECT
 * (it waits for them in a way that not even SIGKILL ends), nor of a second signal after one that did not matter.
 *
 * INVARIANT: a request is in one of `#waiting` and `#givenUp` exactly from `add` to `settled`.
 */
export class PendingRequests {
  readonly #options: PendingOptions;
  /** In the order they came: the oldest first. */
  readonly #waiting = new Map<number, Request>();
  /** Answered without a result; their work is under way. */
  readonly #givenUp = new Set<Request>();
  #timer: NodeJS.Timeout | undefined;
  #onDrained: (() => void)[] = [];

  constructor(options: PendingOptions) {
    this.#options = options;
  }

  /** Requests that the kernel waits for. */
  get count(): number {
    return this.#waiting.size;
  }

  /** Requests answered without a result, whose work is not over. */
  get givenUpCount(): number {
    return this.#givenUp.size;
  }

  /** Age of the request that waits longest, in ms; 0 without any. */
  oldestMs(): number {
    for (const request of this.#waiting.values()) return performance.now() - request.sinceMs;
    return 0;
  }

  add(request: Request): void {
    request.wait();
    this.#waiting.set(request.unique, request);
    this.#timer ??= setTimeout(() => this.#sweep(), this.#sweepMs);
  }

  /** The work for a request is over: true when it is still to be answered. */
  settled(request: Request): boolean {
    request.settled();
    const isWaiting = this.#waiting.delete(request.unique);
    if (!isWaiting) this.#givenUp.delete(request);
    return isWaiting;
  }

  /** To be called after the answer has left. */
  afterSettling(): void {
    if (this.#waiting.size + this.#givenUp.size > 0) return;
    const waiting = this.#onDrained;
    this.#onDrained = [];
    for (const resolve of waiting) resolve();
  }

  /** The kernel says that a signal came. A request that is not here has been answered meanwhile: the kernel knows. */
  interrupt(unique: number): void {
    const request = this.#waiting.get(unique);
    // With a signal that is none of ours the sweep goes on asking: the kernel speaks once.
    if (request !== undefined && this.#options.isToldToEnd(request.pid) !== false) this.#interrupt(request);
  }

  /** Tells all work to end. */
  abortAll(): void {
    for (const request of [...this.#waiting.values(), ...this.#givenUp]) request.abort(interrupted());
  }

  /** Resolves when no work is under way. */
  drained(): Promise<void> {
    if (this.#waiting.size + this.#givenUp.size === 0) return Promise.resolve();
    return new Promise((resolve) => this.#onDrained.push(resolve));
  }

  /** Nobody waits for answers any more: no timer is left. */
  stop(): void {
    clearTimeout(this.#timer);
    this.#timer = undefined;
  }

  get #sweepMs(): number {
    const { timeoutMs } = this.#options;
    return timeoutMs > 0 ? Math.min(limits.fuseSweepMs, timeoutMs / 4) : limits.fuseSweepMs;
  }

  #sweep(): void {
    this.#timer = undefined;
    const { timeoutMs, isToldToEnd } = this.#options;
    const now = performance.now();
    let asked = 0;
    for (const request of this.#waiting.values()) {
      const age = now - request.sinceMs;
      if (age < this.#sweepMs) break;
      if (timeoutMs > 0 && age >= timeoutMs && !request.takesItsTime && !isSyncing(request)) {
        const why = new ArtifactError('TimedOut', `no answer within ${timeoutMs / 1000} s`);
        request.abort(why);
        this.#giveUp(request, why);
      } else if (asked++ < askedPerSweepMax && isToldToEnd(request.pid) === true) {
        this.#interrupt(request);
      }
    }
    if (this.#waiting.size > 0) this.#timer ??= setTimeout(() => this.#sweep(), this.#sweepMs);
  }

  /** Whoever listens to the signal answers by himself; the others are not waited for. */
  #interrupt(request: Request): void {
    const why = interrupted();
    request.abort(why);
    const giveUp = (): void => this.#giveUp(request, why);
    if (request.takesItsTime) setTimeout(giveUp, limits.fuseInterruptMsMax).unref();
    else setImmediate(giveUp);
  }

  #giveUp(request: Request, why: ArtifactError): void {
    if (this.#waiting.get(request.unique) !== request) return;
    this.#waiting.delete(request.unique);
    this.#givenUp.add(request);
    this.#options.giveUp(request, why);
  }
}

const interrupted = (): ArtifactError => new ArtifactError('Interrupted', 'the request was interrupted');
