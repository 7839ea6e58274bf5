import { getEventListeners } from 'node:events';
import { describe, expect, test } from 'vitest';
import { anySignal } from '../../src/util/shared-signal.js';

describe('one signal for several', () => {
  test('fires with the first that does, and its reason', () => {
    const [first, second] = [new AbortController(), new AbortController()];
    using either = anySignal(first.signal, undefined, second.signal);
    expect(either.signal.aborted).toBe(false);
    second.abort('enough');
    first.abort('too late');
    expect(either.signal.aborted).toBe(true);
    expect(either.signal.reason).toBe('enough');
  });

  test('has fired when one of them had', () => {
    using either = anySignal(new AbortController().signal, AbortSignal.abort('before'));
    expect(either.signal.reason).toBe('before');
  });

  test('never fires for none', () => {
    using either = anySignal(undefined);
    expect(either.signal.aborted).toBe(false);
  });

  test('does not fire any more when it is disposed of', () => {
    const source = new AbortController();
    const either = anySignal(source.signal);
    either[Symbol.dispose]();
    source.abort();
    expect(either.signal.aborted).toBe(false);
  });

  test('regression: a signal that lives long remembers none of those made of it', () => {
    const source = new AbortController();
    for (let i = 0; i < 100; i++) {
      using either = anySignal(source.signal, new AbortController().signal);
      expect(either.signal.aborted).toBe(false);
    }
    expect(remembered(source.signal)).toBe(0);
  });
});

/** Listeners, and what Node 20 keeps for `AbortSignal.any` as long as the signal lives. */
function remembered(signal: AbortSignal): number {
  const kept = Object.getOwnPropertySymbols(signal)
    .filter(({ description }) => description === 'kDependantSignals')
    .map((symbol): { readonly size?: number } => Reflect.get(signal, symbol) ?? {})
    .reduce((count, { size = 0 }) => count + size, 0);
  return kept + getEventListeners(signal, 'abort').length;
}
