import { randomUUID } from 'node:crypto';
import { isCode } from '../../model/errors.js';
import type { ObjectStore } from '../object-store.js';
import { cleanUpProbe, repeated } from '../probe.js';

/** True when `put`, which must have an If-Match, is refused for a key that is not there. */
export async function refusesIfMatch(
  store: ObjectStore,
  put: (key: string, body: Buffer) => Promise<unknown>,
): Promise<boolean> {
  const key = `.probe/${randomUUID()}`;
  try {
    await repeated(() => put(key, Buffer.from('artifactfs')));
  } catch (error) {
    if (isCode(error, 'StoreUnavailable', 'StoreDenied', 'Interrupted')) throw error;
    return true;
  }
  await cleanUpProbe(store, [key]);
  return false;
}
