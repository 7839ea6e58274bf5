import { createHash } from 'node:crypto';
import { ListObjectsCommand, S3Client } from '@aws-sdk/client-s3';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { S3Store } from '../../src/store/s3/s3-store.js';
import { remoteControl } from '../support/s3-server/control.js';
import { type S3Server, startS3Server } from '../support/s3-server/server.js';
import {
  chunkSignature,
  emptySha256,
  hmac,
  type Signature,
  sha256,
  signingKey,
  trailerSignature,
} from '../support/s3-server/sigv4.js';
import { spawnS3Server } from '../support/s3-server/spawn.js';
import { expectCode } from './contract.js';

// What the SDK never sends, and the server's own means. The rest is in s3-probe.test.ts and s3-store.test.ts.

let server: S3Server;
beforeEach(async () => {
  server = await startS3Server();
});
afterEach(() => server.close());

const storeOn = ({ endpoint, accessKeyId, secretAccessKey, bucket }: S3Server) =>
  new S3Store({ bucket, prefix: '' }, { endpoint, accessKeyId, secretAccessKey });

/** PUTs a signed aws-chunked body; `spoil` may change it after it was signed. */
async function putSigned(
  pieces: readonly string[],
  trailer: Readonly<Record<string, string>> | null,
  spoil: (body: string) => string = (body) => body,
): Promise<Response> {
  const url = new URL(`${server.endpoint}/${server.bucket}/signed`);
  const date = new Date().toISOString().replace(/[-:]|\.\d+/g, '');
  const day = date.slice(0, 8);
  const scope = `${day}/us-east-1/s3/aws4_request`;
  const payload = `STREAMING-AWS4-HMAC-SHA256-PAYLOAD${trailer === null ? '' : '-TRAILER'}`;
  const headers: Record<string, string> = {
    host: url.host,
    'content-encoding': 'aws-chunked',
    'x-amz-content-sha256': payload,
    'x-amz-date': date,
    'x-amz-decoded-content-length': String(pieces.join('').length),
    ...(trailer === null ? {} : { 'x-amz-trailer': Object.keys(trailer).join(',') }),
  };
  const names = Object.keys(headers).sort();
  const canonical = [
    'PUT',
    url.pathname,
    '',
    ...names.map((name) => `${name}:${headers[name]}`),
    '',
    names.join(';'),
    payload,
  ].join('\n');
  const key = signingKey(server.secretAccessKey, day, 'us-east-1');
  const value = hmac(key, ['AWS4-HMAC-SHA256', date, scope, sha256(canonical)].join('\n')).toString('hex');
  const signature: Signature = { value, date, scope, key, payload };

  let previous = value;
  let body = '';
  for (const piece of [...pieces, '']) {
    previous = chunkSignature(signature, previous, piece === '' ? emptySha256 : sha256(piece));
    body += `${piece.length.toString(16)};chunk-signature=${previous}\r\n${piece === '' ? '' : `${piece}\r\n`}`;
  }
  if (trailer !== null) {
    const lines = Object.entries(trailer).map(([name, text]) => `${name}:${text}`);
    const text = lines.map((line) => `${line}\n`).join('');
    const end = trailerSignature(signature, previous, text);
    body += `${lines.join('\r\n')}\r\nx-amz-trailer-signature:${end}\r\n`;
  }
  const authorization = `AWS4-HMAC-SHA256 Credential=${server.accessKeyId}/${scope}, SignedHeaders=${names.join(';')}, Signature=${value}`;
  return fetch(url, { method: 'PUT', headers: { ...headers, authorization }, body: spoil(`${body}\r\n`) });
}

describe('signed chunks', () => {
  const pieces = ['first piece ', 'x'.repeat(70_000), ' last'];
  const sum = createHash('sha256').update(pieces.join('')).digest('base64');

  it('are joined', async () => {
    expect((await putSigned(pieces, null)).status).toBe(200);
    expect(String(await storeOn(server).get('signed'))).toBe(pieces.join(''));
  });

  it('may end in a signed trailer', async () => {
    expect((await putSigned(pieces, { 'x-amz-checksum-sha256': sum })).status).toBe(200);
    expect(String(await storeOn(server).get('signed'))).toBe(pieces.join(''));
  });

  it('are refused when data, signature or trailer are not what was signed', async () => {
    const wrongSum = `${'A'.repeat(43)}=`;
    const spoiled: [Promise<Response>, number][] = [
      [putSigned(pieces, null, (body) => body.replace('first', 'worst')), 403],
      [putSigned(pieces, null, (body) => body.replace(/chunk-signature=./, 'chunk-signature=g')), 400],
      [putSigned(pieces, null, (body) => body.slice(0, 5000)), 400],
      [putSigned(pieces, { 'x-amz-checksum-sha256': wrongSum }), 400],
      [putSigned(pieces, { 'x-amz-checksum-sha256': sum }, (body) => body.replace(sum, wrongSum)), 403],
      [
        putSigned(pieces, { 'x-amz-checksum-sha256': sum }, (body) => body.replace(/x-amz-trailer-.*/, '')),
        403,
      ],
    ];
    for (const [answer, status] of spoiled) expect((await answer).status).toBe(status);
    await expectCode('NotFound', storeOn(server).get('signed'));
  });
});

