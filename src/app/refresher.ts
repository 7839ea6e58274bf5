import type { Artifacts } from '../artifacts/ports.js';
import type { Logger } from '../log/logger.js';
import { toArtifactError } from '../model/errors.js';
import { within } from '../util/within.js';

/** Asks for commits of others every so often. While the store is away it asks less often, and says so once. */
export class Refresher implements AsyncDisposable {
  readonly #artifacts: Artifacts;
  readonly #intervalMs: number;
  readonly #log: Logger;
  #timer: NodeJS.Timeout | undefined;
  #running: Promise<void> | undefined;
  #failures = 0;
  #error: string | null = null;
  #closed = false;

  /** `intervalMs` 0: only when asked. The first time is in `firstMs`. */
  constructor(artifacts: Artifacts, intervalMs: number, log: Logger, firstMs = intervalMs) {
    this.#artifacts = artifacts;
    this.#intervalMs = intervalMs;
    this.#log = log;
    this.#schedule(firstMs);
  }

  /** Why commits of others are not seen at the moment. */
  get error(): string | null {
    return this.#error;
  }

  /** At once; throws what went wrong. */
  async refresh(): Promise<void> {
    await this.#artifacts.refresh();
    this.#succeeded();
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#timer);
    // Nothing hangs on its outcome, and a store that is away makes it last.
    await within(stopMsMax, this.#running ?? Promise.resolve());
  }

  #schedule(ms: number): void {
    if (this.#intervalMs === 0 || this.#closed) return;
    this.#timer = setTimeout(() => {
      this.#running = this.#once().finally(() => {
        const slower = 2 ** Math.min(this.#failures, slowestPower);
        this.#schedule(this.#intervalMs * slower);
      });
    }, ms);
  }

  async #once(): Promise<void> {
    try {
      await this.#artifacts.refresh({ openOnly: true });
      this.#succeeded();
    } catch (thrown) {
      const error = toArtifactError(thrown);
      this.#failures++;
      if (this.#error !== error.message) this.#log.warn({ err: error }, 'commits of others are not seen');
      this.#error = error.message;
    }
  }

  #succeeded(): void {
    if (this.#error !== null) this.#log.info({}, 'commits of others are seen again');
    this.#failures = 0;
    this.#error = null;
  }
}

const stopMsMax = 1_000;
/** At most 16 times the interval. */
const slowestPower = 4;
