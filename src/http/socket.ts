import { chmod, rm } from 'node:fs/promises';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import { toArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { errorBody, httpStatus } from './error-body.js';

export interface RequestHandler extends AsyncDisposable {
  handle(request: IncomingMessage, response: ServerResponse): void;
}

/**
 * The Unix socket of the control API. It takes connections at once, and makes what answers them when the first request
 * comes: loading that costs more than all else of a start, and many mounts never need it.
 */
export class ApiSocket implements AsyncDisposable {
  readonly #server: Server;
  readonly #make: () => Promise<RequestHandler>;
  #handler: Promise<RequestHandler> | undefined;

  private constructor(make: () => Promise<RequestHandler>) {
    this.#make = make;
    const settings = { maxHeaderSize: limits.apiHeaderBytesMax, headersTimeout: limits.apiHeadersMsMax };
    this.#server = createServer(settings, (request, response) => void this.#answer(request, response));
    // A request of a stream (put - ART/path) may last for days; only its head has to come quickly.
    this.#server.requestTimeout = 0;
  }

  /** Serves on a Unix socket that only its owner may use. A socket file left by a dead daemon is replaced. */
  static async listen(socketPath: string, make: () => Promise<RequestHandler>): Promise<ApiSocket> {
    const socket = new ApiSocket(make);
    await rm(socketPath, { force: true });
    // Nobody may connect before the mode is set; the directory is private too, but may be the user's own choice.
    const umask = process.umask(0o177);
    try {
      await socket.#listening(socketPath);
    } finally {
      process.umask(umask);
    }
    await chmod(socketPath, 0o600);
    return socket;
  }

  /** Makes the handler before it is needed. A failure is told to the first request. */
  prepare(): void {
    this.#ready().catch(() => undefined);
  }

  async [Symbol.asyncDispose](): Promise<void> {
    const closed = new Promise((resolve) => this.#server.close(resolve));
    // Answers under way are sent; who does not take them is not waited for.
    const patience = setTimeout(() => this.#server.closeAllConnections(), limits.apiCloseMsMax);
    const handler = await this.#handler?.catch(() => undefined);
    await handler?.[Symbol.asyncDispose]();
    this.#server.closeIdleConnections();
    await closed;
    clearTimeout(patience);
  }

  #ready(): Promise<RequestHandler> {
    this.#handler ??= this.#make();
    return this.#handler;
  }

  async #answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
    try {
      (await this.#ready()).handle(request, response);
    } catch (error) {
      const failure = toArtifactError(error);
      response.writeHead(httpStatus[failure.code], { 'content-type': 'application/json' });
      response.end(JSON.stringify(errorBody(failure)));
    }
  }

  #listening(socketPath: string): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#server.once('error', reject);
      this.#server.listen({ path: socketPath }, () => {
        this.#server.off('error', reject);
        resolve();
      });
    });
  }
}