describe('the older listing', () => {
  it('pages by marker, as s3fs and rclone ask for it', async () => {
    const store = storeOn(server);
    for (const key of ['a/1', 'a/2', 'b', 'c/1']) await store.put(key, Buffer.from(key));
    await store[Symbol.asyncDispose]();
    const client = new S3Client({
      endpoint: server.endpoint,
      region: 'us-east-1',
      credentials: server,
      forcePathStyle: true,
    });
    const found: (string | undefined)[] = [];
    let Marker: string | undefined;
    do {
      const page = await client.send(
        new ListObjectsCommand({ Bucket: server.bucket, Delimiter: '/', MaxKeys: 1, Marker }),
      );
      found.push(...(page.Contents ?? []).map(({ Key }) => Key));
      found.push(...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix));
      Marker = page.NextMarker;
    } while (Marker !== undefined);
    expect(found).toEqual(['a/', 'b', 'c/']);
    client.destroy();
  });
});

describe('control', () => {
  it('counts requests and bytes, in the process and over HTTP', async () => {
    const store = storeOn(server);
    await store.put('a', Buffer.alloc(1000));
    await store.get('a', { offset: 0, length: 600 });
    await expectCode('NotFound', store.get('none'));
    const remote = remoteControl(server.endpoint);
    for (const control of [server.control, remote])
      expect((await control.counters()).operations).toMatchObject({
        PutObject: { requests: 1, bytesIn: 1000, bytesOut: 0, errors: 0 },
        GetObject: { requests: 2, bytesIn: 0, bytesOut: 600, errors: 1 },
      });
    await remote.resetCounters();
    expect((await server.control.counters()).operations).toEqual({});
    await store[Symbol.asyncDispose]();
  });

  it('scripts faults over HTTP: by operation, key, count and chance', async () => {
    const store = storeOn(server);
    const remote = remoteControl(server.endpoint);
    await store.put('a/1', Buffer.from('x'));
    const effect = { kind: 'status', status: 503, code: 'SlowDown' } as const;
    await remote.addFault({ on: 'GetObject', key: '^a/', skip: 1, times: 1, effect });
    await store.get('a/1');
    await expectCode('StoreUnavailable', store.get('a/1'));
    await store.get('a/1');
    const seen = async () => {
      await remote.clearFaults();
      await remote.set({ seed: 5 });
      await remote.addFault({ probability: 0.5, effect });
      const results = [];
      for (let i = 0; i < 20; i++)
        results.push(
          await store.get('a/1').then(
            () => 1,
            () => 0,
          ),
        );
      return results.join('');
    };
    const first = await seen();
    expect(first).toContain('0');
    expect(first).toContain('1');
    expect(await seen()).toBe(first);
    await store[Symbol.asyncDispose]();
  });

  it('sets latency, speed and a rate of errors', async () => {
    const store = storeOn(server);
    await store.put('a', Buffer.alloc(200_000));
    await server.control.set({ latencyMs: 40, bytesPerSecond: 1_000_000 });
    const started = performance.now();
    expect(await store.get('a')).toHaveLength(200_000);
    // 40 ms, and 200 ms for the bytes; timers may be a little early.
    expect(performance.now() - started).toBeGreaterThan(220);
    await server.control.set({ latencyMs: 0, bytesPerSecond: 0, errorRate: 1 });
    await expectCode('StoreUnavailable', store.get('a'));
    await store[Symbol.asyncDispose]();
  });
});

it('keeps large content in files, and removes them', async () => {
  const spilling = await startS3Server({ memoryBytesMax: 1000 });
  const store = storeOn(spilling);
  const body = Buffer.alloc(3 << 20, 'spilled');
  await store.put('a', body);
  await store.put('b', Buffer.from('small'));
  expect((await store.get('a')).equals(body)).toBe(true);
  expect(
    (await store.get('a', { offset: 1_000_000, length: 7 })).equals(body.subarray(1_000_000, 1_000_007)),
  ).toBe(true);
  await store.deleteMany(['a']);
  await expectCode('NotFound', store.get('a'));
  await store[Symbol.asyncDispose]();
  await spilling.close();
});

it('runs as a process of its own', async () => {
  const own = await spawnS3Server(['--bucket', 'elsewhere', '--error-rate', '0']);
  try {
    expect(own.bucket).toBe('elsewhere');
    const store = storeOn(own);
    await store.put('a', Buffer.from('x'));
    expect(await store.probe()).toMatchObject({ createIfAbsent: true });
    await own.control.addFault({ effect: { kind: 'reset' } });
    await expectCode('StoreUnavailable', store.get('a'));
    expect((await own.control.counters()).operations.GetObject?.errors).toBeGreaterThanOrEqual(1);
    await store[Symbol.asyncDispose]();
  } finally {
    await own.close();
  }
  await expect(fetch(own.endpoint)).rejects.toThrow();
});
