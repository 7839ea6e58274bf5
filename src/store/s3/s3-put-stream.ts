import { Readable } from 'node:stream';
import {
  AbortMultipartUploadCommand,
  CompleteMultipartUploadCommand,
  HeadObjectCommand,
  type S3Client,
} from '@aws-sdk/client-s3';
import { Upload } from '@aws-sdk/lib-storage';
import { ArtifactError, isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { throwIfAborted } from '../keys.js';
import type { CallOptions, ProgressOptions, PutResult } from '../object-store.js';
import { readSource } from '../put-stream.js';
import { abortOf, etagOf } from './s3-replies.js';

interface StreamTarget {
  /** Repeats requests by itself: parts are in memory, so they can be sent again. */
  readonly client: S3Client;
  readonly object: { readonly Bucket: string; readonly Key: string };
  /** Parts are sent with a CRC32, which the service keeps. */
  readonly crc32: boolean;
  /** The error of the port for what the SDK throws. */
  readonly classified: (error: unknown) => ArtifactError;
}

type Sent = Parameters<S3Client['send']>[0];

interface FirstFailure {
  readonly error: unknown;
  readonly from: 'caller' | 'complete' | 'other request';
}

/**
 * A stream of unknown length by the SDK's `Upload`, which makes a plain put of one that fits into a part. What `Upload`
 * does after a failure is done here instead: it would read on while the source gives, and tell whichever failure it met
 * last.
 */
export class StreamUpload {
  readonly #to: StreamTarget;
  readonly #source: Readable;
  readonly #options: CallOptions & ProgressOptions;
  readonly #upload: Upload;
  #size = 0;
  #first: FirstFailure | null = null;

  constructor(to: StreamTarget, source: Readable, options: CallOptions & ProgressOptions = {}) {
    this.#to = to;
    this.#source = source;
    this.#options = options;
    this.#upload = new Upload({
      client: this.#watchedClient(),
      params: {
        ...to.object,
        Body: Readable.from(this.#bytes()),
        ...(to.crc32 ? { ChecksumAlgorithm: 'CRC32' } : {}),
      },
      partSize: limits.storeStreamPartBytes,
      queueSize: limits.storeStreamPartsAtOnce,
      leavePartsOnError: true,
    });
    this.#upload.on('httpUploadProgress', ({ loaded = 0 }) => {
      try {
        if (loaded > 0) options.onProgress?.(loaded);
      } catch (error) {
        throw this.#failed('caller', error);
      }
    });
  }

  /** Once. Errors of the source and of the caller's progress are thrown as they are. */
  async run(): Promise<PutResult & { size: number }> {
    try {
      throwIfAborted(this.#options.signal);
      const { ETag } = await this.#upload.done();
      // Some services send an empty ETag after an upload by parts.
      const etag = ETag ? etagOf(ETag) : (await this.#head()).etag;
      return { etag, size: this.#size };
    } catch (error) {
      const { from, error: cause } = this.#first ?? { from: 'other request', error };
      const failure = from === 'caller' ? cause : this.#to.classified(cause);
      if (from === 'complete' && isCode(failure, 'StoreUnavailable', 'NotFound')) {
        const made = await this.#madeAllTheSame();
        if (made !== null) return made;
      }
      await this.#abort();
      throw failure;
    }
  }

  async *#bytes(): AsyncGenerator<Buffer, void> {
    try {
      for await (const chunk of readSource(this.#source, this.#options.signal)) {
        this.#size += chunk.length;
        if (this.#size > limits.storeStreamPartBytes * limits.partsMax)
          throw new ArtifactError('TooLarge', `the stream for ${this.#to.object.Key} is too long`);
        yield chunk;
      }
    } catch (error) {
      throw this.#failed('caller', error);
    }
  }

  #failed(from: FirstFailure['from'], error: unknown): unknown {
    this.#first ??= { from, error };
    this.#source.destroy();
    return error;
  }

  /**
   * The client as `Upload` sees it. `Upload` hands no signal to its requests, and waits for the source after one failed:
   * here each request ends at the signal, and the first that fails ends the source.
   */
  #watchedClient(): S3Client {
    const { client } = this.#to;
    const send = async (command: Sent): Promise<unknown> => {
      try {
        return await client.send(command, abortOf(this.#options));
      } catch (error) {
        throw this.#failed(
          command instanceof CompleteMultipartUploadCommand ? 'complete' : 'other request',
          error,
        );
      }
    };
    return Object.create(client, { send: { value: send } });
  }

  /**
   * When the answer to the completion was lost, or a repetition of it found the upload gone: the key is fresh, so an
   * object of the right size under it is the one that was sent.
   */
  async #madeAllTheSame(): Promise<(PutResult & { size: number }) | null> {
    try {
      const { etag, size } = await this.#head();
      return size === this.#size ? { etag, size } : null;
    } catch {
      return null; // missing, or nobody can tell: the failure of the completion is the one to tell
    }
  }

  async #head(): Promise<{ etag: string; size: number | undefined }> {
    const head = new HeadObjectCommand(this.#to.object);
    const { ETag, ContentLength } = await this.#to.client.send(head, abortOf(this.#options));
    return { etag: etagOf(ETag), size: ContentLength };
  }

  /** `Upload` has ended all of its requests when it fails, so none can add to the upload afterwards. */
  async #abort(): Promise<void> {
    const { uploadId: UploadId } = this.#upload;
    if (UploadId === undefined) return;
    try {
      await this.#to.client.send(new AbortMultipartUploadCommand({ ...this.#to.object, UploadId }));
    } catch {
      // The failure that led here is the one to tell. An upload that cannot be aborted now expires in the store.
    }
  }
}
