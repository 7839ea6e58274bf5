/** Cached objects, by their names in the cache, that others may not push out. Several may hold the same. */
export class CacheHolds {
  readonly #holds = new Map<string, number>();

  has(name: string): boolean {
    return this.#holds.has(name);
  }

  names(): Iterable<string> {
    return this.#holds.keys();
  }

  /** Until what is answered is called, once. The names must not change meanwhile. */
  hold(names: readonly string[]): () => void {
    for (const name of names) this.#holds.set(name, (this.#holds.get(name) ?? 0) + 1);
    return () => {
      for (const name of names) {
        const left = (this.#holds.get(name) ?? 0) - 1;
        if (left > 0) this.#holds.set(name, left);
        else this.#holds.delete(name);
      }
    };
  }
}
