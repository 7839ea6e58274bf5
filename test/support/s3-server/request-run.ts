import { randomUUID } from 'node:crypto';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { setTimeout as sleep } from 'node:timers/promises';
import { type BlobStorage, emptyBlob } from './blob.js';
import type { Bucket } from './buckets.js';
import type { Conduct } from './conduct.js';
import type { Answer, Context, Features, Operation } from './context.js';
import type { FaultEffect, OperationCounters } from './control.js';
import { type Payload, receivePayload } from './payload.js';
import { handlers, keepsPayload, operationOf } from './routes.js';
import { S3Error } from './s3-error.js';
import { type Credentials, decode, splitUrl, verifySignature } from './sigv4.js';
import { closed, pacedBody, resetConnection, sendBody } from './wire.js';
import { tags } from './xml.js';

export interface ServerState {
  readonly credentials: Credentials;
  readonly storage: BlobStorage;
  readonly conduct: Conduct;
  readonly buckets: Map<string, Bucket>;
  readonly features: Features;
}

/** One request from its first to its last byte. */
export class RequestRun {
  readonly #state: ServerState;
  readonly #request: IncomingMessage;
  readonly #response: ServerResponse;

  constructor(state: ServerState, request: IncomingMessage, response: ServerResponse) {
    this.#state = state;
    this.#request = request;
    this.#response = response;
  }

  async run(): Promise<void> {
    const { conduct } = this.#state;
    let parsed: ReturnType<RequestRun['parse']>;
    try {
      parsed = this.parse();
    } catch (error) {
      return this.#sendError(error, null);
    }
    const counters = conduct.began(parsed.operation);
    try {
      await this.#serve(parsed, conduct.effectFor(parsed.operation, parsed.key), counters);
    } finally {
      conduct.ended();
    }
  }

