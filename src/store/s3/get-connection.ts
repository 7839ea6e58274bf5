import { connect as connectTcp, type OnReadOpts, type Socket } from 'node:net';
import { connect as connectTls } from 'node:tls';
import { type AnswerHead, chunkedBody, parseHead } from './http-head.js';

/** What answers a GET: a body that went into the receiver's memory, or the text of one that was not taken. */
export interface GetAnswer {
  readonly head: AnswerHead;
  readonly body: Buffer;
}

export interface GetRequest {
  /** Request line and headers, as sent. */
  readonly text: string;
  /**
   * Memory for the `length` bytes of a 2xx answer's body, which fills it. null: not wanted, and the connection ends.
   * Called once at most.
   */
  readonly accept: (head: AnswerHead, length: number) => Buffer | null;
  /** The first so many bytes of the memory are there. */
  readonly received: (bytes: number) => void;
  readonly signal: AbortSignal | undefined;
}

export interface Origin {
  readonly secure: boolean;
  readonly host: string;
  readonly port: number;
}

export interface ConnectionLimits {
  readonly connectMsMax: number;
  readonly idleMsMax: number;
  /** Connections at a time. */
  readonly socketsMax: number;
}

/** The answer does not say how long it is: what reads it must be less simple. Nothing of it was used. */
export class LengthUnknown extends Error {}

/** A failure before the first byte of an answer on a connection that had been idle: the server had closed it. */
export class ConnectionStale extends Error {}

/** Heads, and what comes of a body together with its head. */
const scratchBytes = 8 << 10;
/** Of a body that is not taken: error documents are far smaller. */
const textBytesMax = 64 << 10;

type Phase = 'idle' | 'head' | 'body' | 'text';

/**
 * One connection that does one GET after another. Sockets read straight into the memory where the bytes are wanted: no
 * buffers are made, and what came is copied only where it came together with the head.
 */
export class GetConnection {
  readonly #socket: Socket;
  readonly #limits: ConnectionLimits;
  readonly #scratch = Buffer.allocUnsafeSlow(scratchBytes);
  #phase: Phase = 'idle';
  #used = 0;
  #request: GetRequest | null = null;
  #head: AnswerHead | null = null;
  #target: Buffer = this.#scratch;
  #done = 0;
  #text: Buffer = Buffer.alloc(0);
  #fresh = true;
  #isClosed = false;
  #resolve: (answer: GetAnswer) => void = () => {};
  #reject: (error: unknown) => void = () => {};
  /** When it last became idle, by performance.now(). */
  idleSince = 0;
  /** Called when it can take no more requests. */
  onClosed = (): void => {};

  constructor(origin: Origin, limits: ConnectionLimits, tlsSession: TlsSession) {
    this.#limits = limits;
    const onread: OnReadOpts = {
      buffer: () => this.#room(),
      callback: (bytes) => {
        this.#took(bytes);
        return true;
      },
    };
    const { host, port } = origin;
    const options = { host, port, onread, ...tlsOptions(host, tlsSession) };
    const socket: Socket = origin.secure ? connectTls(options) : connectTcp(options);
    socket.setNoDelay(true);
    let isConnecting = true;
    const connecting = setTimeout(() => {
      // What came while this process was busy is looked at before it counts as late.
      setImmediate(() => {
        if (isConnecting) this.#fail(timedOut('connecting', limits.connectMsMax));
      });
    }, limits.connectMsMax);
    const decided = () => {
      isConnecting = false;
      clearTimeout(connecting);
    };
    socket.once(origin.secure ? 'secureConnect' : 'connect', decided);
    socket.on('session', (session: Buffer) => {
      tlsSession.value = session;
    });
    socket.on('timeout', () => this.#fail(timedOut('waiting for data', limits.idleMsMax)));
    socket.on('error', (error) => this.#lost(error));
    socket.on('end', () => this.#ended());
    socket.on('close', () => {
      decided();
      this.#ended();
    });
    this.#socket = socket;
  }

  get usable(): boolean {
    return this.#phase === 'idle' && !this.#socket.destroyed;
  }

  get(request: GetRequest): Promise<GetAnswer> {
    const { signal } = request;
    return new Promise((resolve, reject) => {
      const abort = () => this.#fail(signal?.reason);
      const settle = () => signal?.removeEventListener('abort', abort);
      this.#resolve = (answer) => {
        settle();
        resolve(answer);
      };
      this.#reject = (error) => {
        settle();
        reject(error);
      };
      this.#request = request;
      this.#phase = 'head';
      this.#used = 0;
      this.#done = 0;
      this.#socket.ref();
      this.#socket.setTimeout(this.#limits.idleMsMax);
      if (signal?.aborted === true) return abort();
      signal?.addEventListener('abort', abort, { once: true });
      this.#socket.write(request.text, 'latin1');
    });
  }

  destroy(): void {
    this.#fail(new Error('the connection was closed by us'));
  }

  /** Where the next bytes go: never more than the answer has left, so that it is never read past. */
  #room(): Buffer {
    return this.#phase === 'body' ? this.#target.subarray(this.#done) : this.#scratch.subarray(this.#used);
  }

