import { randomBytes } from 'node:crypto';
import { createServer, type RequestListener } from 'node:http';
import { type AddressInfo, createServer as createTcpServer } from 'node:net';
import { Readable } from 'node:stream';
import { inspect } from 'node:util';
import { HeadObjectCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, it, vi } from 'vitest';
import type { ArtifactError, ErrorCode } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import type { ObjectStore } from '../../src/store/object-store.js';
import { classify } from '../../src/store/s3/s3-errors.js';
import type { S3Options } from '../../src/store/s3/s3-options.js';
import { S3Store } from '../../src/store/s3/s3-store.js';
import { RetryStore } from '../../src/store/wrap/retry.js';
import { deferred } from '../../src/util/deferred.js';
import type { FaultEffect } from '../support/s3-server/control.js';
import { type S3Server, type S3ServerOptions, startS3Server } from '../support/s3-server/server.js';
import { all, expectCode, fresh, listAll } from './contract.js';

/** Long enough for a busy machine; where it is waited out, it is short. */
const idleMsMax = 10_000;
const shortIdle = { idleMsMax: 300 };
let server: S3Server;
let store: S3Store;
beforeAll(async () => {
  server = await startS3Server();
  store = storeOn(server);
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await server.close();
});
beforeEach(async () => {
  await server.control.clearFaults();
  await server.control.resetCounters();
});

function storeOn(on: S3Server, options: S3Options = {}, bucket = on.bucket): S3Store {
  const { endpoint, accessKeyId, secretAccessKey } = on;
  return new S3Store(
    { bucket, prefix: 'p' },
    { endpoint, accessKeyId, secretAccessKey, idleMsMax, ...options },
  );
}

/** Every operation that sends a request about a key. */
const operations: Readonly<Record<string, (on: ObjectStore, key: string) => Promise<unknown>>> = {
  get: (on, key) => on.get(key),
  'get of a range': (on, key) => on.get(key, { offset: 0, length: 1 }),
  head: (on, key) => on.head(key),
  put: (on, key) => on.put(key, Buffer.from('x')),
  putIfAbsent: (on, key) => on.putIfAbsent(`${key}-new`, Buffer.from('x')),
  putStream: (on, key) => on.putStream(key, Readable.from([Buffer.from('x')])),
  createMultipart: (on, key) => on.createMultipart(key),
  uploadPart: (on, key) => on.uploadPart(key, 'id', 1, Buffer.from('x')),
  copyPart: (on, key) => on.copyPart(key, 'id', 1, { key, offset: 0, length: 1 }),
  listParts: (on, key) => on.listParts(key, 'id'),
  completeMultipart: (on, key) => on.completeMultipart(key, 'id', [{ part: 1, etag: 'e', size: 1 }]),
  abortMultipart: (on, key) => on.abortMultipart(key, 'id'),
  list: (on, key) => all(on.list(key)),
  deleteMany: (on, key) => on.deleteMany([key]),
};

async function expectAll(code: ErrorCode, on: ObjectStore, key: string): Promise<void> {
  for (const [name, run] of Object.entries(operations)) {
    const found = await run(on, key).then(
      () => 'no error',
      (error) => error.code,
    );
    expect([name, found]).toEqual([name, code]);
  }
}

