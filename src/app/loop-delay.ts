import { createHistogram, performance } from 'node:perf_hooks';

/** Between two looks while the loop works, and while it has nothing to do: an idle daemon is left asleep. */
const busyMs = 50;
const idleMs = 2_000;
/** From this share of the time on the loop counts as working. */
const busyShare = 0.01;

/**
 * How late the event loop comes to its timers since it was made: what every request waits for besides its own work. A
 * monitor of Node's own would wake an idle process all the time.
 */
export class LoopDelay {
  readonly #histogram = createHistogram();
  #used = performance.eventLoopUtilization();
  #due = 0;

  constructor() {
    this.#plan(busyMs);
  }

  figures(): { p50Ms: number; p99Ms: number; maxMs: number } {
    const { count, max } = this.#histogram;
    if (count === 0) return { p50Ms: 0, p99Ms: 0, maxMs: 0 };
    return {
      p50Ms: inMs(this.#histogram.percentile(50)),
      p99Ms: inMs(this.#histogram.percentile(99)),
      maxMs: inMs(max),
    };
  }

  #plan(ms: number): void {
    this.#due = performance.now() + ms;
    setTimeout(() => this.#look(), ms).unref();
  }

  #look(): void {
    this.#histogram.record(Math.max(1, Math.round((performance.now() - this.#due) * 1e6)));
    const used = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(used, this.#used);
    this.#used = used;
    this.#plan(utilization > busyShare ? busyMs : idleMs);
  }
}

const inMs = (ns: number): number => Math.round(ns / 1e4) / 100;