  parse() {
    const { path, query } = splitUrl(this.#request.url ?? '/');
    const [, bucketName = '', rawKey = ''] = /^\/([^/]*)\/?(.*)$/s.exec(path) ?? [];
    const target = {
      method: this.#request.method ?? 'GET',
      bucketName: decode(bucketName),
      key: decode(rawKey),
      query: new Map(query),
      copies: this.#request.headers['x-amz-copy-source'] !== undefined,
    };
    return { ...target, operation: operationOf(target) };
  }

  async #serve(
    parsed: ReturnType<RequestRun['parse']>,
    effect: FaultEffect | null,
    counters: OperationCounters,
  ): Promise<void> {
    if (effect?.kind === 'reset') {
      counters.errors++;
      return resetConnection(this.#request);
    }
    let answer: Answer;
    try {
      if (effect?.kind === 'status') throw new S3Error(effect.status, effect.code, 'A scripted fault');
      const payload = await this.#receive(parsed.operation, effect);
      counters.bytesIn += payload.blob.size;
      await sleep(this.#state.conduct.latencyMs() + (effect?.kind === 'delay' ? effect.ms : 0));
      if (effect?.kind === 'stall' && effect.afterBytes === undefined) return await closed(this.#response);
      if (effect?.kind === 'applyLate') {
        counters.errors++;
        resetConnection(this.#request);
        await sleep(effect.ms);
      }
      answer = await this.#apply(parsed, payload);
    } catch (error) {
      counters.errors++;
      if (effect?.kind === 'loseAnswer') return resetConnection(this.#request);
      return this.#sendError(error, parsed.operation);
    }
    if (effect?.kind === 'loseAnswer') {
      counters.errors++;
      return resetConnection(this.#request);
    }
    await this.#send(answer, effect, counters);
  }

  async #receive(operation: Operation, effect: FaultEffect | null): Promise<Payload> {
    const { credentials, storage, features, conduct } = this.#state;
    const signature = verifySignature(this.#request, credentials);
    if (this.#request.method === 'GET' || this.#request.method === 'HEAD')
      return { blob: emptyBlob, etag: '' };
    let source = pacedBody(this.#request, () => conduct.settings.bytesPerSecond);
    if (effect?.kind === 'corruptUpload' && keepsPayload.has(operation)) source = damaged(source);
    return receivePayload(source, this.#request.headers, signature, storage, features);
  }

  async #apply(parsed: ReturnType<RequestRun['parse']>, payload: Payload): Promise<Answer> {
    const { storage, buckets, features } = this.#state;
    const context: Context = {
      ...parsed,
      headers: this.#request.headers,
      payload,
      buckets,
      storage,
      features,
    };
    let kept = false;
    try {
      const answer = await handlers[parsed.operation](context);
      kept = keepsPayload.has(parsed.operation);
      return answer;
    } finally {
      if (!kept) storage.release(payload.blob);
    }
  }

  async #send(answer: Answer, effect: FaultEffect | null, counters: OperationCounters): Promise<void> {
    const { storage, conduct } = this.#state;
    const { body = '' } = answer;
    const text = typeof body === 'string' ? Buffer.from(body) : null;
    let size = typeof body === 'string' ? Buffer.byteLength(body) : body.end - body.start;
    const wholeSize = size;
    if (effect?.kind === 'short') size >>= 1;
    this.#response.writeHead(answer.status, {
      'x-amz-request-id': randomUUID(),
      ...(text !== null && size > 0 ? { 'content-type': 'application/xml' } : {}),
      ...answer.headers,
      // The Content-Length of a HEAD is that of the object.
      ...(this.#request.method === 'HEAD' || answer.status === 204 || answer.status === 304
        ? {}
        : { 'content-length': size }),
    });
    if (this.#request.method === 'HEAD' || wholeSize === 0) {
      this.#response.end();
      return;
    }
    const chunks =
      text === null && typeof body !== 'string'
        ? storage.read(body.blob, body.start, body.start + size)
        : once(text ?? Buffer.alloc(0));
    const complete = await sendBody(
      this.#response,
      chunks,
      {
        bytesPerSecond: conduct.settings.bytesPerSecond,
        ...(effect?.kind === 'stall' ? { stallAt: effect.afterBytes ?? 0 } : {}),
        ...(effect?.kind === 'truncate' ? { cutAt: size >> 1 } : {}),
        ...(effect?.kind === 'corrupt' ? { flipAt: size >> 1 } : {}),
      },
      (bytes) => {
        counters.bytesOut += bytes;
      },
    );
    if (!complete) counters.errors++;
  }

  async #sendError(error: unknown, operation: Operation | null): Promise<void> {
    if (this.#request.destroyed && !this.#request.complete) return; // the client went away
    if (!(error instanceof S3Error)) throw error;
    // What is left of the body is read, so that the client sees the answer and the connection can go on.
    this.#request.resume();
    if (!this.#request.complete && !this.#request.readableEnded)
      await new Promise((resolve) => {
        this.#request.once('end', resolve);
        this.#request.once('close', resolve);
      });
    const fields = { Code: error.code, Message: error.message, Operation: operation ?? undefined };
    const body = `<?xml version="1.0" encoding="UTF-8"?>\n<Error>${tags(fields)}</Error>`;
    const head = this.#request.method === 'HEAD';
    this.#response.writeHead(error.status, {
      'x-amz-request-id': randomUUID(),
      ...(head ? {} : { 'content-type': 'application/xml', 'content-length': Buffer.byteLength(body) }),
    });
    this.#response.end(head || error.status === 304 ? undefined : body);
  }
}

async function* once(buffer: Buffer): AsyncIterable<Buffer> {
  yield buffer;
}

async function* damaged(source: AsyncIterable<Buffer>): AsyncIterable<Buffer> {
  let first = true;
  for await (const chunk of source) {
    const copy = Buffer.from(chunk);
    if (first) copy.writeUInt8(copy.readUInt8(copy.length >> 1) ^ 0xff, copy.length >> 1);
    first = false;
    yield copy;
  }
}
