// What the S3 server gives a program that does nothing but ask it: the plain AWS SDK, from memory and into memory.
import { randomFillSync } from 'node:crypto';
import { Agent } from 'node:http';
import {
  CompleteMultipartUploadCommand,
  CreateMultipartUploadCommand,
  DeleteObjectsCommand,
  GetObjectCommand,
  ListObjectsV2Command,
  PutObjectCommand,
  S3Client,
  UploadPartCommand,
  UploadPartCopyCommand,
} from '@aws-sdk/client-s3';
import { timed } from './tools.mjs';

const mebi = 2 ** 20;
const atOnce = 8;
const smallAtOnce = 32;
const pieceBytes = 16 * mebi;
const blockBytes = 256 << 10;

/** Keys are below `prefix`. One for a server. */
export class Limits {
  #client;
  #target;
  #memory = Buffer.alloc(0);

  /** @param {import('./servers.mjs').Server} server */
  constructor(server, prefix = 'limits') {
    // The SDK's notice on Node versions is not for those who read figures.
    process.env.AWS_SDK_JS_NODE_VERSION_SUPPORT_WARNING_DISABLED = 'true';
    this.#client = new S3Client({
      endpoint: server.endpoint,
      region: 'us-east-1',
      credentials: { accessKeyId: server.accessKey, secretAccessKey: server.secretKey },
      forcePathStyle: true,
      requestChecksumCalculation: 'WHEN_REQUIRED',
      responseChecksumValidation: 'WHEN_REQUIRED',
      requestHandler: { httpAgent: new Agent({ keepAlive: true, maxSockets: 64 }) },
    });
    this.#target = (name) => ({ Bucket: server.bucket, Key: `${prefix}/${name}` });
  }

  /** MiB/s of a multipart upload of eight parts at a time; leaves the object `large`. */
  async upload(megabytes) {
    const bytes = this.#memoryOf(megabytes * mebi);
    const seconds = await timed(() =>
      this.#multipart('large', bytes.length / pieceBytes, (part, i) =>
        this.#client.send(
          new UploadPartCommand({ ...part, Body: bytes.subarray(i * pieceBytes, (i + 1) * pieceBytes) }),
        ),
      ),
    );
    return megabytes / seconds;
  }

  /** MiB/s of reading `large` by eight ranges at a time. */
  async download(megabytes) {
    const bytes = this.#memoryOf(megabytes * mebi);
    const seconds = await timed(() =>
      inParallel(bytes.length / pieceBytes, atOnce, (i) => this.#read(i * pieceBytes, pieceBytes, bytes)),
    );
    return megabytes / seconds;
  }

  /** Small PUTs a second. */
  async puts(count) {
    const body = randomFillSync(Buffer.alloc(4096));
    const seconds = await timed(() =>
      inParallel(count, smallAtOnce, (i) =>
        this.#client.send(new PutObjectCommand({ ...this.#target(`small/${i}`), Body: body })),
      ),
    );
    return count / seconds;
  }

  /** Seconds to the first byte of a GET of one block of `large`, the median of `count`. */
  async firstByte(megabytes, count) {
    await this.#firstByteAt(0); // connected
    const seconds = [];
    for (let i = 0; i < count; i++)
      seconds.push(
        await this.#firstByteAt(Math.floor((i * megabytes * mebi) / count / blockBytes) * blockBytes),
      );
    return seconds.sort((a, b) => a - b)[count >> 1];
  }

  /** MiB/s of reading `count` blocks of `large`, so many at a time. */
  async blocks(megabytes, count, threads) {
    const buffer = this.#memoryOf(megabytes * mebi);
    const blocks = buffer.length / blockBytes;
    const seconds = await timed(() =>
      inParallel(count, threads, (i) => this.#read(((i * 1229) % blocks) * blockBytes, blockBytes, buffer)),
    );
    return (count * blockBytes) / mebi / seconds;
  }

  /** A large object from copies of a smaller one, which cost the server little and the wire nothing. Keys are whole. */
  async grow(source, key, times, sourceBytes) {
    const { Bucket } = this.#target('');
    const piece = Math.min(sourceBytes, 512 * mebi);
    const perSource = sourceBytes / piece;
    await this.#multipart({ Bucket, Key: key }, times * perSource, async (part, i) => {
      const from = (i % perSource) * piece;
      const range = {
        CopySource: `${Bucket}/${source}`,
        CopySourceRange: `bytes=${from}-${from + piece - 1}`,
      };
      const { CopyPartResult } = await this.#client.send(new UploadPartCopyCommand({ ...part, ...range }));
      return CopyPartResult;
    });
  }

  /** Number of objects whose whole keys begin so, and of their bytes. */
  async count(prefix) {
    const { Bucket } = this.#target('');
    let [objects, bytes, token] = [0, 0, undefined];
    do {
      const page = await this.#client.send(
        new ListObjectsV2Command({ Bucket, Prefix: prefix, ContinuationToken: token }),
      );
      for (const { Size, Key } of page.Contents ?? []) {
        if (Key.endsWith('/')) continue;
        objects++;
        bytes += Size;
      }
      token = page.NextContinuationToken;
    } while (token !== undefined);
    return { objects, bytes };
  }

  /** Takes away what this left in the store. */
  async remove() {
    const { Bucket, Key: Prefix } = this.#target('');
    for (;;) {
      const { Contents = [] } = await this.#client.send(new ListObjectsV2Command({ Bucket, Prefix }));
      if (Contents.length === 0) return;
      const Objects = Contents.map(({ Key }) => ({ Key }));
      await this.#client.send(new DeleteObjectsCommand({ Bucket, Delete: { Objects } }));
    }
  }

  close() {
    this.#client.destroy();
  }

  #memoryOf(bytes) {
    if (this.#memory.length !== bytes) this.#memory = randomFillSync(Buffer.alloc(bytes));
    return this.#memory;
  }

  async #multipart(to, parts, send) {
    const target = typeof to === 'string' ? this.#target(to) : to;
    const { UploadId } = await this.#client.send(new CreateMultipartUploadCommand(target));
    const Parts = [];
    await inParallel(parts, atOnce, async (i) => {
      const { ETag } = await send({ ...target, UploadId, PartNumber: i + 1 }, i);
      Parts[i] = { PartNumber: i + 1, ETag };
    });
    await this.#client.send(
      new CompleteMultipartUploadCommand({ ...target, UploadId, MultipartUpload: { Parts } }),
    );
  }

  async #read(offset, length, into) {
    let at = offset;
    for await (const chunk of (await this.#get(offset, length)).Body) {
      chunk.copy(into, at);
      at += chunk.length;
    }
    if (at !== offset + length) throw new Error(`a range ended ${offset + length - at} bytes early`);
  }

  async #firstByteAt(offset) {
    const start = performance.now();
    let seconds;
    for await (const _ of (await this.#get(offset, blockBytes)).Body)
      seconds ??= (performance.now() - start) / 1000;
    return seconds;
  }

  #get(offset, length) {
    const range = { Range: `bytes=${offset}-${offset + length - 1}` };
    return this.#client.send(new GetObjectCommand({ ...this.#target('large'), ...range }));
  }
}

async function inParallel(count, width, job) {
  let next = 0;
  const worker = async () => {
    while (next < count) await job(next++);
  };
  await Promise.all(Array.from({ length: Math.min(width, count) }, worker));
}
