import { isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { backoffMs, pause } from '../store/backoff.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';

/**
 * The bytes of an object that holds JSON. Where the store keeps no checksum, an answer that was cut looks like a shorter object, but
 * not like JSON: it is asked for again. What is no JSON each time is left to who reads it.
 */
export async function storedJson(
  store: ObjectStore,
  key: string,
  options: CallOptions = {},
): Promise<Buffer> {
  for (let attempt = 1; ; attempt++) {
    const bytes = await store.get(key, undefined, options);
    if (attempt === limits.storeDamagedGetsMax || isJson(bytes)) return bytes;
    await pause(backoffMs(attempt, {}), options.signal);
  }
}

/** The same; null where there is no such object. */
export async function storedJsonIfThere(
  store: ObjectStore,
  key: string,
  options: CallOptions = {},
): Promise<Buffer | null> {
  try {
    return await storedJson(store, key, options);
  } catch (error) {
    if (isCode(error, 'NotFound')) return null;
    throw error;
  }
}

function isJson(bytes: Buffer): boolean {
  try {
    JSON.parse(bytes.toString());
    return true;
  } catch {
    return false;
  }
}
