import { randomUUID } from 'node:crypto';
import type { CallOptions, ObjectStore } from '../../store/object-store.js';
import { cleanUpProbe } from '../../store/probe.js';

/** By the store's clock, which tells whole seconds in some answers and less in others. */
export const ageMs = (nowMs: number, writtenMs: number): number => Math.max(0, nowMs - writtenMs);

/**
 * What time it is for the store: when it says that an object written just now was modified. Ages of other objects are
 * taken from it, so that no machine's clock decides what is old.
 */
export async function storeTimeMs(store: ObjectStore, options: CallOptions = {}): Promise<number> {
  const key = `.probe/${randomUUID()}/clock`;
  try {
    await store.put(key, Buffer.from('what time is it?\n'), options);
    return (await store.head(key, options)).modifiedMs;
  } finally {
    await cleanUpProbe(store, [key]).catch(() => undefined); // a later probe removes it
  }
}
