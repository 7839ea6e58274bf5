import { setTimeout as sleep } from 'node:timers/promises';

const pauseMs = 50;

/** Answers `operation`, which is tried again for so long while it fails with what `passes` soon. Throws its last failure. */
export async function patiently<T>(
  ms: number,
  passes: (error: unknown) => boolean,
  operation: () => Promise<T>,
): Promise<T> {
  const until = performance.now() + ms;
  for (;;) {
    try {
      return await operation();
    } catch (error) {
      if (!passes(error) || performance.now() >= until) throw error;
    }
    await sleep(pauseMs);
  }
}
