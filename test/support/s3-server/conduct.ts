import type { Operation } from './context.js';
import type {
  Counters,
  FaultEffect,
  FaultRule,
  OperationCounters,
  ServerControl,
  Settings,
} from './control.js';

interface ActiveRule {
  readonly rule: FaultRule;
  seen: number;
  hits: number;
}

const calm: Settings = { latencyMs: 0, latencyJitterMs: 0, bytesPerSecond: 0, errorRate: 0, seed: 1 };

/** The script of faults, the settings and the counters of one server. */
export class Conduct implements ServerControl {
  #settings = calm;
  #random = randomFrom(calm.seed);
  #rules: ActiveRule[] = [];
  #operations: Partial<Record<Operation, OperationCounters>> = {};
  #inFlight = 0;
  #inFlightMax = 0;
  #connections = 0;

  get settings(): Settings {
    return this.#settings;
  }

  async addFault(rule: FaultRule): Promise<void> {
    this.#rules.push({ rule, seen: 0, hits: 0 });
  }

  async clearFaults(): Promise<void> {
    this.#rules = [];
  }

  async set(settings: Partial<Settings>): Promise<void> {
    this.#settings = { ...this.#settings, ...settings };
    if (settings.seed !== undefined) this.#random = randomFrom(settings.seed);
  }

  async counters(): Promise<Counters> {
    return structuredClone({
      operations: this.#operations,
      inFlightMax: this.#inFlightMax,
      connections: this.#connections,
    });
  }

  async resetCounters(): Promise<void> {
    this.#operations = {};
    this.#inFlightMax = this.#inFlight;
    this.#connections = 0;
  }

  connected(): void {
    this.#connections++;
  }

  began(operation: Operation): OperationCounters {
    this.#inFlightMax = Math.max(this.#inFlightMax, ++this.#inFlight);
    const counters = this.#operations[operation] ?? { requests: 0, bytesIn: 0, bytesOut: 0, errors: 0 };
    this.#operations[operation] = counters;
    counters.requests++;
    return counters;
  }

  ended(): void {
    this.#inFlight--;
  }

  /** What goes wrong with this request. */
  effectFor(operation: Operation, key: string): FaultEffect | null {
    for (const active of this.#rules) {
      const { on, key: pattern, skip = 0, times, probability, effect } = active.rule;
      if (on !== undefined && (typeof on === 'string' ? on !== operation : !on.includes(operation))) continue;
      if (pattern !== undefined && !new RegExp(pattern).test(key)) continue;
      if (active.seen++ < skip) continue;
      if (times !== undefined && active.hits >= times) continue;
      if (probability !== undefined && this.#random() >= probability) continue;
      active.hits++;
      return effect;
    }
    const { errorRate } = this.#settings;
    if (errorRate > 0 && this.#random() < errorRate) return { kind: 'status', status: 503, code: 'SlowDown' };
    return null;
  }

  latencyMs(): number {
    const { latencyMs, latencyJitterMs } = this.#settings;
    return latencyMs + (latencyJitterMs > 0 ? this.#random() * latencyJitterMs : 0);
  }
}

function randomFrom(seed: number): () => number {
  let state = seed >>> 0 || 1;
  return () => {
    // xorshift32
    state ^= state << 13;
    state ^= state >>> 17;
    state ^= state << 5;
    return (state >>> 0) / 2 ** 32;
  };
}
