interface Begun<T> {
  readonly n: number;
  readonly result: Promise<T>;
}

/**
 * Work by key that is done once for all who want it at the same time. A failure is for those who were there when it began:
 * who joined later, perhaps when its cause was over, begins anew.
 */
export class SharedWork<T> {
  readonly #underWay = new Map<string, Begun<T>>();
  #begun = 0;

  /** How many works are under way. */
  get size(): number {
    return this.#underWay.size;
  }

  async run(key: string, work: () => Promise<T>): Promise<T> {
    const before = this.#begun;
    for (;;) {
      const { n, result } = this.#underWay.get(key) ?? this.#begin(key, work);
      try {
        return await result;
      } catch (error) {
        if (n > before) throw error;
      }
    }
  }

  /** Resolves when nothing is under way. */
  async settled(): Promise<void> {
    while (this.size > 0) {
      await Promise.allSettled([...this.#underWay.values()].map(({ result }) => result));
    }
  }

  #begin(key: string, work: () => Promise<T>): Begun<T> {
    const result = work().finally(() => this.#underWay.delete(key));
    const begun = { n: ++this.#begun, result };
    this.#underWay.set(key, begun);
    return begun;
  }
}
