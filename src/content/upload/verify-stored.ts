import { ArtifactError, isCode } from '../../model/errors.js';
import type { ObjectStore } from '../../store/object-store.js';

/** Proves that the store has `size` bytes under a key, as it said when it took them. `Corrupt`: it has not. */
export async function verifyStored(
  store: ObjectStore,
  key: string,
  size: number,
  signal?: AbortSignal,
): Promise<void> {
  const stored = await storedSize(store, key, signal);
  if (stored === size) return;
  const found = stored === null ? 'does not have it' : `has ${stored} bytes of it`;
  throw new ArtifactError('Corrupt', `the store took the ${size} bytes of object ${key}, but ${found}`, {
    key,
    hint: 'commit again: what the store lost is sent anew',
  });
}

/** null: it is not there. */
async function storedSize(store: ObjectStore, key: string, signal?: AbortSignal): Promise<number | null> {
  try {
    return (await store.head(key, signal && { signal })).size;
  } catch (error) {
    if (isCode(error, 'NotFound')) return null;
    throw error;
  }
}
