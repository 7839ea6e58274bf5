import { setMaxListeners } from 'node:events';

/** Fires with the first of several others, until it is disposed of. */
export interface AnySignal extends Disposable {
  readonly signal: AbortSignal;
}

/**
 * One signal for several. Dispose of it when nothing listens any more: one that lives as long as the daemon would remember all that
 * were made of it, which it does for ever with `AbortSignal.any`.
 */
export function anySignal(...signals: readonly (AbortSignal | undefined)[]): AnySignal {
  const sources = signals.filter((signal) => signal !== undefined);
  const any = new AbortController();
  const fire = (): void => any.abort(sources.find(({ aborted }) => aborted)?.reason);
  if (sources.some(({ aborted }) => aborted)) fire();
  else for (const source of sources) shared(source).addEventListener('abort', fire);
  return {
    signal: shared(any.signal),
    [Symbol.dispose]: () => {
      for (const source of sources) source.removeEventListener('abort', fire);
    },
  };
}

/** Answers the signal. Node takes more than ten listeners for forgotten ones; here they are work at the same time. */
export function shared(signal: AbortSignal): AbortSignal {
  setMaxListeners(0, signal);
  return signal;
}
