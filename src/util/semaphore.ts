import { ArtifactError } from '../model/errors.js';

/** At most `permits` bodies run at a time; the others wait in the order they came. */
export class Semaphore {
  #free: number;
  readonly #waiting = new Set<() => void>();

  constructor(permits: number) {
    this.#free = permits;
  }

  /** Runs `body` when a permit is free. A `signal` that fires while it waits rejects with `Interrupted`. */
  async run<T>(body: () => T | Promise<T>, signal?: AbortSignal): Promise<T> {
    await this.#acquire(signal);
    try {
      return await body();
    } finally {
      this.#release();
    }
  }

  #acquire(signal: AbortSignal | undefined): Promise<void> | undefined {
    if (signal?.aborted) throw interrupted(signal);
    if (this.#free > 0) {
      this.#free--;
      return undefined;
    }
    return new Promise((resolve, reject) => {
      const proceed = () => {
        signal?.removeEventListener('abort', giveUp);
        resolve();
      };
      const giveUp = () => {
        this.#waiting.delete(proceed);
        if (signal !== undefined) reject(interrupted(signal));
      };
      this.#waiting.add(proceed);
      signal?.addEventListener('abort', giveUp, { once: true });
    });
  }

  /** Hands the permit to the longest waiting, so nobody who comes later overtakes it. */
  #release(): void {
    const [next] = this.#waiting;
    if (next === undefined) {
      this.#free++;
      return;
    }
    this.#waiting.delete(next);
    next();
  }
}

/** One body at a time. Not re-entrant: a body that runs the same mutex waits for itself. */
export class Mutex extends Semaphore {
  constructor() {
    super(1);
  }
}

const interrupted = (signal: AbortSignal) =>
  new ArtifactError('Interrupted', 'given up while waiting', {}, signal.reason);