describe('errors', () => {
  it('of answers are classified by their code, then by status', () => {
    const cases: [string, number | undefined, ErrorCode][] = [
      ['NoSuchKey', 404, 'NotFound'],
      ['NoSuchUpload', 404, 'NotFound'],
      ['NoSuchBucket', 404, 'StoreMissing'],
      ['NotFound', 404, 'StoreUnavailable'], // a HEAD that does not say what is missing
      ['AccessDenied', 403, 'StoreDenied'],
      ['SlowDown', 503, 'StoreUnavailable'],
      ['SlowDown', 403, 'StoreUnavailable'],
      ['TooManyRequests', 403, 'StoreUnavailable'],
      ['Unknown', 403, 'StoreDenied'],
      ['RequestTimeout', 400, 'StoreUnavailable'],
      ['InternalError', 500, 'StoreUnavailable'],
      ['Whatever', 502, 'StoreUnavailable'],
      ['Whatever', 429, 'StoreUnavailable'],
      ['ConditionalRequestConflict', 409, 'Busy'],
      ['OperationAborted', 409, 'Busy'],
      ['NotImplemented', 501, 'Unsupported'],
      ['EntityTooLarge', 400, 'TooLarge'],
      ['QuotaExceeded', 403, 'NoSpace'],
      ['InsufficientStorage', 507, 'NoSpace'],
      ['InvalidRange', 416, 'Corrupt'],
      ['InvalidArgument', 400, 'Invalid'],
      ['ECONNRESET', undefined, 'StoreUnavailable'],
      ['TimeoutError', undefined, 'StoreUnavailable'],
      ['SyntaxError', 200, 'StoreUnavailable'],
    ];
    for (const [name, status, code] of cases)
      expect([name, status, classify({ name, status, message: '' })]).toEqual([name, status, code]);
  });

  const key = fresh();
  const faults: [FaultEffect, ErrorCode][] = [
    [{ kind: 'reset' }, 'StoreUnavailable'],
    [{ kind: 'stall' }, 'StoreUnavailable'],
    [{ kind: 'loseAnswer' }, 'StoreUnavailable'],
    [{ kind: 'status', status: 503, code: 'SlowDown' }, 'StoreUnavailable'],
    [{ kind: 'status', status: 500, code: 'InternalError' }, 'StoreUnavailable'],
    [{ kind: 'status', status: 429, code: 'TooManyRequests' }, 'StoreUnavailable'],
    [{ kind: 'status', status: 403, code: 'AccessDenied' }, 'StoreDenied'],
    [{ kind: 'status', status: 409, code: 'ConditionalRequestConflict' }, 'Busy'],
    [{ kind: 'status', status: 501, code: 'NotImplemented' }, 'Unsupported'],
    [{ kind: 'status', status: 507, code: 'InsufficientStorage' }, 'NoSpace'],
  ];
  for (const [effect, code] of faults)
    it(`of every operation: ${inspect(effect)} is ${code}`, async () => {
      await store.put(key, Buffer.from('x'));
      await server.control.addFault({ effect });
      await using asked = storeOn(server, effect.kind === 'stall' ? shortIdle : {});
      await expectAll(code, asked, key);
    });

  it('of an upload whose answer is lost print nothing', async () => {
    const printed = vi.spyOn(console, 'warn');
    await server.control.addFault({ on: 'PutObject', effect: { kind: 'loseAnswer' } });
    await expectCode('StoreUnavailable', store.put(key, [Buffer.from('x'), Buffer.from('y')]));
    expect(printed.mock.calls).toEqual([]);
    printed.mockRestore();
  });

  it('of wrong keys are StoreDenied', async () => {
    await using wrongSecret = storeOn(server, { secretAccessKey: 'not-the-secret' });
    await expectAll('StoreDenied', wrongSecret, 'a');
    await using wrongKey = storeOn(server, { accessKeyId: 'not-the-key' });
    await expectCode('StoreDenied', wrongKey.get('a'));
    await expectCode('StoreDenied', wrongKey.probe());
  });

  it('of a missing bucket are StoreMissing, never NotFound', async () => {
    await using missing = storeOn(server, {}, 'missing-bucket');
    await expectAll('StoreMissing', missing, 'a');
    await expectCode('StoreMissing', missing.probe());
  });

  it('of an endpoint that is down are StoreUnavailable', async () => {
    const down = await startS3Server();
    await down.close();
    await using away = storeOn(down);
    await expectAll('StoreUnavailable', away, 'a');
    await expectCode('StoreUnavailable', away.probe());
  });

  it('name bucket and endpoint and what to do, and hold nothing secret, however deep one looks', async () => {
    const secret = 'the-secret-key-itself';
    const sessionToken = 'the-session-token-itself';
    await using wrong = storeOn(server, { secretAccessKey: secret, sessionToken });
    const error = await wrong.probe().catch((found: unknown) => found);
    expect(error).toMatchObject({
      message: expect.stringContaining(`s3://test/p at ${server.endpoint}`),
      details: { hint: expect.stringContaining('check the keys') },
    });
    await using right = storeOn(server, { sessionToken });
    const key = fresh();
    await right.put(key, Buffer.from('x'));
    const failing = [
      right.putIfAbsent(key, Buffer.from('x')),
      right.get(key, { offset: 5, length: 5 }),
      right.get(fresh()),
      right.head(fresh()),
      right.completeMultipart(fresh(), 'id', [{ part: 1, etag: 'e', size: 1 }]),
    ];
    const results = await Promise.allSettled<unknown>(failing);
    const errors = [error, ...results.map((result) => (result.status === 'rejected' ? result.reason : null))];
    expect(errors.map((found) => (found as ArtifactError | null)?.code)).toEqual([
      'StoreDenied',
      'Exists',
      'Corrupt',
      'NotFound',
      'NotFound',
      'NotFound',
    ]);
    const everything = inspect(errors, { depth: 20, showHidden: true });
    for (const word of [secret, sessionToken, 'AWS4-HMAC', 'Signature='])
      expect(everything).not.toContain(word);
  });
});

