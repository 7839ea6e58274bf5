import { createHash, createHmac } from 'node:crypto';
import type { Origin } from './get-connection.js';

/** A request as the SDK made and signed it. */
export interface SignedRequest {
  readonly protocol: string;
  readonly hostname: string;
  readonly port?: number;
  readonly path: string;
  readonly headers: Record<string, string>;
}

/** SHA-256 of no bytes. */
const emptyHash = 'e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855';

/** Whose keys sign, and by which clock. A client's `config` is one. */
export interface Keys {
  readonly credentials: () => Promise<{
    readonly accessKeyId: string;
    readonly secretAccessKey: string;
    readonly sessionToken?: string;
  }>;
  /** Of the service's clock against ours, in ms. */
  readonly systemClockOffset: number;
}

/** How GETs of a bucket are written and signed. */
export interface Signer {
  readonly plan: Plan;
  readonly keys: Keys;
}

/**
 * Writes and signs GETs as the SDK does, when that is known or it has seen the SDK do one: server, path, region and service are
 * taken from that. The SDK takes about two milliseconds of processor time for each request, this a fiftieth. Keys and clock are
 * the client's. What it cannot imitate (other ways to sign) is left to the SDK.
 */
export class SignedGets {
  #signer: Signer | null;
  #signingKey: { name: string; key: Buffer } = { name: '', key: Buffer.alloc(0) };

  constructor(signer: Signer | null) {
    this.#signer = signer;
  }

  /** Takes over what the SDK made of a GET of this key. */
  learn(request: SignedRequest, key: string, keys: Keys): void {
    const plan = planOf(request, encodedPath(key));
    this.#signer = plan === null ? null : { plan, keys };
  }

  /** To be learned anew: the service did not like a request of ours. */
  forget(): void {
    this.#signer = null;
  }

  /** The text of a request with these headers besides, and where it goes; null: only the SDK can. */
  async make(key: string, more: Record<string, string>): Promise<{ text: string; origin: Origin } | null> {
    if (this.#signer === null) return null;
    const { plan, keys } = this.#signer;
    const { accessKeyId, secretAccessKey, sessionToken } = await keys.credentials();
    const time = new Date(Date.now() + keys.systemClockOffset).toISOString().replace(/[-:]|\.\d+/g, '');
    const headers: Record<string, string> = {
      host: plan.host,
      ...more,
      'x-amz-content-sha256': emptyHash,
      'x-amz-date': time,
      ...(sessionToken === undefined ? {} : { 'x-amz-security-token': sessionToken }),
    };
    const names = Object.keys(headers).sort();
    const path = plan.base + encodedPath(key);
    const canonical = `GET\n${path}\n\n${names.map((name) => `${name}:${headers[name]}\n`).join('')}\n${names.join(';')}\n${emptyHash}`;
    const date = time.slice(0, 8);
    const scope = `${date}/${plan.region}/${plan.service}/aws4_request`;
    const toSign = `AWS4-HMAC-SHA256\n${time}\n${scope}\n${createHash('sha256').update(canonical).digest('hex')}`;
    const signature = hmac(this.#keyFor(secretAccessKey, date, plan), toSign).toString('hex');
    let text = `GET ${path} HTTP/1.1\r\n`;
    for (const name of names) text += `${name}: ${headers[name]}\r\n`;
    text += `authorization: AWS4-HMAC-SHA256 Credential=${accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${signature}\r\n\r\n`;
    return { text, origin: plan.origin };
  }

  #keyFor(secret: string, date: string, { region, service }: Plan): Buffer {
    const name = `${secret}/${date}/${region}/${service}`;
    if (this.#signingKey.name !== name) {
      let key: Buffer = Buffer.from(`AWS4${secret}`);
      for (const part of [date, region, service, 'aws4_request']) key = hmac(key, part);
      this.#signingKey = { name, key };
    }
    return this.#signingKey.key;
  }
}

export interface Plan {
  readonly origin: Origin;
  readonly host: string;
  /** Of the path, before the key. */
  readonly base: string;
  readonly region: string;
  readonly service: string;
}

function planOf({ protocol, hostname, port, path, headers }: SignedRequest, encodedKey: string): Plan | null {
  const { authorization = '', host = '' } = headers;
  const scope = /^AWS4-HMAC-SHA256 Credential=[^/]+\/\d{8}\/([^/]+)\/([^/]+)\/aws4_request,/.exec(
    authorization,
  );
  const [, region, service] = scope ?? [];
  // A session of an express bucket is signed with keys of its own.
  const known = 'x-amz-s3session-token' in headers;
  if (known || region === undefined || service === undefined || host === '' || !path.endsWith(encodedKey))
    return null;
  return {
    origin: originOf({ protocol, hostname, ...(port === undefined ? {} : { port }) }),
    host,
    base: path.slice(0, path.length - encodedKey.length),
    region,
    service,
  };
}

export function originOf({
  protocol,
  hostname,
  port,
}: Pick<SignedRequest, 'protocol' | 'hostname' | 'port'>): Origin {
  const secure = protocol === 'https:';
  return { secure, host: hostname.replace(/^\[(.*)\]$/, '$1'), port: port ?? (secure ? 443 : 80) };
}

const hmac = (key: Buffer, text: string): Buffer => createHmac('sha256', key).update(text).digest();

const encodedPath = (key: string): string => key.split('/').map(encodedPart).join('/');

/** As URLs and signatures have it: everything but letters, digits and -_.~ */
export const encodedPart = (text: string): string =>
  encodeURIComponent(text).replace(/[!'()*]/g, (char) => `%${char.charCodeAt(0).toString(16).toUpperCase()}`);
