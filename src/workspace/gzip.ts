import { promisify } from 'node:util';
import { constants, gunzip, gunzipSync, gzip, gzipSync } from 'node:zlib';
import { corrupt } from './fields.js';

const gzipAsync = promisify(gzip);
const gunzipAsync = promisify(gunzip);

/** Below this the work is shorter than handing it to a thread. */
const inlineBytesMax = 16 << 10;
/** Hashes and numbers do not get smaller with more effort; a level above 3 doubles the time for 2%. */
const options = { level: 3, memLevel: 9 };

/** In libuv's pool, but for small inputs. */
export async function compress(bytes: Buffer): Promise<Buffer> {
  return bytes.length <= inlineBytesMax ? gzipSync(bytes, options) : gzipAsync(bytes, options);
}

/** Whatever is not whole gzip of at most `bytesMax` plain bytes is `Corrupt`, naming `where`. */
export async function decompress(where: string, bytes: Buffer, bytesMax: number): Promise<Buffer> {
  const limit = { maxOutputLength: bytesMax, finishFlush: constants.Z_FINISH };
  try {
    return bytes.length <= inlineBytesMax ? gunzipSync(bytes, limit) : await gunzipAsync(bytes, limit);
  } catch (error) {
    throw corrupt(where, 'is not valid gzip', error);
  }
}

export const isGzip = (bytes: Buffer): boolean => bytes[0] === 0x1f && bytes[1] === 0x8b;
