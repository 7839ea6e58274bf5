/** Work that nobody waits for but `settled`. Its failures are counted. */
export class BackgroundWork {
  readonly #running = new Set<Promise<void>>();
  #errors = 0;
  /** What failed last, in words. */
  lastError: string | null = null;

  get errors(): number {
    return this.#errors;
  }

  /** Answers a promise that never rejects. */
  add(work: Promise<void>): Promise<void> {
    const running = work
      .catch((error: unknown) => {
        this.#errors++;
        this.lastError = messageOf(error);
      })
      .finally(() => this.#running.delete(running));
    this.#running.add(running);
    return running;
  }

  /** Resolves when nothing runs any more. */
  async settled(): Promise<void> {
    while (this.#running.size > 0) await Promise.all(this.#running);
  }
}

export const messageOf = (error: unknown): string => (error instanceof Error ? error.message : String(error));
