import { randomBytes } from 'node:crypto';
import { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  type CompletedPart,
  CompleteMultipartUploadCommand,
  CopyObjectCommand,
  CreateBucketCommand,
  CreateMultipartUploadCommand,
  DeleteBucketCommand,
  DeleteObjectCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  type GetObjectCommandInput,
  HeadBucketCommand,
  HeadObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  type ListObjectsV2CommandOutput,
  ListPartsCommand,
  PutObjectCommand,
  type PutObjectCommandInput,
  S3Client,
  type S3ClientConfig,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { getSignedUrl } from '@aws-sdk/s3-request-presigner';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { type S3Server, startS3Server } from '../support/s3-server/server.js';

/**
 * What a service must do to be a faithful S3, asked with the plain SDK at its default settings: the test server has to
 * answer yes to all of it, so that a test which passes on it says something about real services.
 */
const Bucket = 'probe';
const small = Buffer.from('0123456789abcdef');
const fiveMiB = randomBytes(5 << 20);
const wrongEtag = `"${'0'.repeat(32)}"`;

describe('the S3 test server', () => {
  let server: S3Server;
  let client: S3Client;
  let oldClient: S3Client;
  const configOf = (more: S3ClientConfig = {}): S3ClientConfig => ({
    endpoint: server.endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    maxAttempts: 1,
    credentials: { accessKeyId: server.accessKeyId, secretAccessKey: server.secretAccessKey },
    ...more,
  });
  beforeAll(async () => {
    process.env['AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED'] = 'true';
    server = await startS3Server();
    client = new S3Client(configOf());
    oldClient = new S3Client(configOf({ requestChecksumCalculation: 'WHEN_REQUIRED' }));
    await client.send(new CreateBucketCommand({ Bucket }));
  });
  afterAll(async () => {
    client.destroy();
    oldClient.destroy();
    await server.close();
  });

  const put = (
    Key: string,
    Body: string | Buffer | Readable,
    more: Omit<PutObjectCommandInput, 'Bucket' | 'Key' | 'Body'> = {},
  ) => client.send(new PutObjectCommand({ Bucket, Key, Body, ...more }));
  const get = (Key: string, more: Omit<GetObjectCommandInput, 'Bucket' | 'Key'> = {}) =>
    client.send(new GetObjectCommand({ Bucket, Key, ...more }));
  const bodyOf = async (Key: string, more: Omit<GetObjectCommandInput, 'Bucket' | 'Key'> = {}) =>
    Buffer.from((await (await get(Key, more)).Body?.transformToByteArray()) ?? []);
  const start = async (Key: string) =>
    (await client.send(new CreateMultipartUploadCommand({ Bucket, Key }))).UploadId ?? '';
  const part = async (Key: string, UploadId: string, PartNumber: number, Body: Buffer) => {
    const answer = await client.send(new UploadPartCommand({ Bucket, Key, UploadId, PartNumber, Body }));
    return { PartNumber, ETag: answer.ETag, ChecksumCRC32: answer.ChecksumCRC32 } as CompletedPart;
  };
  const complete = (Key: string, UploadId: string, Parts: CompletedPart[], more = {}) =>
    client.send(
      new CompleteMultipartUploadCommand({ Bucket, Key, UploadId, MultipartUpload: { Parts }, ...more }),
    );

  describe('bodies', () => {
    it('come back as they were, with old and new checksum settings', async () => {
      await oldClient.send(new PutObjectCommand({ Bucket, Key: 'old', Body: small }));
      expect(await bodyOf('old')).toEqual(small);
      const { ChecksumCRC32 } = await put('a', small);
      expect(ChecksumCRC32).toBe('aMTwMw==');
      expect(await bodyOf('a')).toEqual(small);
    });

    it('may be aws-chunked with a trailer', async () => {
      const body = randomBytes(200_000);
      const stream = Readable.from([body.subarray(0, 70_000), body.subarray(70_000)]);
      await put('stream', stream, { ContentLength: body.length });
      expect((await bodyOf('stream')).equals(body)).toBe(true);
    });

    it('are refused with a wrong CRC32, SHA-256 or MD5', async () => {
      await refused(put('bad', small, { ChecksumCRC32: 'AAAAAA==' }), 400, 'BadDigest');
      await refused(put('bad', small, { ChecksumSHA256: `${'A'.repeat(43)}=` }), 400, 'BadDigest');
      await refused(put('bad', small, { ContentMD5: `${'A'.repeat(22)}==` }), 400, 'BadDigest');
      await refused(get('bad'), 404, 'NoSuchKey');
    });

    it('keep their checksum and user metadata', async () => {
      await put('meta', small, { Metadata: { 'x-a': 'b c' } });
      const head = new HeadObjectCommand({ Bucket, Key: 'meta', ChecksumMode: 'ENABLED' });
      expect(await client.send(head)).toMatchObject({
        ChecksumCRC32: 'aMTwMw==',
        Metadata: { 'x-a': 'b c' },
        ContentLength: 16,
      });
    });

    it('have odd keys', async () => {
      for (const key of ['a b+c%20d', 'ünï/日本', `q'&<>"`, 'x//y', 'dir/', 'x/../y']) {
        await put(key, key);
        expect(String(await bodyOf(key))).toBe(key);
      }
      const { Contents } = await client.send(new ListObjectsV2Command({ Bucket, Prefix: 'ün' }));
      expect(Contents?.map(({ Key }) => Key)).toEqual(['ünï/日本']);
    });
  });

  describe('reads', () => {
    beforeAll(async () => void (await put('r', small)));

    it('take ranges', async () => {
      const answer = await get('r', { Range: 'bytes=4-7' });
      expect(answer).toMatchObject({ ContentRange: 'bytes 4-7/16', $metadata: { httpStatusCode: 206 } });
      expect(await answer.Body?.transformToString()).toBe('4567');
      expect(String(await bodyOf('r', { Range: 'bytes=-3' }))).toBe('def');
      expect(String(await bodyOf('r', { Range: 'bytes=12-99' }))).toBe('cdef');
      await refused(get('r', { Range: 'bytes=99-100' }), 416, 'InvalidRange');
    });

    it('take conditions', async () => {
      const { ETag = '' } = await client.send(new HeadObjectCommand({ Bucket, Key: 'r' }));
      await refused(get('r', { IfMatch: wrongEtag }), 412);
      await refused(get('r', { IfNoneMatch: ETag }), 304);
      expect(await bodyOf('r', { IfMatch: ETag, IfNoneMatch: undefined })).toEqual(small);
    });

    it('say what is missing', async () => {
      await refused(get('none'), 404, 'NoSuchKey');
      await refused(client.send(new GetObjectCommand({ Bucket: 'none', Key: 'a' })), 404, 'NoSuchBucket');
      await refused(client.send(new HeadBucketCommand({ Bucket: 'none' })), 404);
      await client.send(new HeadBucketCommand({ Bucket }));
    });
  });

  describe('conditional writes', () => {
    it('create once', async () => {
      await put('c1', 'x', { IfNoneMatch: '*' });
      await refused(put('c1', 'y', { IfNoneMatch: '*' }), 412, 'PreconditionFailed');
      expect(String(await bodyOf('c1'))).toBe('x');
    });

    it('replace only what is expected', async () => {
      const { ETag = '' } = await put('c2', 'v1');
      await refused(put('c2', 'v2', { IfMatch: wrongEtag }), 412);
      await put('c2', 'v2', { IfMatch: ETag });
      expect(String(await bodyOf('c2'))).toBe('v2');
      await refused(put('c2none', 'v', { IfMatch: wrongEtag }), 404);
      await refused(client.send(new DeleteObjectCommand({ Bucket, Key: 'c2', IfMatch: wrongEtag })), 412);
    });

    it('have one winner in each race', async () => {
      for (let round = 0; round < 5; round++) {
        const creates = Array.from({ length: 16 }, (_, i) =>
          put(`race${round}`, `${i}`, { IfNoneMatch: '*' }),
        );
        expect(await winners(creates)).toBe(1);
        const { ETag = '' } = await put(`race${round}`, 'v');
        const swaps = Array.from({ length: 16 }, (_, i) => put(`race${round}`, `w${i}`, { IfMatch: ETag }));
        expect(await winners(swaps)).toBe(1);
      }
    });

    it('guard Complete', async () => {
      await put('c3', 'x');
      const uploadId = await start('c3');
      const parts = [await part('c3', uploadId, 1, small)];
      await refused(complete('c3', uploadId, parts, { IfNoneMatch: '*' }), 412);
      await refused(complete('c3', uploadId, parts, { IfMatch: wrongEtag }), 412);
      expect(String(await bodyOf('c3'))).toBe('x');
      await complete('c3', uploadId, parts);
      expect(await bodyOf('c3')).toEqual(small);
    });
  });

  describe('lists', () => {
    it('come in pages, by prefix, delimiter and start', async () => {
      for (let i = 0; i < 25; i++) await put(`l/${i % 5}/${String(i).padStart(2, '0')}`, 'x');
      const keys: string[] = [];
      let token: string | undefined;
      do {
        const page: ListObjectsV2CommandOutput = await client.send(
          new ListObjectsV2Command({ Bucket, Prefix: 'l/', MaxKeys: 10, ContinuationToken: token }),
        );
        keys.push(...(page.Contents ?? []).map(({ Key = '' }) => Key));
        token = page.NextContinuationToken;
      } while (token !== undefined);
      expect(keys).toHaveLength(25);
      expect(keys).toEqual([...keys].sort());
      const folders = new ListObjectsV2Command({ Bucket, Prefix: 'l/', Delimiter: '/' });
      expect((await client.send(folders)).CommonPrefixes?.map(({ Prefix }) => Prefix)).toEqual(
        [0, 1, 2, 3, 4].map((i) => `l/${i}/`),
      );
      const rest = new ListObjectsV2Command({ Bucket, Prefix: 'l/', StartAfter: 'l/3/23' });
      expect((await client.send(rest)).Contents).toHaveLength(5);
    });

    it('go on behind a folder when a page ends in it', async () => {
      const found: (string | undefined)[] = [];
      let token: string | undefined;
      do {
        const page: ListObjectsV2CommandOutput = await client.send(
          new ListObjectsV2Command({
            Bucket,
            Prefix: 'l/',
            Delimiter: '/',
            MaxKeys: 2,
            ContinuationToken: token,
          }),
        );
        found.push(...(page.CommonPrefixes ?? []).map(({ Prefix }) => Prefix));
        token = page.NextContinuationToken;
      } while (token !== undefined);
      expect(found).toEqual([0, 1, 2, 3, 4].map((i) => `l/${i}/`));
    });
  });

  describe('multipart', () => {
    it('joins parts, readable over their border', async () => {
      const uploadId = await start('mp');
      const parts = await Promise.all([part('mp', uploadId, 1, fiveMiB), part('mp', uploadId, 2, small)]);
      expect((await complete('mp', uploadId, parts)).ETag).toMatch(/-2"$/);
      const whole = Buffer.concat([fiveMiB, small]);
      expect((await bodyOf('mp')).equals(whole)).toBe(true);
      const at = fiveMiB.length - 4;
      expect(await bodyOf('mp', { Range: `bytes=${at}-${at + 7}` })).toEqual(whole.subarray(at, at + 8));
    });

    it('refuses small parts, lists uploads and parts, forgets what is aborted', async () => {
      const uploadId = await start('ts');
      const parts = [await part('ts', uploadId, 1, small), await part('ts', uploadId, 2, small)];
      await refused(complete('ts', uploadId, parts), 400, 'EntityTooSmall');
      const uploads = await client.send(new ListMultipartUploadsCommand({ Bucket }));
      expect(uploads.Uploads?.some(({ UploadId }) => UploadId === uploadId)).toBe(true);
      const listed = new ListPartsCommand({ Bucket, Key: 'ts', UploadId: uploadId });
      expect((await client.send(listed)).Parts).toHaveLength(2);
      await client.send(new AbortMultipartUploadCommand({ Bucket, Key: 'ts', UploadId: uploadId }));
      await refused(part('ts', uploadId, 3, small), 404, 'NoSuchUpload');
      await refused(client.send(listed), 404, 'NoSuchUpload');
    });

    it('copies parts, whole and in ranges, on condition', async () => {
      await put('src', Buffer.concat([fiveMiB, small]));
      const uploadId = await start('pc');
      const copy = (PartNumber: number, more = {}) =>
        client.send(
          new UploadPartCopyCommand({
            Bucket,
            Key: 'pc',
            UploadId: uploadId,
            PartNumber,
            CopySource: `${Bucket}/src`,
            ...more,
          }),
        );
      const first = await copy(1, { CopySourceRange: `bytes=1-${5 << 20}` });
      const second = await copy(2);
      await refused(copy(3, { CopySourceIfMatch: wrongEtag }), 412);
      await refused(copy(3, { CopySourceRange: `bytes=0-${fiveMiB.length + 99}` }), 400);
      await complete('pc', uploadId, [
        { PartNumber: 1, ETag: first.CopyPartResult?.ETag },
        { PartNumber: 2, ETag: second.CopyPartResult?.ETag },
      ]);
      const source = Buffer.concat([fiveMiB, small]);
      const wanted = Buffer.concat([source.subarray(1, (5 << 20) + 1), source]);
      expect((await bodyOf('pc')).equals(wanted)).toBe(true);
    });
  });

  it('copies and deletes objects, many at once', async () => {
    await put('d1', 'x');
    await client.send(new CopyObjectCommand({ Bucket, Key: 'd2', CopySource: `${Bucket}/d1` }));
    expect(String(await bodyOf('d2'))).toBe('x');
    const { Deleted } = await client.send(
      new DeleteObjectsCommand({
        Bucket,
        Delete: { Objects: [{ Key: 'd1' }, { Key: 'd2' }, { Key: 'none' }] },
      }),
    );
    expect(Deleted).toHaveLength(3);
    await refused(get('d1'), 404);
  });

  it('makes and removes buckets', async () => {
    await client.send(new CreateBucketCommand({ Bucket: 'another' }));
    await client.send(new PutObjectCommand({ Bucket: 'another', Key: 'k', Body: 'x' }));
    await refused(client.send(new DeleteBucketCommand({ Bucket: 'another' })), 409);
    await client.send(new DeleteObjectCommand({ Bucket: 'another', Key: 'k' }));
    await client.send(new DeleteBucketCommand({ Bucket: 'another' }));
    await refused(client.send(new HeadBucketCommand({ Bucket: 'another' })), 404);
  });

  describe('signed URLs', () => {
    it('get, put and upload parts', async () => {
      await put('u', small);
      const url = await getSignedUrl(client, new GetObjectCommand({ Bucket, Key: 'u' }), { expiresIn: 60 });
      const range = await fetch(url, { headers: { Range: 'bytes=0-3' } });
      expect([range.status, await range.text()]).toEqual([206, '0123']);
      const putUrl = await getSignedUrl(client, new PutObjectCommand({ Bucket, Key: 'up' }));
      expect((await fetch(putUrl, { method: 'PUT', body: 'hello' })).status).toBe(200);
      expect(String(await bodyOf('up'))).toBe('hello');
      const uploadId = await start('upm');
      const partOf = new UploadPartCommand({ Bucket, Key: 'upm', UploadId: uploadId, PartNumber: 1 });
      const sent = await fetch(await getSignedUrl(oldClient, partOf), { method: 'PUT', body: 'part' });
      await complete('upm', uploadId, [{ PartNumber: 1, ETag: sent.headers.get('etag') ?? '' }]);
      expect(String(await bodyOf('upm'))).toBe('part');
    });

    it('are refused when they were changed or are too old', async () => {
      const command = new GetObjectCommand({ Bucket, Key: 'r' });
      const url = await getSignedUrl(client, command, { expiresIn: 60 });
      expect((await fetch(url.replace('/r?', '/u?'))).status).toBe(403);
      const old = new Date(Date.now() - 3_600_000);
      const expired = await getSignedUrl(client, command, { expiresIn: 60, signingDate: old });
      expect((await fetch(expired)).status).toBe(403);
    });
  });

  it('refuses wrong keys and unsigned requests', async () => {
    const { accessKeyId, secretAccessKey } = server;
    const wrongSecret = new S3Client(configOf({ credentials: { accessKeyId, secretAccessKey: 'wrong' } }));
    const wrongKey = new S3Client(configOf({ credentials: { accessKeyId: 'wrong', secretAccessKey } }));
    const command = new PutObjectCommand({ Bucket, Key: 'zz', Body: 'x' });
    await refused(wrongSecret.send(command), 403, 'SignatureDoesNotMatch');
    await refused(wrongKey.send(command), 403, 'InvalidAccessKeyId');
    expect((await fetch(`${server.endpoint}/${Bucket}/r`)).status).toBe(403);
  });
});

async function refused(promise: Promise<unknown>, status: number, name?: string): Promise<void> {
  await expect(promise).rejects.toMatchObject({
    ...(name === undefined ? {} : { name }),
    $metadata: { httpStatusCode: status },
  });
}

async function winners(races: readonly Promise<unknown>[]): Promise<number> {
  const results = await Promise.allSettled(races);
  return results.filter(({ status }) => status === 'fulfilled').length;
}
