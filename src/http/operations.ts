import { randomUUID } from 'node:crypto';
import { PassThrough } from 'node:stream';
import type { FastifyReply, FastifyRequest } from 'fastify';
import { ArtifactError, toArtifactError } from '../model/errors.js';
import { errorBody } from './error-body.js';
import type { Event } from './schemas.js';

type Progress = (Event & { event: 'progress' })['progress'];
type Result = (Event & { event: 'result' })['result'];

export const ndjson = 'application/x-ndjson';
/** Progress is for people: more often than this nobody can read it. */
const progressEveryMs = 100;

/**
 * Calls that may take long. One that was asked for as NDJSON tells its progress and can be cancelled by its id, so
 * that the caller still hears how it ended; one asked for as JSON answers once. Both end with their connection.
 */
export class Operations {
  readonly #running = new Map<string, AbortController>();
  readonly #kernelTold: () => Promise<void>;

  /** `kernelTold`: resolves when programs on the mount see what was changed so far. */
  constructor(kernelTold: () => Promise<void>) {
    this.#kernelTold = kernelTold;
  }

  /** `Interrupted` reaches the caller through the operation's own answer. Answers false when it is over already. */
  cancel(operation: string): boolean {
    const controller = this.#running.get(operation);
    controller?.abort(new ArtifactError('Interrupted', 'cancelled'));
    return controller !== undefined;
  }

  /** What a stopping daemon waits for. */
  get count(): number {
    return this.#running.size;
  }

  cancelAll(): void {
    for (const operation of this.#running.keys()) this.cancel(operation);
  }

  async answer<R extends Result, P extends Progress>(
    request: FastifyRequest,
    reply: FastifyReply,
    run: (signal: AbortSignal, onProgress: (progress: P) => void) => Promise<R>,
  ): Promise<R | FastifyReply> {
    const id = randomUUID();
    const controller = new AbortController();
    this.#running.set(id, controller);
    reply.raw.once('close', () => {
      if (!reply.raw.writableFinished)
        controller.abort(new ArtifactError('Interrupted', 'the caller went away'));
    });
    if (!wantsEvents(request)) {
      try {
        return await run(controller.signal, () => undefined);
      } finally {
        this.#running.delete(id);
      }
    }
    const lines = new PassThrough();
    const send = (event: Event) => void lines.write(`${JSON.stringify(event)}\n`);
    send({ event: 'started', operation: id });
    void run(controller.signal, throttled(send))
      .then(
        (result): Event => ({ event: 'result', result }),
        (error: unknown): Event => ({ event: 'error', error: errorBody(toArtifactError(error)) }),
      )
      .then(async (last) => {
        // The answer itself, and with it what hangs on one, is sent before the first line.
        await this.#kernelTold().catch(() => undefined); // unmounted meanwhile: nobody looks
        send(last);
      })
      .finally(() => {
        this.#running.delete(id);
        lines.end();
      });
    return reply.type(ndjson).send(lines);
  }
}

const wantsEvents = (request: FastifyRequest) => request.headers.accept?.includes(ndjson) ?? false;

function throttled(send: (event: Event) => void): (progress: Progress) => void {
  let last = Number.NEGATIVE_INFINITY;
  return (progress) => {
    const now = performance.now();
    if (now - last < progressEveryMs) return;
    last = now;
    send({ event: 'progress', progress });
  };
}