describe('a body', () => {
  it('that is cut off is StoreUnavailable, one that stalls too', async () => {
    const key = fresh();
    await store.put(key, Buffer.alloc(1 << 20, 'x'));
    await using asked = storeOn(server, shortIdle);
    for (const effect of [{ kind: 'truncate' }, { kind: 'stall', afterBytes: 1000 }] as const) {
      await server.control.clearFaults();
      await server.control.addFault({ on: 'GetObject', effect });
      await expectCode('StoreUnavailable', asked.get(key));
      await expectCode('StoreUnavailable', asked.get(key, { offset: 10, length: 1 << 19 }));
    }
  });

  it('that is shorter than the range is Corrupt', async () => {
    const key = fresh();
    await store.put(key, Buffer.alloc(1000, 'x'));
    await server.control.addFault({ on: 'GetObject', effect: { kind: 'short' } });
    await expectCode('Corrupt', store.get(key, { offset: 10, length: 500 }));
  });

  it('that is shorter than the range is kept: only the rest is asked for again', async () => {
    const key = fresh();
    const bytes = randomBytes(1000);
    await store.put(key, bytes);
    await using repeating = new RetryStore(storeOn(server), { delayMsMin: 0 });
    await repeating.get(key, { offset: 0, length: 1 });
    const sent = async (): Promise<number> =>
      (await server.control.counters()).operations['GetObject']?.bytesOut ?? 0;
    const before = await sent();
    await server.control.addFault({ on: 'GetObject', times: 2, effect: { kind: 'short' } });
    expect((await repeating.get(key, { offset: 10, length: 800 })).equals(bytes.subarray(10, 810))).toBe(
      true,
    );
    expect((await sent()) - before).toBe(800);
  });

  it('that is not what was put is Corrupt, where the service keeps a checksum', async () => {
    await using checked = storeOn(server, { checksums: 'crc32' });
    const key = fresh();
    await checked.put(key, Buffer.alloc(1000, 'x'));
    await server.control.addFault({ on: 'GetObject', times: 1, effect: { kind: 'corrupt' } });
    await expectCode('Corrupt', checked.get(key));
    expect(await checked.get(key)).toHaveLength(1000);
  });

  it('that was damaged on its way is refused by the service, whatever the checksums', async () => {
    for (const checksums of ['auto', 'required', 'crc32'] as const) {
      await using sender = storeOn(server, { checksums });
      const key = fresh();
      const uploadId = await sender.createMultipart(key);
      await server.control.addFault({ effect: { kind: 'corruptUpload' } });
      await expectCode('StoreUnavailable', sender.put(key, Buffer.from('whole')));
      await expectCode('StoreUnavailable', sender.put(key, [Buffer.from('in '), Buffer.from('chunks')]));
      await expectCode('StoreUnavailable', sender.putIfAbsent(key, Buffer.from('whole')));
      await expectCode('StoreUnavailable', sender.uploadPart(key, uploadId, 1, Buffer.from('part')));
      await server.control.clearFaults();
      await expectCode('NotFound', sender.get(key));
      expect(await sender.listParts(key, uploadId)).toEqual([]);
    }
  });

  it('is sent in one request, which is never repeated', async () => {
    await server.control.addFault({ on: 'PutObject', effect: { kind: 'loseAnswer' } });
    const key = fresh();
    await expectCode('StoreUnavailable', store.putIfAbsent(key, Buffer.from('mine')));
    const { operations: counted } = await server.control.counters();
    expect(counted.PutObject?.requests).toBe(1);
    expect(String(await store.get(key))).toBe('mine');
  });

  it('may arrive after its caller was told that the answer is lost', async () => {
    await server.control.addFault({ on: 'PutObject', times: 1, effect: { kind: 'applyLate', ms: 2_000 } });
    const key = fresh();
    await expectCode('StoreUnavailable', store.putIfAbsent(key, Buffer.from('late')));
    await expectCode('NotFound', store.get(key));
    await expect.poll(() => listAll(store, key)).toEqual([key]);
    await expectCode('Exists', store.putIfAbsent(key, Buffer.from('second')));
  });

  // Node goes on sending what a service answered before it had it; the memory is another part's by then.
  it('regression: in chunks is looked at no more once the call has failed, though the service never read it', async () => {
    await using refusing = await refusingServer();
    const { accessKeyId, secretAccessKey } = server;
    const options = { endpoint: refusing.endpoint, accessKeyId, secretAccessKey };
    await using refused = new S3Store({ bucket: 'test', prefix: '' }, options);
    const chunk = Buffer.alloc(1 << 20, 1);
    // More than the kernel takes for a connection that nobody reads.
    const chunks = Array.from({ length: 64 }, () => chunk);
    for (const send of [() => refused.put('k', chunks), () => refused.uploadPart('k', 'id', 1, chunks)]) {
      chunk.fill(1);
      await expectCode('StoreUnavailable', send());
      chunk.fill(2);
    }
    const received = await refusing.received();
    expect(received.length).toBeGreaterThan(0);
    expect(received.includes(2)).toBe(false);
  });
});

