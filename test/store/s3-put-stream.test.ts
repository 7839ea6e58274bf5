import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, beforeAll, beforeEach, describe, expect, it } from 'vitest';
import { limits } from '../../src/model/limits.js';
import { openStore } from '../../src/store/open-store.js';
import type { S3Options } from '../../src/store/s3/s3-options.js';
import { S3Store } from '../../src/store/s3/s3-store.js';
import { type S3Server, startS3Server } from '../support/s3-server/server.js';
import { expectCode, fresh } from './contract.js';

const part = limits.storeStreamPartBytes;
let server: S3Server;
let store: S3Store;
beforeAll(async () => {
  server = await startS3Server();
  store = storeOn();
});
afterAll(async () => {
  await store[Symbol.asyncDispose]();
  await server.close();
});
beforeEach(async () => {
  await server.control.clearFaults();
  await server.control.resetCounters();
});

function storeOn(options: S3Options = {}): S3Store {
  return new S3Store({ bucket: server.bucket, prefix: 'p' }, { ...access(), retry: noDelay, ...options });
}
const noDelay = { delayMsMin: 0 };
const access = () => {
  const { endpoint, accessKeyId, secretAccessKey } = server;
  return { endpoint, accessKeyId, secretAccessKey };
};

async function unfinishedUploads(): Promise<number> {
  const { endpoint, accessKeyId, secretAccessKey, bucket: Bucket } = server;
  const credentials = { accessKeyId, secretAccessKey };
  const client = new S3Client({ endpoint, region: 'us-east-1', forcePathStyle: true, credentials });
  const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket }));
  client.destroy();
  return Uploads.length;
}

const requests = async (operation: 'UploadPart' | 'PutObject' | 'CompleteMultipartUpload') =>
  (await server.control.counters()).operations[operation]?.requests ?? 0;

const inPieces = (body: Buffer): Readable =>
  Readable.from(
    (function* () {
      for (let at = 0; at < body.length; at += 100_000) yield body.subarray(at, at + 100_000);
    })(),
  );

async function expectStored(key: string, body: Buffer): Promise<void> {
  expect((await store.get(key)).equals(body)).toBe(true);
  expect(await unfinishedUploads()).toBe(0);
}

describe('a stream of unknown length', () => {
  for (const checksums of ['required', 'crc32'] as const)
    it(`of 40 MiB is stored byte for byte, with checksums ${checksums}`, async () => {
      await using checked = storeOn({ checksums });
      const key = fresh();
      const body = randomBytes(40 << 20);
      expect((await checked.putStream(key, inPieces(body))).size).toBe(40 << 20);
      await expectStored(key, body);
      expect(await requests('UploadPart')).toBe(3);
    });

  it('of one part or less is one plain put', async () => {
    for (const size of [0, 1, part]) {
      await server.control.resetCounters();
      const key = fresh();
      const body = randomBytes(size);
      expect(await store.putStream(key, inPieces(body))).toMatchObject({ size });
      await expectStored(key, body);
      expect([await requests('PutObject'), await requests('UploadPart')]).toEqual([1, 0]);
    }
  });

  it('of text is stored as UTF-8', async () => {
    const key = fresh();
    expect(await store.putStream(key, Readable.from(['grün ', 'is green']))).toMatchObject({ size: 14 });
    expect(String(await store.get(key))).toBe('grün is green');
  });

  it('that was damaged on its way is sent again, whatever the checksums', async () => {
    for (const checksums of ['auto', 'required', 'crc32'] as const) {
      await using sender = storeOn({ checksums });
      await server.control.addFault({ on: 'PutObject', times: 1, effect: { kind: 'corruptUpload' } });
      await server.control.addFault({ on: 'UploadPart', times: 2, effect: { kind: 'corruptUpload' } });
      for (const size of [1000, part + 1]) {
        const key = fresh();
        const body = randomBytes(size);
        await sender.putStream(key, inPieces(body));
        await expectStored(key, body);
      }
      await server.control.clearFaults();
    }
  });
});

