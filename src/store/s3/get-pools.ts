import { limits } from '../../model/limits.js';
import { Semaphore } from '../../util/semaphore.js';
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

/** An idle connection older than this may be gone without notice: firewalls forget, services close. */
const idleMsKept = 20_000;

/**
 * Connections for GETs to all the servers that a client knows. They read into the memory where the bytes are wanted, for a
 * quarter of the processor time of Node's own client, or less (doc/BENCHMARKS.md).
 */
export class GetPools {
  readonly #limits: ConnectionLimits;
  readonly #pools = new Map<string, Pool>();
  /** A service sends bodies whose length it does not say. */
  unfit = false;

  constructor(connectionLimits: ConnectionLimits) {
    this.#limits = connectionLimits;
  }

  /** Sends a request as it is. `LengthUnknown`: send it another way. */
  async get(
    origin: Origin,
    text: string,
    sink: BodySink,
    signal: AbortSignal | undefined,
  ): Promise<GetAnswer> {
    const pool = this.#pool(origin);
    const get: GetRequest = {
      text,
      accept: (head, length) => sink.accept(head, length),
      received: (bytes) => sink.received(bytes),
      signal,
    };
    for (;;) {
      try {
        return await pool.get(get);
      } catch (error) {
        if (error instanceof LengthUnknown) this.unfit = true;
        // Each such try uses up one idle connection; a new one is never stale.
        if (!(error instanceof ConnectionStale)) throw error;
      }
    }
  }

  destroy(): void {
    for (const pool of this.#pools.values()) pool.destroy();
  }

  #pool(origin: Origin): Pool {
    const name = `${origin.secure ? 'https' : 'http'}://${origin.host}:${origin.port}`;
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
  readonly #turns: Semaphore;

  constructor(origin: Origin, connectionLimits: ConnectionLimits) {
    this.#origin = origin;
    this.#limits = connectionLimits;
    this.#turns = new Semaphore(connectionLimits.socketsMax);
  }

  get(request: GetRequest): Promise<GetAnswer> {
    return this.#turns.run(async () => {
      const connection = this.#take();
      const answer = await connection.get(request);
      if (connection.usable) this.#keep(connection);
      return answer;
    }, request.signal);
  }

  destroy(): void {
    for (const connection of this.#all) connection.destroy();
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