describe('a range', () => {
  it('other than the one that was asked for is not believed', async () => {
    const answers: [RequestListener, ErrorCode][] = [
      // The whole object, as from a service that ignores ranges.
      [(_, response) => response.writeHead(200, { 'content-length': 10 }).end('0123456789'), 'Corrupt'],
      [
        (_, response) =>
          response.writeHead(206, { 'content-length': 3, 'content-range': 'bytes 0-2/10' }).end('012'),
        'Corrupt',
      ],
      [
        (_, response) =>
          response.writeHead(206, { 'content-length': 4, 'content-range': 'bytes 2-5/10' }).end('2345'),
        'Corrupt',
      ],
      // No length at all, and one byte too many.
      [(_, response) => response.writeHead(206, { 'content-range': 'bytes 2-4/10' }).end('2345'), 'Corrupt'],
      [(_, response) => response.writeHead(206, { 'content-range': 'bytes 2-4/10' }).end('23'), 'Corrupt'],
      [(_, response) => response.writeHead(200).end('<html>login</html>'), 'Corrupt'],
    ];
    for (const [listener, code] of answers) {
      await using stub = await stubServer(listener);
      await using asked = new S3Store(
        { bucket: 'test', prefix: '' },
        { endpoint: stub.endpoint, accessKeyId: 'a', secretAccessKey: 'b', idleMsMax },
      );
      await expectCode(code, asked.get('key', { offset: 2, length: 3 }));
    }
  });
});

