import type { S3Location, S3Options } from './s3-options.js';
import { encodedPart, originOf, type Signer } from './signed-get.js';

/**
 * How GETs are signed where nothing has to be found out: a given endpoint, the bucket in the path, and keys by option or in the
 * usual variables of the environment. Null for all else: the SDK knows more ways, and takes 100 ms to load.
 */
export function firstSigner(
  { bucket }: S3Location,
  options: S3Options,
  env: Readonly<Record<string, string | undefined>> = process.env,
): Signer | null {
  const { endpoint, pathStyle = true } = options;
  // Express buckets (--x-s3) have sessions; other names than these may be more than a name.
  if (
    endpoint === undefined ||
    !pathStyle ||
    !/^[a-z0-9][a-z0-9.-]*$/.test(bucket) ||
    bucket.endsWith('--x-s3')
  )
    return null;
  const keys = staticKeys(options, env);
  if (keys === null) return null;
  const { protocol, hostname, port, host, pathname } = new URL(endpoint);
  const origin = originOf({ protocol, hostname, ...(port === '' ? {} : { port: Number(port) }) });
  const base = `${pathname.replace(/\/$/, '')}/${encodedPart(bucket)}/`;
  const plan = { origin, host, base, region: options.region ?? 'us-east-1', service: 's3' };
  return { plan, keys: { credentials: async () => keys, systemClockOffset: 0 } };
}

type StaticKeys = Awaited<ReturnType<Signer['keys']['credentials']>>;

/** As the SDK's chain finds them first; keys that end are left to it. */
function staticKeys(
  { accessKeyId, secretAccessKey, sessionToken, profile }: S3Options,
  env: Readonly<Record<string, string | undefined>>,
): StaticKeys | null {
  const withToken = (id: string, secret: string, token: string | undefined): StaticKeys => ({
    accessKeyId: id,
    secretAccessKey: secret,
    ...(token ? { sessionToken: token } : {}),
  });
  if (accessKeyId !== undefined && secretAccessKey !== undefined)
    return withToken(accessKeyId, secretAccessKey, sessionToken);
  const { AWS_ACCESS_KEY_ID: id, AWS_SECRET_ACCESS_KEY: secret } = env;
  const elsewhere = profile ?? env['AWS_PROFILE'] ?? env['AWS_CREDENTIAL_EXPIRATION'];
  return elsewhere !== undefined || !id || !secret ? null : withToken(id, secret, env['AWS_SESSION_TOKEN']);
}
