import { createHash } from 'node:crypto';
import { Agent as HttpAgent } from 'node:http';
import { Agent as HttpsAgent } from 'node:https';
import {
  GetObjectCommand,
  type GetObjectCommandInput,
  S3Client,
  type S3ClientConfig,
} from '@aws-sdk/client-s3';
import { limits } from '../../model/limits.js';
import { type Backoff, backoffMs, repeatableCodes } from '../backoff.js';
import { useGetPools } from './get-handler.js';
import type { GetPools } from './get-pools.js';
import { ChunkStream, sha256Hex } from './s3-body.js';
import { classify, describeFailure, leanError } from './s3-errors.js';
import { type S3Options, s3Defaults } from './s3-options.js';

/**
 * An SDK client that sends bodies as they are: with a length and a hash in plain headers, never in chunks with a trailer.
 * `signsBodies` is asked for each request: whether the SHA-256 of its body is signed. Nothing is sent twice. GETs go over `pools`,
 * which end with it.
 */
export function createS3Client(options: S3Options, signsBodies: () => boolean, pools: GetPools): S3Client {
  // The SDK's notice on Node versions is for those who choose the SDK's version, not for users of this program.
  process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] ??= 'true';
  const client = new S3Client(clientConfig(options));
  useGetPools(client, pools);
  return withMiddleware(client, signsBodies);
}

/**
 * Like `client`, whose keys and connections it shares, but it sends a request again after failures that may pass. Bodies
 * must be buffers. The caller destroys `client` alone.
 */
export function createRepeatingClient(
  client: S3Client,
  options: S3Options,
  signsBodies: () => boolean,
): S3Client {
  const { requestHandler, credentials } = client.config;
  const config = { ...clientConfig(options), requestHandler, credentials };
  return withMiddleware(new S3Client({ ...config, ...repetition(options.retry ?? {}) }), signsBodies);
}

/** The SDK's own strategy knows fewer failures that may pass than the port does, and is slower to try again. */
function repetition(backoff: Backoff): Pick<S3ClientConfig, 'maxAttempts' | 'retryStrategy'> {
  const { attemptsMax = limits.storeAttemptsMax } = backoff;
  const tokenAfter = (failures: number) => ({
    getRetryCount: () => failures,
    getRetryDelay: () => backoffMs(failures, backoff),
  });
  return {
    maxAttempts: attemptsMax,
    retryStrategy: {
      acquireInitialRetryToken: async () => tokenAfter(0),
      refreshRetryTokenForRetry: async (token, { error }) => {
        const failures = token.getRetryCount() + 1;
        const code = classify(describeFailure(error));
        // The SDK takes a rejection as "no more", and throws the failure itself.
        if (failures >= attemptsMax || !repeatableCodes.some((item) => item === code)) throw error;
        return tokenAfter(failures);
      },
      recordSuccess: () => undefined,
    },
  };
}

function withMiddleware(client: S3Client, signsBodies: () => boolean): S3Client {
  client.middlewareStack.add(
    (next, context) => async (args) => {
      if (isRequest(args.request)) await addHeaders(args.request, context.commandName, signsBodies);
      return next(args);
    },
    { step: 'build', name: 'artifactfsHeaders', priority: 'low' },
  );
  client.middlewareStack.add(
    (next) => async (args) => {
      try {
        return await next(args);
      } catch (error) {
        throw leanError(error);
      }
    },
    { step: 'initialize', name: 'artifactfsLeanErrors', priority: 'high' },
  );
  return client;
}

/** What fails is thrown, and told by whoever asked; without a logger the SDK prints some of it itself, in its own form. */
const silent: NonNullable<S3ClientConfig['logger']> = { debug() {}, info() {}, warn() {}, error() {} };

function clientConfig(options: S3Options): S3ClientConfig {
  const { endpoint, profile, accessKeyId, secretAccessKey, sessionToken } = options;
  const region = options.region ?? (endpoint === undefined ? undefined : 'us-east-1');
  const agentOptions = {
    keepAlive: true,
    maxSockets: options.socketsMax ?? s3Defaults.socketsMax,
    scheduling: 'lifo' as const,
  };
  return {
    ...(region === undefined ? {} : { region }),
    ...(endpoint === undefined ? {} : { endpoint }),
    ...(profile === undefined ? {} : { profile }),
    ...(accessKeyId === undefined || secretAccessKey === undefined
      ? {}
      : {
          credentials: {
            accessKeyId,
            secretAccessKey,
            ...(sessionToken === undefined ? {} : { sessionToken }),
          },
        }),
    forcePathStyle: options.pathStyle ?? endpoint !== undefined,
    followRegionRedirects: true,
    logger: silent,
    maxAttempts: 1,
    requestChecksumCalculation: 'WHEN_REQUIRED',
    responseChecksumValidation: 'WHEN_REQUIRED',
    // Waiting for "100 Continue" costs a round trip per part, and six seconds with services that never say it.
    expectContinueHeader: false,
    requestHandler: {
      connectionTimeout: options.connectMsMax ?? s3Defaults.connectMsMax,
      socketTimeout: options.idleMsMax ?? s3Defaults.idleMsMax,
      httpAgent: new HttpAgent(agentOptions),
      httpsAgent: new HttpsAgent(agentOptions),
    },
  };
}

/** A GET with headers of our own. */
export function getCommand(
  input: GetObjectCommandInput,
  headers: Readonly<Record<string, string>>,
): GetObjectCommand {
  const command = new GetObjectCommand(input);
  command.middlewareStack.add(
    (next) => (args) => {
      if (isRequest(args.request)) Object.assign(args.request.headers, headers);
      return next(args);
    },
    { step: 'build', name: 'artifactfsGetHeaders' },
  );
  return command;
}

interface OutgoingRequest {
  readonly headers: Record<string, string>;
  readonly body?: unknown;
}

const isRequest = (request: unknown): request is OutgoingRequest =>
  typeof request === 'object' && request !== null && 'headers' in request;

/** The signer takes a hash that is already there instead of making its own in one piece. */
async function addHeaders(
  request: OutgoingRequest,
  command: string | undefined,
  signsBodies: () => boolean,
): Promise<void> {
  const { headers, body } = request;
  // Older services want this header here and do not know the newer ones.
  if (command === 'DeleteObjectsCommand' && typeof body === 'string')
    headers['content-md5'] = createHash('md5').update(body).digest('base64');
  const chunks = body instanceof ChunkStream ? body.chunks : Buffer.isBuffer(body) ? [body] : null;
  if (chunks !== null)
    headers['x-amz-content-sha256'] = signsBodies() ? await sha256Hex(chunks) : 'UNSIGNED-PAYLOAD';
}
