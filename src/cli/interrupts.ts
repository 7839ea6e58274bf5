import { ArtifactError } from '../model/errors.js';

/**
 * Ctrl-C and SIGTERM. The first one asks what is running to end and to say what happened; a second one ends the process
 * at once.
 */
export class Interrupts implements Disposable {
  readonly #controller = new AbortController();
  #handler: (() => void) | undefined;
  readonly #onSignal = () => {
    this[Symbol.dispose]();
    if (this.#handler !== undefined) this.#handler();
    else this.#controller.abort(new ArtifactError('Interrupted', 'interrupted'));
  };

  constructor() {
    process.on('SIGINT', this.#onSignal);
    process.on('SIGTERM', this.#onSignal);
  }

  /** While `body` runs, a signal calls `handler` instead of ending the verb. */
  async during<T>(handler: () => void, body: () => Promise<T>): Promise<T> {
    this.#handler = handler;
    try {
      return await body();
    } finally {
      this.#handler = undefined;
    }
  }

  /** Runs a verb until it is done or interrupted. */
  async race<T>(body: Promise<T>): Promise<T> {
    const { signal } = this.#controller;
    if (signal.aborted) throw signal.reason;
    return await new Promise<T>((resolve, reject) => {
      signal.addEventListener('abort', () => reject(signal.reason), { once: true });
      body.then(resolve, reject);
    });
  }

  [Symbol.dispose](): void {
    process.off('SIGINT', this.#onSignal);
    process.off('SIGTERM', this.#onSignal);
  }
}
