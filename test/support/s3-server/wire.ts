import type { IncomingMessage, ServerResponse } from 'node:http';
import type { Socket } from 'node:net';
import { setTimeout as sleep } from 'node:timers/promises';

/** Bodies on their way in and out: speed limits and broken connections. */

const slicesPerSecond = 200;
const sliceBytesMin = 16 << 10;
const freeAtMs = new WeakMap<Socket, number>();

/** Waits until the connection may carry `bytes` more. Timers are coarse, so small debts are not waited for. */
async function pace(socket: Socket, bytes: number, bytesPerSecond: number): Promise<void> {
  if (bytesPerSecond <= 0) return;
  const now = performance.now();
  const free = Math.max(freeAtMs.get(socket) ?? 0, now) + (bytes / bytesPerSecond) * 1000;
  freeAtMs.set(socket, free);
  if (free - now > 2) await sleep(free - now);
}

export async function* pacedBody(
  request: IncomingMessage,
  bytesPerSecond: () => number,
): AsyncIterable<Buffer> {
  // A body that is refused in its middle must not take the connection with it: the answer is still to be sent.
  for await (const chunk of request.iterator({ destroyOnReturn: false }) as AsyncIterable<Buffer>) {
    await pace(request.socket, chunk.length, bytesPerSecond());
    yield chunk;
  }
}

export interface BodyShape {
  readonly bytesPerSecond: number;
  /** The answer stops here and the connection stays open. */
  readonly stallAt?: number;
  /** The connection is closed here. */
  readonly cutAt?: number;
  /** This byte is changed. */
  readonly flipAt?: number;
}

/** Sends a body and ends the answer; false when the connection was gone or was cut. Counts bytes as they go. */
export async function sendBody(
  response: ServerResponse,
  chunks: AsyncIterable<Buffer>,
  shape: BodyShape,
  count: (bytes: number) => void,
): Promise<boolean> {
  const stop = Math.min(shape.stallAt ?? Number.POSITIVE_INFINITY, shape.cutAt ?? Number.POSITIVE_INFINITY);
  let sent = 0;
  for await (const chunk of chunks) {
    for (const slice of slices(chunk, shape.bytesPerSecond)) {
      const rest = slice.subarray(0, Math.max(0, stop - sent));
      const socket = response.socket;
      if (socket === null || socket.destroyed) return false;
      await pace(socket, rest.length, shape.bytesPerSecond);
      if (rest.length > 0 && !response.write(flipped(rest, (shape.flipAt ?? -1) - sent)))
        await drained(response);
      count(rest.length);
      sent += rest.length;
      if (sent >= stop) return halt(response, shape);
    }
  }
  response.end();
  return true;
}

async function halt(response: ServerResponse, { cutAt }: BodyShape): Promise<boolean> {
  if (cutAt !== undefined) response.socket?.end();
  else await closed(response);
  return false;
}

function* slices(chunk: Buffer, bytesPerSecond: number): Iterable<Buffer> {
  if (bytesPerSecond <= 0) return yield chunk;
  const step = Math.max(sliceBytesMin, Math.ceil(bytesPerSecond / slicesPerSecond));
  for (let at = 0; at < chunk.length; at += step) yield chunk.subarray(at, at + step);
}

function flipped(slice: Buffer, at: number): Buffer {
  if (at < 0 || at >= slice.length) return slice;
  const copy = Buffer.from(slice);
  copy.writeUInt8(copy.readUInt8(at) ^ 0xff, at);
  return copy;
}

const drained = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    const done = () => {
      response.off('drain', done);
      response.off('close', done);
      resolve();
    };
    response.once('drain', done);
    response.once('close', done);
  });

/** Resolves when the client, or the end of the server, closes the connection. */
export const closed = (response: ServerResponse): Promise<void> =>
  new Promise((resolve) => {
    if (response.socket === null || response.socket.destroyed) resolve();
    else response.once('close', resolve);
  });

export function resetConnection(request: IncomingMessage): void {
  request.socket.resetAndDestroy();
}
