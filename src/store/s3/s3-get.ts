import { type GetAnswer, LengthUnknown } from './get-connection.js';
import type { BodySink, GetPools } from './get-pools.js';
import type { AnswerHead } from './http-head.js';
import type { LateClient } from './s3-late-client.js';
import type { GetReply } from './s3-replies.js';
import { SignedGets, type SignedRequest, type Signer } from './signed-get.js';

/** Asked for by hand: the SDK would check the checksum in a stream of its own on the way. */
export const checksumMode = { 'x-amz-checksum-mode': 'ENABLED' };

/**
 * The GETs of one client: the first by the SDK, which shows how, unless that is known; the others without it as far as they
 * succeed.
 */
export class ObjectGets {
  readonly #client: LateClient;
  readonly #pools: GetPools;
  readonly #signed: SignedGets;

  /** `signer`: how GETs are to be written, when that is known without the SDK. */
  constructor(client: LateClient, signer: Signer | null) {
    this.#client = client;
    this.#pools = client.pools;
    this.#signed = new SignedGets(signer);
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
      const answer = await this.#pools.get(made.origin, made.text, sink, signal).catch(withoutLength);
      if (answer !== null && answer.head.status < 300) return replyOf(answer.head, sink);
      if (answer !== null && isUnderstood(answer.head)) throw failureOf(answer);
      this.#signed.forget();
    }
    let sent: SignedRequest | null = null;
    const onRequest = (request: SignedRequest): void => {
      sent = request;
    };
    const options = { sink, onRequest, ...(signal === undefined ? {} : { abortSignal: signal }) };
    const { client, getCommand } = await this.#client.load();
    const answer = await client.send(getCommand(target, headers), options);
    if (sent !== null) this.#signed.learn(sent, target.Key, client.config);
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
    body: null,
  };
}

/** The SDK's way can take an answer that does not say how long it is. */
function withoutLength(error: unknown): null {
  if (error instanceof LengthUnknown) return null;
  throw error;
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
