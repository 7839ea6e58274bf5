import { toArtifactError } from '../model/errors.js';

/**
 * What `work` resolves or rejects with, but it rejects with the signal's reason, as an ArtifactError, when that fires first; the
 * work itself goes on.
 */
export function unlessAborted<T>(signal: AbortSignal, work: Promise<T>): Promise<T> {
  return new Promise((resolve, reject) => {
    const giveUp = () => reject(toArtifactError(signal.reason));
    if (signal.aborted) giveUp();
    else signal.addEventListener('abort', giveUp, { once: true });
    work.then(resolve, reject).finally(() => signal.removeEventListener('abort', giveUp));
  });
}
