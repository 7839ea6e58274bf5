import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { interrupted } from '../keys.js';
import type { ByteRange, GetOptions, ObjectStore } from '../object-store.js';
import { FirstByteTimes } from './first-byte-times.js';
import { type StoreCall, WrappedStore } from './wrapped-store.js';

export interface HedgeOptions {
  /** A GET without a byte for so long is tried a second time, until enough times are known. */
  readonly hedgeMsStart?: number;
  /** And never sooner than this. */
  readonly hedgeMsMin?: number;
  /** Until the first byte of an answer, second try included. */
  readonly firstByteMsMax?: number;
  /** Between two pieces of a body. */
  readonly stallMsMax?: number;
}

/**
 * No GET waits for ever, and few wait long. One whose first byte does not come within the time that 99 of 100 took lately is
 * sent a second time; the first to send a byte wins, and the other is ended. A budget keeps second tries to a few of
 * a hundred, so that a store which is slow for everybody is not asked twice as much. One that stops in the middle is
 * `StoreUnavailable`; who repeats it asks for what is missing.
 */
export class HedgeStore extends WrappedStore {
  readonly #options: Required<HedgeOptions>;
  readonly #times = new FirstByteTimes();
  #credit = limits.hedgeCreditMax / 2;

  constructor(inner: ObjectStore, options: HedgeOptions = {}) {
    super(inner);
    this.#options = {
      hedgeMsStart: limits.hedgeMsStart,
      hedgeMsMin: limits.hedgeMsMin,
      firstByteMsMax: limits.storeFirstByteMsMax,
      stallMsMax: limits.storeStallMsMax,
      ...options,
    };
  }

  protected override around<T>(_call: StoreCall, run: () => Promise<T>): Promise<T> {
    return run();
  }

  override get(key: string, range?: ByteRange, options?: GetOptions): Promise<Buffer> {
    this.#credit = Math.min(limits.hedgeCreditMax, this.#credit + limits.hedgeShareMax);
    const race = new Race(key, this.#options, options, (more) => this.inner.get(key, range, more));
    return race.run(this.#waitMs(), {
      mayHedge: () => this.#takeCredit(),
      onFirstByte: (ms) => this.#times.add(ms),
    });
  }

  #waitMs(): number {
    const { hedgeMsStart, hedgeMsMin, firstByteMsMax } = this.#options;
    return Math.min(Math.max(this.#times.p99 ?? hedgeMsStart, hedgeMsMin), firstByteMsMax / 2);
  }

  #takeCredit(): boolean {
    if (this.#credit < 1) return false;
    this.#credit--;
    return true;
  }
}

interface Observer {
  mayHedge(): boolean;
  onFirstByte(ms: number): void;
}

interface Attempt {
  readonly controller: AbortController;
  ended: boolean;
}

/** One GET, in one try or two. */
class Race {
  readonly #key: string;
  readonly #limits: Required<HedgeOptions>;
  readonly #options: GetOptions | undefined;
  readonly #start: (options: GetOptions) => Promise<Buffer>;
  readonly #attempts: Attempt[] = [];
  #winner: Attempt | null = null;
  #beganAt = 0;
  #heardAt = 0;
  #timer: NodeJS.Timeout | undefined;
  #settled = false;
  #resolve: (bytes: Buffer) => void = () => {};
  #reject: (error: unknown) => void = () => {};

  constructor(
    key: string,
    limitsOf: Required<HedgeOptions>,
    options: GetOptions | undefined,
    start: (options: GetOptions) => Promise<Buffer>,
  ) {
    this.#key = key;
    this.#limits = limitsOf;
    this.#options = options;
    this.#start = start;
  }

  run(hedgeMs: number, observer: Observer): Promise<Buffer> {
    const signal = this.#options?.signal;
    if (signal?.aborted === true) return Promise.reject(interrupted(signal));
    const giveUp = (): void => this.#fail(signal === undefined ? undefined : interrupted(signal));
    signal?.addEventListener('abort', giveUp, { once: true });
    this.#beganAt = performance.now();
    return new Promise<Buffer>((resolve, reject) => {
      this.#resolve = resolve;
      this.#reject = reject;
      this.#wait(hedgeMs, () => this.#secondTry(observer));
      this.#try(observer);
    }).finally(() => signal?.removeEventListener('abort', giveUp));
  }

  #try(observer: Observer): void {
    const attempt: Attempt = { controller: new AbortController(), ended: false };
    this.#attempts.push(attempt);
    const onReceived = (bytes: number): void => {
      if (!this.#wins(attempt, observer)) return;
      this.#heardAt = performance.now();
      this.#options?.onReceived?.(bytes);
    };
    this.#start({ ...this.#options, signal: attempt.controller.signal, onReceived }).then(
      (bytes) => {
        if (this.#wins(attempt, observer) && this.#settle()) this.#resolve(bytes);
      },
      (error: unknown) => {
        attempt.ended = true;
        // The other try may still succeed.
        if (this.#winner === attempt || this.#attempts.every(({ ended }) => ended)) this.#fail(error);
      },
    );
  }

  #wins(attempt: Attempt, observer: Observer): boolean {
    if (this.#settled) return false;
    if (this.#winner !== null) return this.#winner === attempt;
    this.#winner = attempt;
    this.#heardAt = performance.now();
    observer.onFirstByte(this.#heardAt - this.#beganAt);
    // Both write into the same memory: the other must not any more.
    for (const other of this.#attempts) if (other !== attempt) other.controller.abort();
    const { stallMsMax } = this.#limits;
    this.#wait(stallMsMax, () => this.#checkStall());
    return true;
  }

  #secondTry(observer: Observer): void {
    const { firstByteMsMax } = this.#limits;
    const left = Math.max(0, firstByteMsMax - (performance.now() - this.#beganAt));
    this.#wait(left, () => this.#fail(this.#silent('did not begin to come', firstByteMsMax)));
    if (observer.mayHedge()) this.#try(observer);
  }

  #checkStall(): void {
    const { stallMsMax } = this.#limits;
    const left = stallMsMax - (performance.now() - this.#heardAt);
    if (left > 0) this.#wait(left, () => this.#checkStall());
    else this.#fail(this.#silent('stopped coming', stallMsMax));
  }

  /** What came while this process was busy is looked at before it counts as late. */
  #wait(ms: number, late: () => void): void {
    clearTimeout(this.#timer);
    const timer = setTimeout(() => {
      setImmediate(() => {
        if (this.#timer === timer && !this.#settled) late();
      });
    }, ms);
    this.#timer = timer;
  }

  #fail(error: unknown): void {
    if (!this.#settle()) return;
    for (const { controller } of this.#attempts) controller.abort();
    this.#reject(error);
  }

  #settle(): boolean {
    if (this.#settled) return false;
    this.#settled = true;
    clearTimeout(this.#timer);
    return true;
  }

  #silent(what: string, ms: number): ArtifactError {
    return new ArtifactError('StoreUnavailable', `object ${this.#key} ${what} for ${ms} ms`, {
      key: this.#key,
    });
  }
}
