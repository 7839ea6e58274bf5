import { createHash, type Hash } from 'node:crypto';
import { S3Error } from './s3-error.js';
import { chunkSignature, type Signature, sameText, trailerSignature } from './sigv4.js';

const lineBytesMax = 8192;

/** The aws-chunked encoding: sized, optionally signed chunks, then trailers. */
export class AwsChunkedDecoder {
  readonly #signature: Signature;
  readonly #signed: boolean;
  readonly #onData: (data: Buffer) => void;
  readonly #trailers = new Map<string, string>();
  #state: 'size' | 'data' | 'dataEnd' | 'trailer' | 'done' = 'size';
  #line = '';
  #left = 0;
  #previous: string;
  #claimed = '';
  #hash: Hash = createHash('sha256');

  constructor(signature: Signature, onData: (data: Buffer) => void) {
    this.#signature = signature;
    this.#signed = signature.payload.startsWith('STREAMING-AWS4-HMAC-SHA256');
    this.#previous = signature.value;
    this.#onData = onData;
  }

  push(bytes: Buffer): void {
    for (let at = 0; at < bytes.length; ) {
      if (this.#state === 'data') {
        const data = bytes.subarray(at, at + this.#left);
        if (this.#signed) this.#hash.update(data);
        this.#onData(data);
        this.#left -= data.length;
        at += data.length;
        if (this.#left === 0) this.#endChunk();
      } else {
        const newline = bytes.indexOf(0x0a, at);
        const end = newline < 0 ? bytes.length : newline + 1;
        this.#line += bytes.toString('latin1', at, end);
        at = end;
        if (this.#line.length > lineBytesMax) throw malformed();
        if (newline >= 0) this.#takeLine();
      }
    }
  }

  /** The trailers, by lower-case name. */
  end(): ReadonlyMap<string, string> {
    // Without a trailer section some clients leave out the last empty line.
    if (this.#state !== 'done' && this.#state !== 'trailer') throw malformed();
    if (this.#signed && this.#signature.payload.endsWith('-TRAILER')) this.#checkTrailerSignature();
    return this.#trailers;
  }

  #takeLine(): void {
    const line = this.#line.replace(/\r?\n$/, '');
    this.#line = '';
    if (this.#state === 'size') this.#startChunk(line);
    else if (this.#state === 'dataEnd') {
      if (line !== '') throw malformed();
      this.#state = 'size';
    } else if (this.#state === 'trailer') {
      if (line === '') this.#state = 'done';
      else this.#addTrailer(line);
    } else if (line !== '') throw malformed();
  }

  #startChunk(line: string): void {
    const [, hex = '', signature = ''] =
      /^([0-9a-fA-F]+)(?:;chunk-signature=([0-9a-f]{64}))?$/.exec(line) ?? [];
    if (hex === '' || this.#signed !== (signature !== '')) throw malformed();
    this.#left = Number.parseInt(hex, 16);
    this.#claimed = signature;
    this.#state = 'data';
    if (this.#left > 0) return;
    this.#checkChunkSignature();
    this.#state = 'trailer';
  }

  #endChunk(): void {
    this.#checkChunkSignature();
    this.#state = 'dataEnd';
  }

  #checkChunkSignature(): void {
    if (!this.#signed) return;
    const expected = chunkSignature(this.#signature, this.#previous, this.#hash.digest('hex'));
    this.#hash = createHash('sha256');
    this.#previous = expected;
    if (!sameText(expected, this.#claimed)) throw mismatch();
  }

  #addTrailer(line: string): void {
    const [, name = '', value = ''] = /^([^:]+):(.*)$/.exec(line) ?? [];
    if (name === '') throw malformed();
    this.#trailers.set(name.trim().toLowerCase(), value.trim());
  }

  #checkTrailerSignature(): void {
    const claimed = this.#trailers.get('x-amz-trailer-signature') ?? '';
    this.#trailers.delete('x-amz-trailer-signature');
    const text = [...this.#trailers].map(([name, value]) => `${name}:${value}\n`).join('');
    if (!sameText(trailerSignature(this.#signature, this.#previous, text), claimed)) throw mismatch();
  }
}

const malformed = (): S3Error => new S3Error(400, 'InvalidRequest', 'The aws-chunked body is malformed');
const mismatch = (): S3Error =>
  new S3Error(403, 'SignatureDoesNotMatch', 'A chunk is not signed by the same key');
