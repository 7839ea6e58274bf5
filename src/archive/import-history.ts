import { createHash } from 'node:crypto';
import { Readable } from 'node:stream';
import { ArtifactError } from '../model/errors.js';
import { newArtifactId, rootCollectionId } from '../model/ids.js';
import { limits } from '../model/limits.js';
import type { CallOptions } from '../store/object-store.js';
import { requireReadable } from '../workspace/features.js';
import { decodeFormat } from '../workspace/format.js';
import { objectKey, parseKey } from '../workspace/keys.js';
import { findNewName, linkNewName } from '../workspace/new-name.js';
import { decodeRecord } from '../workspace/record-codec.js';
import { applyRecord, emptyArtifactState, type ReplayState } from '../workspace/replay.js';
import { usedObjects, writeOwnSlot } from '../workspace/whole-artifact.js';
import type { Workspace } from '../workspace/workspace.js';
import { dropObjects } from './artifact-writer.js';
import { decodeHead, decodeSums, headPath, keyOfPath, sumsPath } from './history.js';
import type { TarEntry } from './read-tar.js';

export interface ImportHistoryOptions extends CallOptions {
  readonly target: Workspace;
  /** Names from the root; undefined: the name in the tar. */
  readonly path: string | undefined;
  readonly onProgress?: (bytesDone: number) => void;
}

export interface ImportedHistory {
  readonly artifactId: string;
  readonly path: string;
  readonly versions: number;
  /** Versions of which only the records are there. */
  readonly expired: number;
  readonly objects: number;
  readonly bytes: number;
}

export const isHistory = (entry: TarEntry): boolean => entry.header.name === headPath;

/**
 * Makes the artifact of a tar with history a new one here: the same records byte by byte, under a new id. `first` is the
 * entry that `isHistory`, `others` all after it. Its name is linked when everything was stored and found to be what the
 * checksums, the log and the file tables say; what ends it before leaves nothing.
 */
export async function importHistory(
  first: TarEntry,
  others: AsyncIterable<TarEntry>,
  { target, path, onProgress, ...call }: ImportHistoryOptions,
): Promise<ImportedHistory> {
  target.requireWritable();
  const reading = new HistoryReader(target, call, onProgress);
  const head = await reading.head(first);
  const place = path ?? head.name;
  const name = await findNewName(target, place, call);
  const { artifactId } = reading;
  let state: ReplayState;
  try {
    for await (const entry of others) await reading.entry(entry);
    state = reading.finish();
    await usedObjects(target.store, { place: { artifactId, path: place }, state }, call);
    call.signal?.throwIfAborted();
  } catch (error) {
    await dropObjects(target.store, artifactId).catch(() => undefined); // the reason is in `error`
    throw error;
  }
  for (const [index, record] of reading.records.entries())
    await writeOwnSlot(target.store, artifactId, index + 1, record, {});
  await linkNewName(target, name, artifactId, {});
  const expired = state.versions.filter((version) => version.expired).length;
  return { artifactId, path: place, versions: state.versions.length, expired, ...reading.totals };
}

class HistoryReader {
  readonly artifactId = newArtifactId();
  /** In order, without gaps once `finish` has answered. */
  readonly records: Buffer[] = [];
  readonly totals = { objects: 0, bytes: 0 };
  readonly #target: Workspace;
  readonly #call: CallOptions;
  readonly #onProgress: ((bytesDone: number) => void) | undefined;
  readonly #sums = new Map<string, string>();
  #listed: ReadonlyMap<string, string> | null = null;
  #from = '';
  #read = 0;

  constructor(target: Workspace, call: CallOptions, onProgress: ((bytesDone: number) => void) | undefined) {
    this.#target = target;
    this.#call = call;
    this.#onProgress = onProgress;
  }

  async head(entry: TarEntry) {
    const head = decodeHead(`the entry ${headPath} of the tar`, await this.#whole(entry));
    this.#from = head.artifactId;
    return head;
  }

  async entry(entry: TarEntry): Promise<void> {
    this.#call.signal?.throwIfAborted();
    const { name } = entry.header;
    if (name === sumsPath) {
      this.#listed = decodeSums(await bytesOf(entry));
      return;
    }
    const key = parseKey(keyOfPath(name) ?? '');
    if (key?.type === 'format') decodeFormat(`${name} in the tar`, await this.#whole(entry));
    else if (key?.type === 'log' && key.artifactId === rootCollectionId) await this.#whole(entry);
    else if (key === null || !('artifactId' in key) || key.artifactId !== this.#from) throw foreign(name);
    else if (key.type === 'log') this.records[key.seq - 1] = await this.#whole(entry);
    else if (key.type === 'tree' || key.type === 'data') await this.#object(entry);
    else throw foreign(name);
  }

  /** What the log says. `Corrupt` unless everything came, and came as it was. */
  finish(): ReplayState {
    const listed = this.#listed;
    if (listed === null) throw damaged(`it has no ${sumsPath}: it was cut`);
    for (const [path, sha256] of listed)
      if (this.#sums.get(path) !== sha256)
        throw damaged(
          `${path} ${this.#sums.has(path) ? 'has other bytes than were exported' : 'is missing'}`,
        );
    for (const path of this.#sums.keys()) if (!listed.has(path)) throw foreign(path);
    const state = emptyArtifactState();
    for (let seq = 1; seq <= this.records.length; seq++) {
      const bytes = this.records[seq - 1];
      if (bytes === undefined) throw damaged(`log record ${seq} is missing`);
      applyRecord(state, decodeRecord(`log record ${seq} in the tar`, bytes, seq, state.headHash));
    }
    if (state.versions.length === 0) throw damaged('it has no version');
    requireReadable('the artifact in the tar', state.features);
    return state;
  }

  async #object(entry: TarEntry): Promise<void> {
    const { name, size } = entry.header;
    const object = (keyOfPath(name) ?? '').slice(objectKey(this.#from, '').length);
    const key = objectKey(this.artifactId, object);
    if (size < limits.storePartBytesMin)
      await this.#target.store.put(key, await this.#whole(entry), this.#call);
    else {
      const bytes = Readable.from(this.#bytes(entry), { objectMode: false });
      await this.#target.store.putStream(key, bytes, this.#call);
    }
    this.totals.objects++;
    this.totals.bytes += size;
  }

  /** Of what is small. */
  async #whole(entry: TarEntry): Promise<Buffer> {
    if (entry.header.size > limits.storePartBytesMin) throw foreign(entry.header.name);
    const chunks: Buffer[] = [];
    for await (const chunk of this.#bytes(entry)) chunks.push(chunk);
    return Buffer.concat(chunks);
  }

  async *#bytes({ header, content }: TarEntry): AsyncGenerator<Buffer> {
    const hash = createHash('sha256');
    for await (const chunk of content) {
      hash.update(chunk);
      this.#read += chunk.length;
      this.#onProgress?.(this.#read);
      yield chunk;
    }
    this.#sums.set(header.name, hash.digest('hex'));
  }
}

/** The list of checksums grows with the number of objects. */
async function bytesOf({ content }: TarEntry): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of content) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const foreign = (name: string) => damaged(`${name} is not of an export`);
const damaged = (what: string) =>
  new ArtifactError('Corrupt', `the tar is damaged: ${what}`, { hint: 'export the artifact again' });
