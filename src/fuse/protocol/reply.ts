import { Fields } from './fields.js';

/** fuse_out_header: length, error (negative errno), unique (64). */
export const replyHeaderBytes = 16;
/** The word where the body of a reply starts. */
export const replyBody = replyHeaderBytes / 4;

/** More than the header and the longest fixed body: CREATE's entry and open answer, 144 bytes. */
const replyBytesMax = 512;

/**
 * Builds one reply at a time in memory that is used again for the next: begin, put the fields of the body at
 * `replyBody`, send. Bytes of any length go into `payload`, which is sent after the fields without being copied.
 */
export class Reply {
  readonly fields = new Fields(replyBytesMax);
  /** Bytes of `fields` to send. */
  length = 0;
  payload: Uint8Array | undefined;

  /** Starts a reply without a body; `errno` 0 for success. */
  begin(unique: number, errno: number): void {
    this.payload = undefined;
    this.length = replyHeaderBytes;
    this.fields.u32(1, -errno);
    this.fields.u64(2, unique);
  }

  /** Makes room for a body of zeros. */
  body(words: number): void {
    this.fields.zero(replyBody, words);
    this.length = replyHeaderBytes + words * 4;
  }

  /** Writes the length into the header: the last thing before sending. */
  finish(): void {
    this.fields.u32(0, this.length + (this.payload?.length ?? 0));
  }
}
