import { isUtf8 } from 'node:buffer';
import { constants } from 'node:os';
import { limits } from '../../model/limits.js';
import { Refusal } from './refusal.js';

/** A NUL-terminated string inside a request. */
export interface Text {
  readonly value: string;
  /** Offset of the byte after its NUL. */
  readonly next: number;
}

/** Decodes the string at `from`, which must end before `end` and have at most `bytesMax` bytes of UTF-8. */
export function decodeText(bytes: Buffer, from: number, end: number, bytesMax: number): Text {
  let at = from;
  let seen = 0;
  for (; at < end; at++) {
    const byte = bytes[at] as number;
    if (byte === 0) break;
    seen |= byte;
  }
  if (at === end)
    throw new Refusal(constants.errno.EINVAL, 'a string without an end in a request of the kernel');
  if (at - from > bytesMax) {
    throw new Refusal(
      constants.errno.ENAMETOOLONG,
      `a name of ${at - from} bytes; at most ${bytesMax} are possible`,
    );
  }
  if (seen < 0x80) return { value: bytes.toString('latin1', from, at), next: at + 1 };
  const slice = bytes.subarray(from, at);
  if (!isUtf8(slice)) {
    throw new Refusal(
      constants.errno.EILSEQ,
      `the name "${escapeBytes(slice)}" is not UTF-8: artifactfs keeps only names that every machine can read`,
    );
  }
  return { value: slice.toString('utf8'), next: at + 1 };
}

export const decodeName = (bytes: Buffer, from: number, end: number): Text =>
  decodeText(bytes, from, end, limits.nameBytesMax);

function escapeBytes(bytes: Uint8Array): string {
  let text = '';
  for (const byte of bytes) {
    text +=
      byte >= 0x20 && byte < 0x7f ? String.fromCharCode(byte) : `\\x${byte.toString(16).padStart(2, '0')}`;
  }
  return text;
}
