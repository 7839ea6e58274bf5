/** What of some files was lost on the way: `what`, of how many, and one of them. */
export interface Loss {
  readonly what: string;
  readonly count: number;
  readonly first: string;
}

/** Gathers what could not be kept, by kind: a million files without their owner are one line. */
export class NotKept {
  readonly #losses = new Map<string, { count: number; first: string }>();

  note(what: string, path: string): void {
    const known = this.#losses.get(what);
    if (known === undefined) this.#losses.set(what, { count: 1, first: path });
    else known.count++;
  }

  list(): Loss[] {
    return [...this.#losses].map(([what, { count, first }]) => ({ what, count, first }));
  }
}
