import { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';
import type { GetAnswer } from './get-connection.js';
import type { BodySink, GetPools } from './get-pools.js';
import type { AnswerHead } from './http-head.js';
import { getCommand } from './s3-client.js';
import { SignedGets, type SignedRequest } from './signed-get.js';

/** What a GET is answered with, besides the bytes in the sink. */
export interface GetReply {
  readonly length: number | undefined;
  readonly range: string | undefined;
  readonly crc32: string | undefined;
  readonly crc32Type: string | undefined;
  /** Where the sink did not take the bytes. */
  readonly body: unknown;
}

/** The GETs of one client: the first by the SDK, which shows how, the others without it as far as they succeed. */
export class ObjectGets {
  readonly #client: S3Client;
  readonly #pools: GetPools;
  readonly #signed: SignedGets;

  constructor(client: S3Client, pools: GetPools) {
    this.#client = client;
    this.#pools = pools;
    this.#signed = new SignedGets(client);
  }

  /** Fails as the SDK does. `headers` are by lower-case name. */
  async get(
    target: { readonly Bucket: string; readonly Key: string },
    headers: Readonly<Record<string, string>>,
    sink: BodySink,
    signal: AbortSignal | undefined,
  ): Promise<GetReply> {
    const made = this.#pools.unfit ? null : await this.#signed.make(target.Key, headers);
    if (made !== null) {
      const { head, body } = await this.#pools.get(made.origin, made.text, sink, signal);
      if (head.status < 300) return replyOf(head, sink);
      if (!isUnderstood(head)) this.#signed.forget();
      else throw failureOf({ head, body });
    }
    let sent: SignedRequest | null = null;
    const onRequest = (request: SignedRequest): void => {
      sent = request;
    };
    const options = { sink, onRequest, ...(signal === undefined ? {} : { abortSignal: signal }) };
    const answer = await this.#client.send(getCommand(target, headers), options);
    if (sent !== null) this.#signed.learn(sent, target.Key);
    return {
      length: answer.ContentLength,
      range: answer.ContentRange,
      crc32: answer.ChecksumCRC32,
      crc32Type: answer.ChecksumType,
      body: answer.Body,
    };
  }
}

function replyOf({ length, headers }: AnswerHead, sink: BodySink): GetReply {
  sink.taken = true;
  return {
    length: length ?? undefined,
    range: headers['content-range'],
    crc32: headers['x-amz-checksum-crc32'],
    crc32Type: headers['x-amz-checksum-type'],
    body: Readable.from([]),
  };
}

/** Others (redirects, clocks that differ, keys that expired) may go away when the SDK makes the request. */
const isUnderstood = ({ status }: AnswerHead): boolean =>
  status === 404 || status === 416 || status === 429 || status >= 500;

/** An error as the SDK makes it of an error document. */
function failureOf({ head, body }: GetAnswer): Error {
  const text = body.toString('utf8');
  const [, name = 'UnknownError'] = /<Code>([^<]*)<\/Code>/.exec(text) ?? [];
  const [, message = 'UnknownError'] = /<Message>([^<]*)<\/Message>/.exec(text) ?? [];
  return Object.assign(new Error(message), { name, $metadata: { httpStatusCode: head.status } });
}