describe('a signal', () => {
  it('ends a request under way', async () => {
    const key = fresh();
    await store.put(key, Buffer.alloc(1 << 20));
    await using patient = storeOn(server, { idleMsMax: 60_000 });
    for (const effect of [{ kind: 'stall' }, { kind: 'stall', afterBytes: 1000 }] as const) {
      await server.control.clearFaults();
      await server.control.addFault({ effect });
      const controller = new AbortController();
      const reading = patient.get(key, undefined, { signal: controller.signal });
      await expect.poll(async () => (await server.control.counters()).operations.GetObject?.requests).toBe(1);
      controller.abort();
      await expectCode('Interrupted', reading);
      await server.control.resetCounters();
    }
  });
});

describe('checksums', () => {
  const storedCrc32 = async (on: S3Server, key: string) => {
    const { endpoint, accessKeyId, secretAccessKey, bucket: Bucket } = on;
    const credentials = { accessKeyId, secretAccessKey };
    const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
    const head = new HeadObjectCommand({ Bucket, Key: `p/${key}`, ChecksumMode: 'ENABLED' });
    return (await client.send(head)).ChecksumCRC32;
  };

  it('are CRC32 once the probe has proved that the service verifies it', async () => {
    await using probing = storeOn(server);
    await probing.put('before', Buffer.from('0123456789abcdef'));
    expect(await storedCrc32(server, 'before')).toBeUndefined();
    await probing.probe();
    await probing.put('after', Buffer.from('0123456789abcdef'));
    expect(await storedCrc32(server, 'after')).toBe('aMTwMw==');
    const uploadId = await probing.createMultipart('parts');
    const part = await probing.uploadPart('parts', uploadId, 1, Buffer.from('0123456789abcdef'));
    expect(part.crc32).toBe('aMTwMw==');
    expect(await probing.listParts('parts', uploadId)).toEqual([part]);
  });

  it('stay as they were begun for an upload, whatever is learned in between', async () => {
    await using strict = await startS3ServerUntilDisposed({ features: { strictPartChecksums: true } });
    await using probing = storeOn(strict.server);
    const begunBefore = await probing.createMultipart('before');
    await probing.probe();
    const begunAfter = await probing.createMultipart('after');
    await using restarted = storeOn(strict.server);
    for (const [key, id] of [
      ['before', begunBefore],
      ['after', begunAfter],
    ] as const)
      for (const [number, on] of [probing, restarted].entries())
        await on.uploadPart(key, id, number + 1, Buffer.alloc(limits.storePartBytesMin));
    for (const [key, id] of [
      ['before', begunBefore],
      ['after', begunAfter],
    ] as const)
      await restarted.completeMultipart(key, id, await restarted.listParts(key, id));
    expect(await listAll(restarted, '')).toEqual(['after', 'before']);
  });

  it('stay SHA-256 for a service that ignores CRC32', async () => {
    await using old = await startS3ServerUntilDisposed({ features: { checksums: false } });
    await using probing = storeOn(old.server);
    await probing.probe();
    await old.server.control.addFault({ on: 'PutObject', effect: { kind: 'corruptUpload' } });
    await expectCode('StoreUnavailable', probing.put('key', Buffer.from('damaged')));
  });
});

