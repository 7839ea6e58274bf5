import type { S3Client } from '@aws-sdk/client-s3';
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

  load(): Promise<LoadedClient> {
    this.#loading ??= this.#load();
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
