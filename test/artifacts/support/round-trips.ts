import type { CallOptions, GetOptions, ObjectStore } from '../../../src/store/object-store.js';

export interface Request {
  readonly operation: string;
  readonly key: string;
  /** Which round trip it is part of: one more than the last that had ended when it began. */
  readonly round: number;
}

/**
 * A store that writes down what it is asked, and in which round trip. Requests of one round are those that began before
 * any of them had been answered: where `together` says how many there are in each round, their answers wait for the last of
 * them, so that a slow one does not make others look sequential.
 */
export function countRoundTrips(store: ObjectStore): {
  readonly store: ObjectStore;
  /** What was asked since the last call. `together`: requests of the first rounds of what follows. */
  take(...together: number[]): Request[];
} {
  let requests: Request[] = [];
  let ended = 0;
  let gates: Gate[] = [];
  const counted = async <T>(operation: string, key: string, run: () => Promise<T>): Promise<T> => {
    const round = ended + 1;
    requests.push({ operation, key, round });
    const gate = gates[round - 1];
    gate?.arrive();
    try {
      return await run();
    } finally {
      await gate?.all;
      ended = Math.max(ended, round);
    }
  };
  const wrapped: Partial<ObjectStore> = {
    get: (key: string, range: Parameters<ObjectStore['get']>[1], options?: GetOptions) =>
      counted('get', key, () => store.get(key, range, options)),
    head: (key: string, options?: CallOptions) => counted('head', key, () => store.head(key, options)),
    put: (...args) => counted('put', args[0], () => store.put(...args)),
    putIfAbsent: (...args) => counted('putIfAbsent', args[0], () => store.putIfAbsent(...args)),
  };
  return {
    store: new Proxy(store, {
      get(target, name) {
        const own: unknown = Reflect.get(wrapped, name);
        if (own !== undefined) return own;
        const value: unknown = Reflect.get(target, name, target);
        return typeof value === 'function' ? value.bind(target) : value;
      },
    }),
    take(...together) {
      const taken = requests;
      requests = [];
      ended = 0;
      gates = together.map((count) => new Gate(count));
      return taken;
    },
  };
}

/** Opens when so many have come. */
class Gate {
  readonly all: Promise<void>;
  #missing: number;
  #open = () => {};

  constructor(count: number) {
    this.#missing = count;
    this.all = new Promise((resolve) => {
      this.#open = resolve;
    });
  }

  arrive(): void {
    if (--this.#missing === 0) this.#open();
  }
}
