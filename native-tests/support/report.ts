/** What a long run tells while it goes on, and what it has found wrong. */
export class Report {
  readonly failures: string[] = [];
  readonly #tell: (text: string) => void;
  readonly #began = performance.now();

  constructor(tell: (text: string) => void) {
    this.#tell = tell;
  }

  get seconds(): number {
    return Math.round((performance.now() - this.#began) / 1000);
  }

  note(text: string): void {
    this.#tell(`${String(this.seconds).padStart(5)} s  ${text}`);
  }

  fail(error: unknown): void {
    const text = error instanceof Error ? (error.stack ?? error.message) : String(error);
    this.failures.push(text);
    this.note(`FAILED: ${text}`);
  }
}
