import { setTimeout } from 'node:timers/promises';
import type { ErrorCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { interrupted, throwIfAborted } from './keys.js';

/** How often, and how soon, a call is tried again. Absent values are those of the limits. */
export interface Backoff {
  /** The first attempt included. */
  readonly attemptsMax?: number;
  readonly delayMsMin?: number;
  readonly delayMsMax?: number;
  /** In [0, 1); for tests. */
  readonly random?: () => number;
}

/** Failures that may be over at the next attempt. */
export const repeatableCodes = ['StoreUnavailable', 'Busy'] as const satisfies readonly ErrorCode[];

/** Milliseconds to wait after a failed attempt, counted from 1: a random share of a bound that doubles. */
export function backoffMs(attempt: number, backoff: Backoff): number {
  const { delayMsMin = limits.storeRetryDelayMsMin, delayMsMax = limits.storeRetryDelayMsMax } = backoff;
  const { random = Math.random } = backoff;
  return Math.min(delayMsMax, delayMsMin * 2 ** (attempt - 1)) * random();
}

/** Throws `Interrupted` at the signal. */
export async function pause(ms: number, signal: AbortSignal | undefined): Promise<void> {
  throwIfAborted(signal);
  try {
    await setTimeout(ms, undefined, signal === undefined ? {} : { signal });
  } catch (cause) {
    if (signal?.aborted === true) throw interrupted(signal, cause);
    throw cause;
  }
}
