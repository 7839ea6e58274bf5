import { Readable } from 'node:stream';
import type { S3Client } from '@aws-sdk/client-s3';
import { limits } from '../../model/limits.js';
import {
  type ConnectionLimits,
  ConnectionStale,
  type GetAnswer,
  GetConnection,
  type GetRequest,
  LengthUnknown,
  type Origin,
  type TlsSession,
} from './get-connection.js';
import type { AnswerHead } from './http-head.js';

/** Where the body of a GET goes. Given to `send` beside the signal; the SDK hands it on to the request handler. */
export interface BodySink {
  accept(head: AnswerHead, length: number): Buffer | null;
  received(bytes: number): void;
  /** Set when the body went into the memory that `accept` gave; else it is to be read from the answer. */
  taken: boolean;
}

interface HandlerRequest {
  readonly method: string;
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly query?: Record<string, string | string[] | null>;
  readonly headers: Record<string, string>;
}

interface HandlerOptions {
  readonly abortSignal?: AbortSignal;
  readonly sink?: BodySink;
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

/** Puts a `GetHandler` in the place of the handler that the client has. */
export function useGetHandler({ config }: S3Client, connectionLimits: ConnectionLimits): void {
  config.requestHandler = new GetHandler(
    config.requestHandler,
    connectionLimits,
  ) as typeof config.requestHandler;
}

/** An idle connection older than this may be gone without notice: firewalls forget, services close. */
const idleMsKept = 20_000;

/**
 * The SDK's request handler, but GETs with a sink go over connections of our own, which read into the memory where the
 * bytes are wanted: a quarter of the processor time, or less (doc/BENCHMARKS.md). The SDK still makes, signs and
 * understands each request.
 */
class GetHandler implements RequestHandler {
  readonly #other: RequestHandler;
  readonly #limits: ConnectionLimits;
  readonly #pools = new Map<string, Pool>();
  /** The service sends bodies whose length it does not say. */
  #unfit = false;

  constructor(other: RequestHandler, connectionLimits: ConnectionLimits) {
    this.#other = other;
    this.#limits = connectionLimits;
  }

  async handle(request: HandlerRequest, options: HandlerOptions = {}): Promise<HandlerAnswer> {
    const { sink, abortSignal: signal, ...rest } = options;
    const passed = signal === undefined ? rest : { ...rest, abortSignal: signal };
    if (sink === undefined || request.method !== 'GET' || this.#unfit)
      return this.#other.handle(request, passed);
    try {
      return answerOf(await this.#get(request, sink, signal), sink);
    } catch (error) {
      if (!(error instanceof LengthUnknown)) throw error;
      this.#unfit = true;
      return this.#other.handle(request, passed);
    }
  }

  destroy(): void {
    for (const pool of this.#pools.values()) pool.destroy();
    this.#other.destroy?.();
  }

  async #get(request: HandlerRequest, sink: BodySink, signal: AbortSignal | undefined): Promise<GetAnswer> {
    const pool = this.#pool(request);
    const get: GetRequest = {
      text: requestText(request),
      accept: (head, length) => sink.accept(head, length),
      received: (bytes) => sink.received(bytes),
      signal,
    };
    for (;;) {
      try {
        return await pool.get(get);
      } catch (error) {
        // Each such try uses up one idle connection; a new one is never stale.
        if (!(error instanceof ConnectionStale)) throw error;
      }
    }
  }

  #pool({ protocol, hostname, port }: HandlerRequest): Pool {
    const secure = protocol === 'https:';
    const origin = { secure, host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port ?? (secure ? 443 : 80) };
    const name = `${protocol}//${origin.host}:${origin.port}`;
    const pool = this.#pools.get(name) ?? new Pool(origin, this.#limits);
    this.#pools.set(name, pool);
    return pool;
  }
}

/** The connections to one server. */
class Pool {
  readonly #origin: Origin;
  readonly #limits: ConnectionLimits;
  readonly #session: TlsSession = { value: undefined };
  readonly #all = new Set<GetConnection>();
  /** The one used last comes last, and is used first. */
  #idle: GetConnection[] = [];
  readonly #waiting = new Set<() => void>();
  #busy = 0;

  constructor(origin: Origin, connectionLimits: ConnectionLimits) {
    this.#origin = origin;
    this.#limits = connectionLimits;
  }

  async get(request: GetRequest): Promise<GetAnswer> {
    while (this.#busy >= this.#limits.socketsMax) await this.#turn(request.signal);
    this.#busy++;
    try {
      const connection = this.#take();
      const answer = await connection.get(request);
      if (connection.usable) this.#keep(connection);
      return answer;
    } finally {
      this.#busy--;
      for (const next of this.#waiting) {
        next();
        break;
      }
    }
  }

  destroy(): void {
    for (const connection of this.#all) connection.destroy();
  }

  /** Until a connection may be free, or the signal fires. */
  #turn(signal: AbortSignal | undefined): Promise<void> {
    return new Promise((resolve, reject) => {
      const leave = (): void => {
        signal?.removeEventListener('abort', giveUp);
        this.#waiting.delete(next);
      };
      const next = (): void => {
        leave();
        resolve();
      };
      const giveUp = (): void => {
        leave();
        reject(signal?.reason);
      };
      this.#waiting.add(next);
      if (signal?.aborted === true) giveUp();
      else signal?.addEventListener('abort', giveUp, { once: true });
    });
  }

  #take(): GetConnection {
    const oldest = performance.now() - idleMsKept;
    for (let found = this.#idle.pop(); found !== undefined; found = this.#idle.pop()) {
      if (found.usable && found.idleSince > oldest) return found;
      found.destroy();
    }
    const connection = new GetConnection(this.#origin, this.#limits, this.#session);
    this.#all.add(connection);
    connection.onClosed = () => {
      this.#all.delete(connection);
      this.#idle = this.#idle.filter((other) => other !== connection);
    };
    return connection;
  }

  #keep(connection: GetConnection): void {
    this.#idle.push(connection);
    if (this.#idle.length > limits.storeRequestsMax) this.#idle.shift()?.destroy();
  }
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
      one === null ? encoded(name) : `${encoded(name)}=${encoded(one)}`,
    ),
  );
  let text = `GET ${path}${pairs.length === 0 ? '' : `?${pairs.join('&')}`} HTTP/1.1\r\n`;
  for (const [name, value] of Object.entries(headers)) {
    if (/[\r\n]/.test(value)) throw new Error(`the header ${name} holds a line break`);
    text += `${name}: ${value}\r\n`;
  }
  return `${text}\r\n`;
}

const encoded = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
