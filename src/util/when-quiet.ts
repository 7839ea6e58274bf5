import { performance } from 'node:perf_hooks';

export interface Quietness {
  /** How long to wait before the first look, in ms. */
  readonly afterMs: number;
  /** How long the event loop must have had little to do, in ms. */
  readonly quietMs: number;
  /** Share of the time since the last call, 0 to 1, in which the event loop worked; default: what Node says. */
  readonly busyShare?: () => number;
}

/** From this share of the time on the loop counts as working. */
const busyShareMin = 0.05;

/** Calls `body` once, when the event loop has little else to do. Answers what gives it up. */
export function whenQuiet(body: () => void, quietness: Quietness): () => void {
  const { afterMs, quietMs, busyShare = shareSinceLast() } = quietness;
  const look = (): void => {
    if (busyShare() < busyShareMin) body();
    else timer = setTimeout(look, quietMs);
  };
  let timer = setTimeout(() => {
    busyShare();
    timer = setTimeout(look, quietMs);
  }, afterMs);
  return () => clearTimeout(timer);
}

function shareSinceLast(): () => number {
  let last = performance.eventLoopUtilization();
  return () => {
    const now = performance.eventLoopUtilization();
    const { utilization } = performance.eventLoopUtilization(now, last);
    last = now;
    return utilization;
  };
}
