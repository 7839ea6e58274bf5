import { setMaxListeners } from 'node:events';

/** Fires with the first of these. As many as like may listen. */
export function anySignal(...signals: readonly (AbortSignal | undefined)[]): AbortSignal {
  return shared(AbortSignal.any(signals.filter((signal) => signal !== undefined)));
}

/** Answers the signal. Node takes more than ten listeners for forgotten ones; here they are work at the same time. */
export function shared(signal: AbortSignal): AbortSignal {
  setMaxListeners(0, signal);
  return signal;
}
