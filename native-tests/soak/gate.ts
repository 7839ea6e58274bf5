/** Lets many through together, or one alone while nobody else is inside. */
export class Gate {
  #inside = 0;
  #closed = false;
  #waiting: (() => void)[] = [];
  #empty: (() => void)[] = [];

  async through<T>(work: () => Promise<T>): Promise<T> {
    while (this.#closed) await new Promise<void>((resolve) => this.#waiting.push(resolve));
    this.#inside++;
    try {
      return await work();
    } finally {
      if (--this.#inside === 0) for (const tell of this.#empty.splice(0)) tell();
    }
  }

  /** Nobody comes in from now on. */
  close(): void {
    this.#closed = true;
  }

  /** Until nobody is inside. */
  async empty(): Promise<void> {
    while (this.#inside > 0) await new Promise<void>((resolve) => this.#empty.push(resolve));
  }

  open(): void {
    this.#closed = false;
    for (const tell of this.#waiting.splice(0)) tell();
  }
}