describe('the probe', () => {
  it('finds out what a service cannot do', async () => {
    await using poor = await startS3ServerUntilDisposed({
      features: { conditionalWrites: false, partCopy: false },
    });
    await using probing = storeOn(poor.server);
    expect(await probing.probe()).toEqual({
      writable: true,
      createIfAbsent: false,
      copyPart: false,
      ifMatch: false,
      presign: true,
    });
    expect(await listAll(probing, '')).toEqual([]);
  });

  it('regression: finds that parts can be copied where nothing is refused', async () => {
    await using poor = await startS3ServerUntilDisposed({ features: { conditionalWrites: false } });
    await using probing = storeOn(poor.server);
    // The second create must be there before the part is copied.
    await poor.server.control.addFault({ on: 'CreateMultipartUpload', effect: { kind: 'delay', ms: 300 } });
    expect(await probing.probe()).toMatchObject({ createIfAbsent: false, copyPart: true });
  });

  it('goes on when single answers fail, and leaves nothing behind', async () => {
    await using noisy = await startS3ServerUntilDisposed({});
    await using probing = storeOn(noisy.server);
    for (const on of ['GetObject', 'HeadObject', 'ListObjectsV2', 'DeleteObjects'] as const)
      await noisy.server.control.addFault({ on, times: 2, effect: { kind: 'reset' } });
    expect(await probing.probe()).toMatchObject({ writable: true, createIfAbsent: true, ifMatch: true });
    expect(await listAll(probing, '')).toEqual([]);
  });

  it('does not take one answer that was damaged on its way for a store that keeps nothing', async () => {
    await using noisy = await startS3ServerUntilDisposed({ features: { checksums: false } });
    await using probing = storeOn(noisy.server);
    await noisy.server.control.addFault({ on: 'GetObject', times: 1, effect: { kind: 'corrupt' } });
    expect(await probing.probe()).toMatchObject({ writable: true, createIfAbsent: true });
    await noisy.server.control.addFault({ on: 'GetObject', effect: { kind: 'corrupt' } });
    await expectCode('Corrupt', probing.probe());
  });

  // Found by the soak: whether a service copies parts matters to nobody who only mounts.
  it('regression: leaves no upload behind: it begins none for who does not ask, and finds one whose answer was lost', async () => {
    await using own = await startS3ServerUntilDisposed({});
    await using probing = storeOn(own.server);
    const { control } = own.server;
    expect(await probing.probe({ copies: false })).toMatchObject({ createIfAbsent: true, copyPart: false });
    expect((await control.counters()).operations).not.toHaveProperty('CreateMultipartUpload');
    await control.addFault({ on: 'CreateMultipartUpload', times: 1, effect: { kind: 'loseAnswer' } });
    await expectCode('StoreUnavailable', probing.probe());
    expect(await probing.unfinishedUploads('')).toEqual([]);
    await control.addFault({ on: 'AbortMultipartUpload', times: 1, effect: { kind: 'reset' } });
    expect(await probing.probe()).toMatchObject({ copyPart: true });
    expect(await probing.unfinishedUploads('')).toEqual([]);
  });

  it('runs another race when the answer of a racer is lost', async () => {
    for (const kind of ['reset', 'loseAnswer'] as const) {
      await using noisy = await startS3ServerUntilDisposed({});
      await using probing = storeOn(noisy.server);
      const rule = { on: 'PutObject', times: 1, effect: { kind } } as const;
      await noisy.server.control.addFault({ ...rule, key: '/race' });
      await noisy.server.control.addFault({ ...rule, key: '/first', skip: 1 });
      expect(await probing.probe()).toMatchObject({ writable: true, createIfAbsent: true });
      expect(await listAll(probing, '')).toEqual([]);
    }
  });

  it('finds a service that lets two racers win', async () => {
    // Every create is carried out, but only one after the other is refused: the header is honoured too late.
    await using racy = await startS3ServerUntilDisposed({});
    const probing = new RacyStore({ bucket: 'test', prefix: '' }, optionsOf(racy.server));
    expect(await probing.probe()).toMatchObject({ createIfAbsent: false });
    await probing[Symbol.asyncDispose]();
  });

  it('says not writable where only reading is allowed', async () => {
    await using reader = await startS3ServerUntilDisposed({});
    await reader.server.control.addFault({
      on: ['PutObject', 'DeleteObjects'],
      effect: { kind: 'status', status: 403, code: 'AccessDenied' },
    });
    await using probing = storeOn(reader.server);
    expect(await probing.probe()).toMatchObject({ writable: false, createIfAbsent: false });
  });

  it('works where deletion is denied', async () => {
    await using worm = await startS3ServerUntilDisposed({});
    await worm.server.control.addFault({
      on: 'DeleteObjects',
      effect: { kind: 'status', status: 403, code: 'AccessDenied' },
    });
    await using probing = storeOn(worm.server);
    expect(await probing.probe()).toMatchObject({ writable: true, createIfAbsent: true });
  });
});

