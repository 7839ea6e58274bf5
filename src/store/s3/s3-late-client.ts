import type { S3Client } from '@aws-sdk/client-s3';
import { ArtifactError } from '../../model/errors.js';
import { GetPools } from './get-pools.js';
import { type S3Options, s3Defaults } from './s3-options.js';

type Sdk = typeof import('./s3-sdk.js');

/** The SDK, and the clients made of it: one that sends everything once, and one for streams that repeats what fails. */
export interface LoadedClient extends Sdk {
  readonly client: S3Client;
  readonly repeatingClient: S3Client;
}

/** A client whose SDK is loaded when a request first needs it. Its connections for GETs are there before. */
export class LateClient {
  readonly pools: GetPools;
  readonly #options: S3Options;
  readonly #signsBodies: () => boolean;
  #loading: Promise<LoadedClient> | undefined;
  #destroyed = false;

  constructor(options: S3Options, signsBodies: () => boolean) {
    this.#options = options;
    this.#signsBodies = signsBodies;
    this.pools = new GetPools({
      connectMsMax: options.connectMsMax ?? s3Defaults.connectMsMax,
      idleMsMax: options.idleMsMax ?? s3Defaults.idleMsMax,
      socketsMax: options.socketsMax ?? s3Defaults.socketsMax,
    });
  }

  /** Throws `Internal` when the files of the program are gone; the next call tries again. */
  load(): Promise<LoadedClient> {
    this.#loading ??= this.#load().catch((error: unknown) => {
      this.#loading = undefined;
      const { message } = error as Error;
      // No fault of the store, which asking again could mend.
      throw new ArtifactError(
        'Internal',
        `the part of artifactfs that writes to S3 cannot be loaded: ${message}`,
        { hint: 'artifactfs was replaced on disk while it ran: unmount and mount again' },
        error,
      );
    });
    return this.#loading;
  }

  destroy(): void {
    this.#destroyed = true;
    this.pools.destroy();
    this.#loading?.then(
      ({ client }) => client.destroy(),
      () => undefined, // who asked for it was told
    );
  }

  async #load(): Promise<LoadedClient> {
    const sdk = await import('./s3-sdk.js');
    const client = sdk.createS3Client(this.#options, this.#signsBodies, this.pools);
    if (this.#destroyed) client.destroy();
    const repeatingClient = sdk.createRepeatingClient(client, this.#options, this.#signsBodies);
    return { ...sdk, client, repeatingClient };
  }
}