describe('a stream through failures', () => {
  it('is stored although the answer to its completion was lost', async () => {
    // Once, so that the repetition finds the upload gone; and every time.
    for (const times of [1, 1000]) {
      await server.control.clearFaults();
      await server.control.addFault({ on: 'CompleteMultipartUpload', times, effect: { kind: 'loseAnswer' } });
      const key = fresh();
      const body = randomBytes(part + 5);
      const result = await store.putStream(key, inPieces(body));
      expect(result).toEqual({ size: body.length, etag: (await store.head(key)).etag });
      await expectStored(key, body);
    }
  });

  it('is StoreUnavailable when the completion never happened, and leaves nothing', async () => {
    await server.control.addFault({ on: 'CompleteMultipartUpload', effect: { kind: 'reset' } });
    const key = fresh();
    await expectCode('StoreUnavailable', store.putStream(key, inPieces(randomBytes(part + 5))));
    expect(await requests('CompleteMultipartUpload')).toBe(limits.storeAttemptsMax);
    await expectCode('NotFound', store.head(key));
    expect(await unfinishedUploads()).toBe(0);
  });

  it('does not take another object for its own when the completion failed', async () => {
    const key = fresh();
    await store.put(key, Buffer.from('of another size'));
    await server.control.addFault({ on: 'CompleteMultipartUpload', effect: { kind: 'reset' } });
    await expectCode('StoreUnavailable', store.putStream(key, inPieces(randomBytes(part + 5))));
    expect(await unfinishedUploads()).toBe(0);
  });

  it('repeats parts whose connection is reset or whose answer is lost', async () => {
    await server.control.addFault({ on: 'UploadPart', times: 2, effect: { kind: 'reset' } });
    await server.control.addFault({ on: 'UploadPart', times: 2, effect: { kind: 'loseAnswer' } });
    const key = fresh();
    const body = randomBytes(2 * part + 5);
    await store.putStream(key, inPieces(body));
    expect(await requests('UploadPart')).toBe(3 + 4);
    await expectStored(key, body);
  });

  it('repeats parts as often through all wrappers, not more', async () => {
    await using wrapped = await openStore(`s3://${server.bucket}/p`, {
      s3: access(),
      retry: { delayMsMin: 0, attemptsMax: 3 },
    });
    await server.control.addFault({ on: 'PutObject', effect: { kind: 'reset' } });
    await expectCode('StoreUnavailable', wrapped.putStream(fresh(), Readable.from([Buffer.from('x')])));
    expect(await requests('PutObject')).toBe(3);
  });

  it('fails with the error of its source, and leaves no upload behind', async () => {
    const broken = new Error('the disk under the source broke');
    const source = async function* () {
      for (let at = 0; at < 2 * part + 5; at += 1 << 20) yield Buffer.alloc(1 << 20);
      await expect.poll(() => requests('UploadPart')).toBeGreaterThan(0);
      throw broken;
    };
    const key = fresh();
    expect(await store.putStream(key, Readable.from(source())).catch((error) => error)).toBe(broken);
    await expectCode('NotFound', store.head(key));
    expect(await unfinishedUploads()).toBe(0);
  });

  it('fails with the error of its progress, although the source gives no more', async () => {
    const broken = new Error('the progress bar broke');
    const source = new Readable({ read: () => undefined });
    source.push(Buffer.alloc(part + 1));
    const onProgress = () => {
      throw broken;
    };
    const failure = await store.putStream(fresh(), source, { onProgress }).catch((error) => error);
    expect(failure).toBe(broken);
    expect(await unfinishedUploads()).toBe(0);
  });

  it('ends at the signal in the middle of a part, and leaves no upload behind', async () => {
    await using patient = storeOn({ idleMsMax: 60_000 });
    await server.control.addFault({ on: 'UploadPart', effect: { kind: 'stall' } });
    const controller = new AbortController();
    const source = new Readable({ read: () => undefined });
    source.push(Buffer.alloc(part + 1));
    const key = fresh();
    const sending = patient.putStream(key, source, { signal: controller.signal });
    await expect.poll(() => requests('UploadPart')).toBe(1);
    controller.abort();
    await expectCode('Interrupted', sending);
    expect(source.destroyed).toBe(true);
    await expectCode('NotFound', store.head(key));
    expect(await unfinishedUploads()).toBe(0);
  });

  it('ends at the signal while it waits to repeat a part', async () => {
    const hour = 3_600_000;
    await using slow = storeOn({ retry: { delayMsMin: hour, delayMsMax: hour, random: () => 0.9 } });
    await server.control.addFault({ on: 'UploadPart', effect: { kind: 'reset' } });
    const controller = new AbortController();
    const sending = slow.putStream(fresh(), inPieces(Buffer.alloc(part + 1)), { signal: controller.signal });
    await expect.poll(() => requests('UploadPart')).toBe(2);
    controller.abort();
    await expectCode('Interrupted', sending);
    expect(await unfinishedUploads()).toBe(0);
  });

  it('ends a source that is still coming when a part is refused, and says why', async () => {
    const effect = { kind: 'status', status: 403, code: 'AccessDenied' } as const;
    await server.control.addFault({ on: 'UploadPart', effect });
    const source = new Readable({ read: () => undefined });
    source.push(Buffer.alloc(part + 1));
    await expectCode('StoreDenied', store.putStream(fresh(), source));
    expect(source.destroyed).toBe(true);
    expect(await unfinishedUploads()).toBe(0);
  });

  it('tells its own failure when the upload cannot be aborted either', async () => {
    const denied = { kind: 'status', status: 403, code: 'AccessDenied' } as const;
    await server.control.addFault({ on: 'AbortMultipartUpload', effect: { kind: 'reset' } });
    await server.control.addFault({ on: 'UploadPart', effect: denied });
    await expectCode('StoreDenied', store.putStream(fresh(), inPieces(Buffer.alloc(part + 1))));
    expect(await unfinishedUploads()).toBe(1);
  });
});