  #took(bytes: number): void {
    if (this.#phase === 'body') this.#filled(bytes);
    else if (this.#phase === 'head') this.#readHead(bytes);
    else if (this.#phase === 'text') this.#addText(this.#scratch.subarray(0, bytes));
    else this.#fail(new Error('the service sent bytes that belong to no answer'));
  }

  #readHead(bytes: number): void {
    this.#used += bytes;
    const parsed = parseHead(this.#scratch.subarray(0, this.#used));
    if (parsed === 'more') {
      if (this.#used === scratchBytes) this.#fail(new Error('the head of the answer is too long'));
      return;
    }
    if (parsed === 'malformed') {
      this.#fail(new Error('what came is not an HTTP answer'));
      return;
    }
    const { head, end } = parsed;
    const rest = this.#scratch.subarray(end, this.#used);
    if (head.status < 200) {
      // 100 Continue and its like: the answer comes after it.
      this.#scratch.copyWithin(0, end, this.#used);
      this.#used = 0;
      if (rest.length > 0) this.#readHead(rest.length);
      return;
    }
    this.#head = head;
    this.#used = 0;
    if (head.status >= 300) {
      this.#phase = 'text';
      this.#text = Buffer.alloc(0);
      this.#addText(rest);
    } else this.#startBody(head, rest);
  }

  #startBody(head: AnswerHead, rest: Buffer): void {
    if (head.length === null) {
      this.#fail(new LengthUnknown('the answer does not say its length'));
      return;
    }
    const target = this.#request?.accept(head, head.length) ?? null;
    if (target === null || target.length !== head.length || rest.length > head.length) {
      this.#finish(Buffer.alloc(0), false);
      return;
    }
    this.#target = target;
    this.#phase = 'body';
    if (head.length === 0) this.#finish(target, true);
    else if (rest.length > 0) {
      rest.copy(target);
      this.#filled(rest.length);
    }
  }

  #filled(bytes: number): void {
    this.#done += bytes;
    this.#request?.received(this.#done);
    if (this.#done === this.#target.length) this.#finish(this.#target, true);
  }

  /** The body of an answer that is no success: what it says, as far as it is short. */
  #addText(bytes: Buffer): void {
    this.#text = Buffer.concat([this.#text, bytes]);
    const { length = null, chunked = false } = this.#head ?? {};
    const body = chunked
      ? chunkedBody(this.#text)
      : length !== null && this.#text.length >= length
        ? this.#text
        : null;
    if (body !== null) this.#finish(body, this.#text.length === length);
    else if (this.#text.length > textBytesMax) this.#finish(Buffer.alloc(0), false);
  }

  #ended(): void {
    const untilClosed = this.#head?.length === null && !this.#head.chunked;
    const got = this.#phase === 'body' ? ` after ${this.#done} of ${this.#target.length} bytes` : '';
    if (this.#phase === 'text' && untilClosed) this.#finish(this.#text, false);
    else this.#lost(new Error(`the connection closed${got}`));
  }

  #lost(error: Error): void {
    const silent = this.#phase === 'head' && this.#used === 0;
    this.#fail(silent && !this.#fresh ? new ConnectionStale('it had been closed', { cause: error }) : error);
  }

  #finish(body: Buffer, complete: boolean): void {
    const head = this.#head;
    const resolve = this.#resolve;
    const keeps = complete && head?.keepsAlive === true;
    this.#rest();
    if (keeps) {
      this.#socket.setTimeout(0);
      this.#socket.unref();
      this.idleSince = performance.now();
    } else this.#close();
    if (head !== null) resolve({ head, body });
  }

  #fail(error: unknown): void {
    const wasBusy = this.#phase !== 'idle';
    const reject = this.#reject;
    this.#rest();
    this.#close();
    if (wasBusy) reject(error);
  }

  /** Between two requests: nothing of the one before is kept alive. */
  #rest(): void {
    this.#phase = 'idle';
    this.#fresh = false;
    this.#used = 0;
    this.#request = null;
    this.#head = null;
    this.#target = this.#scratch;
    this.#text = Buffer.alloc(0);
    this.#resolve = () => {};
    this.#reject = () => {};
  }

  /** Of a socket that failed, too: that destroys itself, and says so here. */
  #close(): void {
    this.#socket.destroy();
    if (this.#isClosed) return;
    this.#isClosed = true;
    this.onClosed();
  }
}

/** Of the connection before, to spare a round trip and a signature. */
export interface TlsSession {
  value: Buffer | undefined;
}

const tlsOptions = (host: string, session: TlsSession) => ({
  servername: isIpAddress(host) ? '' : host,
  ALPNProtocols: ['http/1.1'],
  ...(session.value === undefined ? {} : { session: session.value }),
});

const isIpAddress = (host: string): boolean => /^[\d.]+$|:/.test(host);

const timedOut = (what: string, ms: number): Error =>
  Object.assign(new Error(`${what} took longer than ${ms} ms`), { name: 'TimeoutError', code: 'ETIMEDOUT' });
