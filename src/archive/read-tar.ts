import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { createGunzip } from 'node:zlib';
import { type Extract, extract, type Header } from 'tar-stream';
import { ArtifactError } from '../model/errors.js';

export interface TarEntry {
  readonly header: Header;
  /** Of the header's pax records; later ones have replaced earlier ones. */
  readonly pax: Readonly<Record<string, string>>;
  readonly content: AsyncIterable<Buffer>;
}

const blockBytes = 512;

/**
 * The entries of a tar, plain or gzipped. The content of one must be read before the next one is asked for. `Corrupt` when
 * it is no tar, or was cut.
 */
export async function* readTar(shown: string, source: AsyncIterable<Buffer>): AsyncGenerator<TarEntry> {
  const extractor = extract();
  const fed = feed(extractor, shown, source);
  try {
    for await (const entry of extractor) {
      const { header } = entry;
      const pax = (header.pax ?? {}) as Record<string, string>;
      yield { header, pax, content: wholeContent(shown, entry as AsyncIterable<Buffer>) };
      for await (const _ of entry); // what nobody read
    }
    await fed;
  } catch (error) {
    throw asDamage(shown, error);
  } finally {
    extractor.destroy();
  }
}

async function* wholeContent(shown: string, content: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  try {
    yield* content;
  } catch (error) {
    throw asDamage(shown, error);
  }
}

function asDamage(shown: string, error: unknown): ArtifactError {
  if (error instanceof ArtifactError) return error;
  return new ArtifactError(
    'Corrupt',
    `${shown} is no tar, or was cut: ${(error as Error).message}`,
    {},
    error,
  );
}

/** Ends the extractor with what is wrong. */
async function feed(extractor: Extract, shown: string, source: AsyncIterable<Buffer>): Promise<void> {
  let last: Buffer = Buffer.alloc(0);
  try {
    for await (const chunk of await unzipped(source)) {
      if (extractor.destroyed) return;
      if (!extractor.write(chunk)) await drained(extractor);
      last =
        chunk.length >= blockBytes
          ? chunk.subarray(-blockBytes)
          : Buffer.concat([last, chunk]).subarray(-blockBytes);
    }
    // What is cut between two entries lacks only this.
    if (last.length < blockBytes || last.some((byte) => byte !== 0))
      throw new ArtifactError('Corrupt', `${shown} ends without the mark that ends a tar: it was cut`);
    extractor.end(null);
  } catch (error) {
    extractor.destroy(error as Error);
  }
}

function drained(extractor: Extract): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      extractor.off('drain', done);
      extractor.off('close', done);
      resolve();
    };
    extractor.on('drain', done);
    extractor.on('close', done);
  });
}

async function unzipped(source: AsyncIterable<Buffer>): Promise<AsyncIterable<Buffer>> {
  const chunks = source[Symbol.asyncIterator]();
  const first = await chunks.next();
  async function* all(): AsyncGenerator<Buffer> {
    for (let next = first; next.done !== true; next = await chunks.next()) yield next.value;
  }
  if (first.done === true || first.value[0] !== 0x1f || first.value[1] !== 0x8b) return all();
  const unzip = createGunzip();
  pipeline(Readable.from(all()), unzip).catch(() => undefined); // who reads `unzip` is told
  return unzip;
}