describe('options', () => {
  it('are refused when they contradict or hold keys where they must not', () => {
    const open = (options: S3Options) => () => new S3Store({ bucket: 'test', prefix: '' }, options);
    for (const options of [
      { accessKeyId: 'only' },
      { secretAccessKey: 'only' },
      { endpoint: 'not a url' },
      { endpoint: 'ftp://host' },
      { endpoint: 'https://key:secret@host' },
    ])
      expect(open(options)).toThrow(expect.objectContaining({ code: 'Invalid' }));
    expect(open({ endpoint: 'https://key:hunter2@host' })).not.toThrow(/hunter2/);
  });

  it('bound the connections', async () => {
    await using narrow = storeOn(server, { socketsMax: 3 });
    await narrow.put('a', Buffer.from('x'));
    await server.control.resetCounters();
    await Promise.all(Array.from({ length: 40 }, () => narrow.get('a')));
    const { connections, inFlightMax, operations: counted } = await server.control.counters();
    expect(counted.GetObject?.requests).toBe(40);
    expect(connections).toBeLessThanOrEqual(3);
    expect(inFlightMax).toBeLessThanOrEqual(3);
  });
});

const optionsOf = ({ endpoint, accessKeyId, secretAccessKey }: S3Server): S3Options => ({
  endpoint,
  accessKeyId,
  secretAccessKey,
});

/** Says that a create won although the key was there: as a service does that checks before it queues. */
class RacyStore extends S3Store {
  override async putIfAbsent(key: string, body: Buffer) {
    try {
      return await super.putIfAbsent(key, body);
    } catch (error) {
      if (key.includes('/race')) return { etag: 'won, it says' };
      throw error;
    }
  }
}

/** Answers each request with 503 once its head is there, and reads its body when it is told to. */
async function refusingServer() {
  const bodies: Promise<Buffer>[] = [];
  const readOn = deferred<void>();
  const refusing = createTcpServer((socket) => {
    const read: Buffer[] = [];
    const ended = new Promise<Buffer>((resolve) => socket.on('close', () => resolve(Buffer.concat(read))));
    bodies.push(ended);
    socket.on('error', () => {});
    socket.on('data', (chunk: Buffer) => void read.push(chunk));
    socket.once('data', () => {
      socket.pause();
      const document = '<Error><Code>SlowDown</Code></Error>';
      socket.write(`HTTP/1.1 503 Slow Down\r\ncontent-length: ${document.length}\r\n\r\n${document}`);
      void readOn.promise.then(() => socket.resume());
    });
  });
  await new Promise<void>((resolve) => refusing.listen(0, '127.0.0.1', resolve));
  const { port } = refusing.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    /** All that came, once the connections are closed. */
    async received(): Promise<Buffer> {
      readOn.resolve();
      return Buffer.concat(await Promise.all(bodies));
    },
    [Symbol.asyncDispose]: () => new Promise<void>((resolve) => refusing.close(() => resolve())),
  };
}

async function startS3ServerUntilDisposed(options: S3ServerOptions) {
  const started = await startS3Server(options);
  return { server: started, [Symbol.asyncDispose]: () => started.close() };
}

async function stubServer(listener: RequestListener) {
  const stub = createServer(listener);
  await new Promise<void>((resolve) => stub.listen(0, '127.0.0.1', resolve));
  const { port } = stub.address() as AddressInfo;
  return {
    endpoint: `http://127.0.0.1:${port}`,
    [Symbol.asyncDispose]: async () => {
      stub.closeAllConnections();
      await new Promise((resolve) => stub.close(resolve));
    },
  };
}
