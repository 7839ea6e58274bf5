import type { Readable } from 'node:stream';
import type { PutObjectCommandInput } from '@aws-sdk/client-s3';
import { ArtifactError, isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import {
  checkKey,
  checkPart,
  checkPartList,
  checkRange,
  exists,
  pastTheEnd,
  throwIfAborted,
} from '../keys.js';
import type {
  Body,
  ByteRange,
  CallOptions,
  CopySource,
  GetOptions,
  LifecycleRule,
  ObjectInfo,
  ObjectStore,
  PartInfo,
  ProbeOptions,
  ProgressOptions,
  PutOptions,
  PutResult,
  StoreCapabilities,
  UnfinishedUpload,
} from '../object-store.js';
import { bodyLength } from '../object-store.js';
import { probeStore } from '../probe.js';
import { requestBody, sending } from './s3-body.js';
import { verifiesCrc32 } from './s3-checksums.js';
import { afterFailedComplete } from './s3-complete.js';
import { describeFailure, s3Error } from './s3-errors.js';
import { checksumMode, ObjectGets } from './s3-get.js';
import { refusesIfMatch } from './s3-if-match.js';
import { LateClient, type LoadedClient } from './s3-late-client.js';
import { checkS3Options, isTamperProof, type S3Location, type S3Options } from './s3-options.js';
import {
  abortOf,
  etagOf,
  objectInfo,
  partInfo,
  RangeSink,
  rangeBody,
  rangeHeader,
  required,
  WholeSink,
  wholeBody,
} from './s3-replies.js';
import { firstSigner } from './static-signer.js';

/** Marks upload ids whose parts carry a CRC32: all parts of an upload must, or none. */
const crc32Upload = 'crc32:';
const unknownEtag = `"${'0'.repeat(32)}"`;

/** Objects in a bucket of any S3-compatible service. */
export class S3Store implements ObjectStore {
  readonly url: string;
  readonly #bucket: string;
  readonly #prefix: string;
  readonly #where: string;
  readonly #client: LateClient;
  readonly #gets: ObjectGets;
  readonly #policy: S3Options['checksums'];
  readonly #tamperProof: boolean;
  /** The service verifies CRC32 headers: by option, or proved by `probe`. */
  #crc32: boolean;

  constructor({ bucket, prefix }: S3Location, options: S3Options = {}) {
    checkS3Options(options);
    this.url = `s3://${bucket}${prefix === '' ? '' : `/${prefix}`}`;
    this.#bucket = bucket;
    this.#prefix = prefix === '' ? '' : `${prefix}/`;
    this.#where = options.endpoint === undefined ? this.url : `${this.url} at ${options.endpoint}`;
    this.#policy = options.checksums ?? 'auto';
    this.#crc32 = this.#policy === 'crc32';
    this.#tamperProof = isTamperProof(options.endpoint);
    const signsBodies = () => !(this.#crc32 && this.#tamperProof);
    this.#client = new LateClient(options, signsBodies);
    this.#gets = new ObjectGets(this.#client, firstSigner({ bucket, prefix }, options));
  }

  get(key: string, range?: ByteRange, options?: GetOptions): Promise<Buffer> {
    return this.#onKey(`reading ${key}`, key, options, (target) =>
      range === undefined ? this.#getAll(key, target, options) : this.#getRange(key, target, range, options),
    );
  }

  head(key: string, options?: CallOptions): Promise<ObjectInfo> {
    return this.#onKey(`looking at ${key}`, key, options, async (target) => {
      const { client, HeadObjectCommand } = await this.#sdk();
      const send = async () => {
        const head = await client.send(new HeadObjectCommand(target), abortOf(options));
        return objectInfo(key, head.ContentLength, head.ETag, head.LastModified);
      };
      try {
        return await send();
      } catch (error) {
        if (describeFailure(error).status !== 404) throw error;
        await this.#proveMissing(key, options);
        return send(); // it came into being in between
      }
    });
  }

  put(key: string, body: Body, options?: PutOptions): Promise<PutResult> {
    return this.#onKey(`writing ${key}`, key, options, (target) => {
      const sent = requestBody(body, this.#crc32, options?.crc32);
      return sending(sent.Body, () => this.#put({ ...target, ...sent }, options));
    });
  }

  putIfAbsent(key: string, body: Buffer, options?: CallOptions): Promise<PutResult> {
    return this.#onKey(`creating ${key}`, key, options, async (target) => {
      try {
        return await this.#put({ ...target, ...requestBody(body, this.#crc32), IfNoneMatch: '*' }, options);
      } catch (error) {
        const { status, name } = describeFailure(error);
        if (status === 412 || name === 'PreconditionFailed') throw exists(key, error);
        throw error;
      }
    });
  }

  async putStream(
    key: string,
    source: Readable,
    options?: CallOptions & ProgressOptions,
  ): Promise<PutResult & { size: number }> {
    try {
      checkKey(key);
      source.on('error', () => undefined); // reading it tells, which begins when the SDK is loaded
      const { repeatingClient, StreamUpload } = await this.#sdk();
      const target = {
        client: repeatingClient,
        object: { Bucket: this.#bucket, Key: this.#prefix + key },
        crc32: this.#crc32,
        classified: (error: unknown) => s3Error(this.#where, `writing ${key}`, error, options?.signal),
      };
      return await new StreamUpload(target, source, options).run();
    } finally {
      source.destroy();
    }
  }

  createMultipart(key: string, options?: CallOptions): Promise<string> {
    return this.#onKey(`starting an upload of ${key}`, key, options, async (target) => {
      const crc32 = this.#crc32;
      const { client, CreateMultipartUploadCommand } = await this.#sdk();
      const answer = await client.send(
        new CreateMultipartUploadCommand({ ...target, ...(crc32 ? { ChecksumAlgorithm: 'CRC32' } : {}) }),
        abortOf(options),
      );
      const uploadId = required(answer.UploadId, 'an upload id');
      return crc32 ? crc32Upload + uploadId : uploadId;
    });
  }

  uploadPart(
    key: string,
    uploadId: string,
    part: number,
    body: Body,
    options?: PutOptions,
  ): Promise<PartInfo> {
    return this.#onKey(`writing part ${part} of ${key}`, key, options, async (target) => {
      checkPart(key, part);
      const upload = parseUploadId(uploadId);
      const sent = requestBody(body, upload.crc32, options?.crc32);
      const { client, UploadPartCommand } = await this.#sdk();
      const command = new UploadPartCommand({ ...target, UploadId: upload.id, PartNumber: part, ...sent });
      const answer = await sending(sent.Body, () => client.send(command, abortOf(options)));
      return partInfo(part, answer.ETag, bodyLength(body), sent.ChecksumCRC32);
    });
  }

  copyPart(
    key: string,
    uploadId: string,
    part: number,
    source: CopySource,
    options?: CallOptions,
  ): Promise<PartInfo> {
    return this.#onKey(`copying ${source.key} to ${key}`, key, options, async (target) => {
      checkPart(key, part);
      checkKey(source.key);
      checkRange(source.key, source);
      const upload = parseUploadId(uploadId);
      const from = `${this.#bucket}/${this.#prefix}${source.key}`;
      // Some services decode the name twice: they would copy another object, or none.
      if (from.includes('%'))
        throw new ArtifactError('Unsupported', `object ${source.key} cannot be copied by its name`);
      const { client, UploadPartCopyCommand } = await this.#sdk();
      try {
        const { CopyPartResult: copied } = await client.send(
          new UploadPartCopyCommand({
            ...target,
            UploadId: upload.id,
            PartNumber: part,
            CopySource: from.split('/').map(encodeURIComponent).join('/'),
            CopySourceRange: rangeHeader(source),
          }),
          abortOf(options),
        );
        const crc32 = upload.crc32 ? copied?.ChecksumCRC32 : undefined;
        return partInfo(part, copied?.ETag, source.length, crc32);
      } catch (error) {
        const { status } = describeFailure(error);
        // Services have several words for a range that is not in the source, so its size has to tell.
        if (status !== 400 && status !== 416) throw error;
        const { size } = await this.head(source.key, options);
        throw size < source.offset + source.length ? pastTheEnd(source.key, source, error) : error;
      }
    });
  }

  listParts(key: string, uploadId: string, options?: CallOptions): Promise<PartInfo[]> {
    return this.#onKey(`listing parts of ${key}`, key, options, async (target) => {
      const upload = parseUploadId(uploadId);
      const parts: PartInfo[] = [];
      let after: string | undefined;
      const { client, ListPartsCommand } = await this.#sdk();
      do {
        const page = await client.send(
          new ListPartsCommand({
            ...target,
            UploadId: upload.id,
            ...(after === undefined ? {} : { PartNumberMarker: after }),
          }),
          abortOf(options),
        );
        for (const { PartNumber, ETag, Size, ChecksumCRC32 } of page.Parts ?? [])
          parts.push(partInfo(required(PartNumber, 'a part number'), ETag, Size ?? 0, ChecksumCRC32));
        after = page.IsTruncated === true ? page.NextPartNumberMarker : undefined;
      } while (after !== undefined);
      return parts;
    });
  }

  completeMultipart(
    key: string,
    uploadId: string,
    parts: readonly PartInfo[],
    options?: CallOptions,
  ): Promise<PutResult> {
    return this.#onKey(`completing ${key}`, key, options, async (target) => {
      checkPartList(key, parts);
      const upload = parseUploadId(uploadId);
      const { client, CompleteMultipartUploadCommand } = await this.#sdk();
      try {
        const answer = await client.send(
          new CompleteMultipartUploadCommand({
            ...target,
            UploadId: upload.id,
            MultipartUpload: {
              Parts: parts.map(({ part, etag, crc32 }) => ({
                PartNumber: part,
                ETag: `"${etag}"`,
                ...(upload.crc32 && crc32 !== undefined ? { ChecksumCRC32: crc32 } : {}),
              })),
            },
          }),
          abortOf(options),
        );
        // Some services send an empty ETag here.
        return { etag: answer.ETag ? etagOf(answer.ETag) : (await this.head(key, options)).etag };
      } catch (error) {
        return afterFailedComplete(this, this.#where, { key, uploadId, parts }, options, error);
      }
    });
  }

  abortMultipart(key: string, uploadId: string, options?: CallOptions): Promise<void> {
    return this.#onKey(`aborting the upload of ${key}`, key, options, async (target) => {
      const { client, AbortMultipartUploadCommand } = await this.#sdk();
      try {
        await client.send(
          new AbortMultipartUploadCommand({ ...target, UploadId: parseUploadId(uploadId).id }),
          abortOf(options),
        );
      } catch (error) {
        if (describeFailure(error).name !== 'NoSuchUpload') throw error;
      }
    });
  }

  unfinishedUploads(prefix: string, options?: CallOptions): Promise<readonly UnfinishedUpload[]> {
    return this.#run('listing uploads', options, async () => {
      const where = { Bucket: this.#bucket, Prefix: this.#prefix + prefix };
      const { client } = await this.#sdk();
      const { listUploads } = await import('./s3-uploads.js');
      const found = await listUploads(client, where, options);
      return found.map(({ key, uploadId }) => ({ key: key.slice(this.#prefix.length), uploadId }));
    });
  }

  lifecycleRules(options?: CallOptions): Promise<readonly LifecycleRule[]> {
    return this.#run('reading lifecycle rules', options, async () => {
      const { client } = await this.#sdk();
      const { lifecycleRules } = await import('./s3-lifecycle.js');
      return lifecycleRules(client, { Bucket: this.#bucket, Prefix: this.#prefix }, options);
    });
  }

  async *list(prefix: string, options?: CallOptions & { startAfter?: string }): AsyncIterable<ObjectInfo> {
    const after = options?.startAfter;
    let token: string | undefined;
    do {
      const page = await this.#run('listing', options, async () => {
        const { client, ListObjectsV2Command } = await this.#sdk();
        return client.send(
          new ListObjectsV2Command({
            Bucket: this.#bucket,
            Prefix: this.#prefix + prefix,
            EncodingType: 'url',
            ...(token === undefined ? {} : { ContinuationToken: token }),
            ...(after === undefined || after === '' ? {} : { StartAfter: this.#prefix + after }),
          }),
          abortOf(options),
        );
      });
      for (const { Key, Size, ETag, LastModified } of page.Contents ?? []) {
        const sent = required(Key, 'a key');
        const key = page.EncodingType === 'url' ? decodeURIComponent(sent.replaceAll('+', ' ')) : sent;
        yield objectInfo(key.slice(this.#prefix.length), Size, ETag, LastModified);
      }
      token = page.IsTruncated === true ? page.NextContinuationToken : undefined;
    } while (token !== undefined);
  }

  async deleteMany(keys: readonly string[], options?: CallOptions): Promise<void> {
    for (const key of keys) checkKey(key);
    const inBatches = keys.filter(fitsXml);
    for (let start = 0; start < inBatches.length; start += limits.storeDeleteKeysMax)
      await this.#deleteBatch(inBatches.slice(start, start + limits.storeDeleteKeysMax), options);
    for (const key of keys)
      if (!fitsXml(key))
        await this.#onKey(`deleting ${key}`, key, options, async (target) => {
          const { client, DeleteObjectCommand } = await this.#sdk();
          return client.send(new DeleteObjectCommand(target), abortOf(options));
        });
  }

  presignGet(key: string, expiresSeconds: number): Promise<string> {
    return this.#onKey(`signing a URL of ${key}`, key, undefined, async (target) => {
      if (!(expiresSeconds >= 1 && expiresSeconds <= limits.presignSecondsMax))
        throw new ArtifactError('Invalid', `a URL can be valid for 1 to ${limits.presignSecondsMax} seconds`);
      const { client, GetObjectCommand, getSignedUrl } = await this.#sdk();
      return getSignedUrl(client, new GetObjectCommand(target), { expiresIn: expiresSeconds });
    });
  }

  async probe(options?: ProbeOptions): Promise<StoreCapabilities> {
    const capabilities = await probeStore(this, { presign: true }, options);
    if (this.#policy === 'auto' && capabilities.writable)
      this.#crc32 = await verifiesCrc32(this, (key, body, crc32) =>
        this.#onKey('testing checksums', key, options, (target) =>
          this.#put({ ...target, Body: body, ChecksumCRC32: crc32 }, options),
        ),
      );
    if (!capabilities.writable) return capabilities;
    const ifMatch = await refusesIfMatch(this, (key, body) =>
      this.#onKey('testing conditions', key, options, (target) =>
        this.#put({ ...target, ...requestBody(body, this.#crc32), IfMatch: unknownEtag }, options),
      ),
    );
    return { ...capabilities, ifMatch };
  }

  async [Symbol.asyncDispose](): Promise<void> {
    this.#client.destroy();
  }

  #sdk(): Promise<LoadedClient> {
    return this.#client.load();
  }

  async #getAll(key: string, target: Target, options: GetOptions | undefined): Promise<Buffer> {
    const sink = new WholeSink(options);
    return wholeBody(key, await this.#gets.get(target, checksumMode, sink, options?.signal), sink);
  }

  async #getRange(
    key: string,
    target: Target,
    range: ByteRange,
    options: GetOptions | undefined,
  ): Promise<Buffer> {
    checkRange(key, range);
    const sink = new RangeSink(range, options);
    try {
      const reply = await this.#gets.get(target, { range: rangeHeader(range) }, sink, options?.signal);
      return await rangeBody(key, reply, range, sink);
    } catch (error) {
      if (describeFailure(error).status === 416) throw pastTheEnd(key, range, error);
      throw error;
    }
  }

  async #put(input: PutObjectCommandInput, options: CallOptions | undefined): Promise<PutResult> {
    const { client, PutObjectCommand } = await this.#sdk();
    const { ETag } = await client.send(new PutObjectCommand(input), abortOf(options));
    return { etag: etagOf(ETag) };
  }

  #deleteBatch(keys: readonly string[], options: CallOptions | undefined): Promise<void> {
    return this.#run('deleting', options, async () => {
      const { client, DeleteObjectsCommand } = await this.#sdk();
      const { Errors = [] } = await client.send(
        new DeleteObjectsCommand({
          Bucket: this.#bucket,
          Delete: { Objects: keys.map((key) => ({ Key: this.#prefix + key })), Quiet: true },
        }),
        abortOf(options),
      );
      const failed = Errors.find(({ Code }) => Code !== 'NoSuchKey');
      if (failed !== undefined)
        throw Object.assign(new Error(`${failed.Key}: ${failed.Message}`), { name: failed.Code });
    });
  }

  /** A HEAD has no error document, so a GET has to tell whether the key or the bucket is missing. */
  async #proveMissing(key: string, options: CallOptions | undefined): Promise<void> {
    try {
      await this.get(key, { offset: 0, length: 1 }, options);
    } catch (error) {
      if (!isCode(error, 'Corrupt')) throw error; // an empty object has no first byte, but exists
    }
  }

  #onKey<T>(
    what: string,
    key: string,
    options: CallOptions | undefined,
    operation: (target: Target) => Promise<T>,
  ): Promise<T> {
    return this.#run(what, options, async () => {
      checkKey(key);
      return operation({ Bucket: this.#bucket, Key: this.#prefix + key });
    });
  }

  async #run<T>(what: string, options: CallOptions | undefined, operation: () => Promise<T>): Promise<T> {
    throwIfAborted(options?.signal);
    try {
      return await operation();
    } catch (error) {
      throw s3Error(this.#where, what, error, options?.signal);
    }
  }
}

interface Target {
  readonly Bucket: string;
  readonly Key: string;
}

function parseUploadId(uploadId: string): { id: string; crc32: boolean } {
  const crc32 = uploadId.startsWith(crc32Upload);
  return { id: crc32 ? uploadId.slice(crc32Upload.length) : uploadId, crc32 };
}

/** XML has no way to write control characters and two others. */
const fitsXml = (key: string): boolean => !/[\p{Cc}\ufffe\uffff]/u.test(key);
