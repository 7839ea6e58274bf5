import { randomUUID } from 'node:crypto';
import { isCode } from '../../model/errors.js';
import type { ObjectStore } from '../object-store.js';
import { cleanUpProbe } from '../probe.js';
import { crc32Base64 } from './s3-body.js';

/** True when `put` of a probe's key succeeds with the right CRC32 and is refused with a wrong one. */
export async function verifiesCrc32(
  store: ObjectStore,
  put: (key: string, body: Buffer, crc32: string) => Promise<unknown>,
): Promise<boolean> {
  const key = `.probe/${randomUUID()}`;
  const body = Buffer.from('artifactfs');
  const accepts = async (crc32: string): Promise<boolean> => {
    try {
      await put(key, body, crc32);
      return true;
    } catch (error) {
      if (isCode(error, 'StoreUnavailable', 'Invalid', 'Unsupported')) return false;
      throw error;
    }
  };
  const right = await accepts(crc32Base64([body]));
  const wrong = right && (await accepts(crc32Base64([Buffer.from('something else')])));
  if (right) await cleanUpProbe(store, [key]);
  return right && !wrong;
}
