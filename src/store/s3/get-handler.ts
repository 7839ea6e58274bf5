import { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';
import { type GetAnswer, LengthUnknown } from './get-connection.js';
import type { BodySink, GetPools } from './get-pools.js';
import { encodedPart, originOf, type SignedRequest } from './signed-get.js';

interface HandlerRequest extends SignedRequest {
  readonly method: string;
  readonly query?: Record<string, string | string[] | null>;
}

/** `sink` and `onRequest` are given to `send` beside the signal; the SDK hands them on. */
interface HandlerOptions {
  readonly abortSignal?: AbortSignal;
  readonly sink?: BodySink;
  /** Told of the request as it is sent. */
  readonly onRequest?: (request: SignedRequest) => void;
}

interface HandlerAnswer {
  readonly response: {
    readonly statusCode: number;
    readonly reason?: string;
    readonly headers: Record<string, string>;
    readonly body?: unknown;
  };
}

interface RequestHandler {
  handle(request: HandlerRequest, options?: HandlerOptions): Promise<HandlerAnswer>;
  destroy?(): void;
}

/** The SDK's request handler, but GETs with a sink go over connections of our own. */
class GetHandler implements RequestHandler {
  readonly #other: RequestHandler;
  readonly #pools: GetPools;

  constructor(other: RequestHandler, pools: GetPools) {
    this.#other = other;
    this.#pools = pools;
  }

  async handle(request: HandlerRequest, options: HandlerOptions = {}): Promise<HandlerAnswer> {
    const { sink, onRequest, abortSignal: signal, ...rest } = options;
    const passed = signal === undefined ? rest : { ...rest, abortSignal: signal };
    if (sink === undefined || request.method !== 'GET' || this.#pools.unfit)
      return this.#other.handle(request, passed);
    onRequest?.(request);
    try {
      return answerOf(await this.#pools.get(originOf(request), requestText(request), sink, signal), sink);
    } catch (error) {
      if (!(error instanceof LengthUnknown)) throw error;
      return this.#other.handle(request, passed);
    }
  }

  destroy(): void {
    this.#pools.destroy();
    this.#other.destroy?.();
  }
}

/** Puts a handler that uses `pools` in the place of the one that the client has; they end with the client. */
export function useGetPools({ config }: S3Client, pools: GetPools): void {
  config.requestHandler = new GetHandler(config.requestHandler, pools) as typeof config.requestHandler;
}

function answerOf({ head, body }: GetAnswer, sink: BodySink): HandlerAnswer {
  const { status: statusCode, reason, headers } = head;
  sink.taken = statusCode < 300;
  return {
    response: {
      statusCode,
      reason,
      headers,
      body: Readable.from(sink.taken || body.length === 0 ? [] : [body]),
    },
  };
}

function requestText({ path, query = {}, headers }: HandlerRequest): string {
  const pairs = Object.entries(query).flatMap(([name, value]) =>
    (Array.isArray(value) ? value : [value]).map((one) =>
      one === null ? encodedPart(name) : `${encodedPart(name)}=${encodedPart(one)}`,
    ),
  );
  let text = `GET ${path}${pairs.length === 0 ? '' : `?${pairs.join('&')}`} HTTP/1.1\r\n`;
  for (const [name, value] of Object.entries(headers)) {
    if (/[\r\n]/.test(value)) throw new Error(`the header ${name} holds a line break`);
    text += `${name}: ${value}\r\n`;
  }
  return `${text}\r\n`;
}
