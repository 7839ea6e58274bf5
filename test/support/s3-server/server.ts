/**
 * An S3 server for tests: the operations artifactfs and its users need, in memory (large content goes to files), with
 * every signature, condition and checksum verified, and with faults by script. Written from the published API.
 *
 * In a test:          const s3 = await startS3Server();  // endpoint, keys and a bucket are in it
 * As a process:       scripts/s3-server --port 9000      // compiles this folder to build/s3-server, prints one JSON line
 * From another one:   await spawnS3Server() in spawn.ts; control it by `control`, or by POST to /__control
 */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import { createServer as createSecureServer } from 'node:https';
import type { AddressInfo } from 'node:net';
import { BlobStorage } from './blob.js';
import { Bucket } from './buckets.js';
import { Conduct } from './conduct.js';
import type { Features } from './context.js';
import { type ControlMessage, controlPath, obey, type ServerControl, type Settings } from './control.js';
import { RequestRun } from './request-run.js';
import { selfSigned } from './self-signed.js';
import type { Credentials } from './sigv4.js';

export interface S3ServerOptions extends Partial<Credentials> {
  /** Default: any free port. */
  readonly port?: number;
  /** Default 127.0.0.1. */
  readonly host?: string;
  /** Made at start. Default 'test'. */
  readonly bucket?: string;
  /** Content beyond this goes to files. Default 512 MiB. */
  readonly memoryBytesMax?: number;
  readonly features?: Partial<Features>;
  readonly settings?: Partial<Settings>;
  /** Speaks https, with a certificate of its own making (openssl) that nobody trusts. Default no. */
  readonly tls?: boolean;
}

export interface S3Server {
  readonly endpoint: string;
  readonly accessKeyId: string;
  readonly secretAccessKey: string;
  readonly bucket: string;
  readonly control: ServerControl;
  close(): Promise<void>;
}

const allFeatures: Features = {
  conditionalWrites: true,
  partCopy: true,
  trailers: true,
  checksums: true,
  strictPartChecksums: false,
};

export async function startS3Server(options: S3ServerOptions = {}): Promise<S3Server> {
  const credentials = {
    accessKeyId: options.accessKeyId ?? 'testkey',
    secretAccessKey: options.secretAccessKey ?? 'testsecret',
  };
  const storage = new BlobStorage(options.memoryBytesMax ?? 512 << 20);
  const conduct = new Conduct();
  await conduct.set(options.settings ?? {});
  const bucket = options.bucket ?? 'test';
  const state = {
    credentials,
    storage,
    conduct,
    buckets: new Map([[bucket, new Bucket(bucket, storage)]]),
    features: { ...allFeatures, ...options.features },
  };

  const settings = { keepAliveTimeout: 65_000, noDelay: true };
  const secure = options.tls === true;
  const server = secure ? createSecureServer({ ...settings, ...selfSigned() }) : createServer(settings);
  server.on('request', (request: IncomingMessage, response: ServerResponse) => {
    const run =
      request.url === controlPath
        ? runControl(conduct, request, response)
        : new RequestRun(state, request, response).run();
    // A client that goes away in the middle is not the server's failure; anything else must be seen.
    run.catch((error: unknown) => {
      if (!request.socket.destroyed) console.error('S3 test server:', error);
      request.socket.destroy();
    });
  });
  server.on('connection', () => conduct.connected());
  await new Promise<void>((resolve, reject) => {
    server.once('error', reject);
    server.listen(options.port ?? 0, options.host ?? '127.0.0.1', resolve);
  });
  const { port } = server.address() as AddressInfo;
  return {
    endpoint: `${secure ? 'https' : 'http'}://${options.host ?? '127.0.0.1'}:${port}`,
    ...credentials,
    bucket,
    control: conduct,
    close: async () => {
      server.closeAllConnections();
      await new Promise<void>((resolve) => server.close(() => resolve()));
      storage.close();
    },
  };
}

async function runControl(
  conduct: Conduct,
  request: IncomingMessage,
  response: ServerResponse,
): Promise<void> {
  const chunks: Buffer[] = [];
  for await (const chunk of request as AsyncIterable<Buffer>) chunks.push(chunk);
  const text = Buffer.concat(chunks).toString('utf8');
  const message = text === '' ? { do: 'counters' } : JSON.parse(text);
  const answer = await obey(conduct, message as ControlMessage);
  response.setHeader('content-type', 'application/json').end(JSON.stringify(answer ?? null));
}
