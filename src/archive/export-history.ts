import { createHash, randomUUID } from 'node:crypto';
import { type Pack, pack } from 'tar-stream';
import { ArtifactError } from '../model/errors.js';
import { newCommitId, rootCollectionId } from '../model/ids.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { encodeFormat } from '../workspace/format.js';
import type { CheckedLog } from '../workspace/fsck/log-check.js';
import { formatKey, logKey, objectKey } from '../workspace/keys.js';
import { encodeRecord } from '../workspace/record-codec.js';
import { requireWhole, usedObjects } from '../workspace/whole-artifact.js';
import type { Workspace } from '../workspace/workspace.js';
import { encodeHead, encodeSums, headPath, pathOfKey, sumsPath } from './history.js';

export interface ExportHistoryOptions extends CallOptions {
  readonly workspace: Workspace;
  /** Of the artifact. */
  readonly log: CheckedLog;
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
}

export interface ExportedHistory {
  readonly versions: number;
  /** Versions of which only the records are there. */
  readonly expired: number;
  readonly objects: number;
  readonly bytes: number;
}

const pieceBytesMax = 8 << 20;

/**
 * Writes an artifact with all its versions as a tar, piece by piece: see `HistoryHead`. `Unsupported` for a collection,
 * `Corrupt` when the artifact is not whole.
 */
export async function exportHistory(
  options: ExportHistoryOptions,
  write: (bytes: Buffer) => Promise<void>,
): Promise<ExportedHistory> {
  requireWhole(options.log);
  const tar = pack();
  const written = produce(tar, options).catch((error: unknown) => {
    tar.destroy(error as Error);
    throw error;
  });
  const read = async (): Promise<void> => {
    for await (const bytes of tar as AsyncIterable<Buffer>) await write(bytes);
  };
  const [exported] = await Promise.all([written, read()]);
  return exported;
}

async function produce(
  tar: Pack,
  { workspace, log, onProgress, ...call }: ExportHistoryOptions,
): Promise<ExportedHistory> {
  const { store, format } = workspace;
  const { place, state } = log;
  const { artifactId } = place;
  const name = place.path.split('/').at(-1) ?? '';
  const writer = new TarWriter(tar, new Date(state.headTimeMs));
  const objects = await usedObjects(store, log, call);
  const bytesTotal = [...objects.values()].reduce((sum, size) => sum + size, 0);
  let bytes = 0;
  await writer.small(headPath, encodeHead({ name, artifactId }));
  // Another identity: two workspaces of one id would share their state on a machine.
  await writer.small(pathOfKey(formatKey), encodeFormat({ ...format, workspaceId: randomUUID() }));
  const header = { seq: 1, prev: '', commitId: newCommitId(), ...workspace.writer, time: state.headTimeMs };
  const link = encodeRecord(header, { type: 'link', name, artifactId });
  await writer.small(pathOfKey(logKey(rootCollectionId, 1)), link);
  for (const [object, size] of objects) {
    const key = objectKey(artifactId, object);
    await writer.add(pathOfKey(key), size, pieces(store, key, size, call), (count) => {
      bytes += count;
      onProgress?.(bytes, bytesTotal);
    });
  }
  for (let seq = 1; seq <= state.headSeq; seq++) {
    const key = logKey(artifactId, seq);
    await writer.small(pathOfKey(key), await store.get(key, undefined, call));
  }
  await writer.small(sumsPath, encodeSums(writer.sums));
  tar.finalize();
  const expired = state.versions.filter((version) => version.expired).length;
  return { versions: state.versions.length, expired, objects: objects.size, bytes };
}

async function* pieces(
  store: ObjectStore,
  key: string,
  size: number,
  call: CallOptions,
): AsyncGenerator<Buffer> {
  for (let offset = 0; offset < size; offset += pieceBytesMax)
    yield await store.get(key, { offset, length: Math.min(pieceBytesMax, size - offset) }, call);
}

class TarWriter {
  /** By path. */
  readonly sums = new Map<string, string>();
  readonly #tar: Pack;
  readonly #mtime: Date;

  constructor(tar: Pack, mtime: Date) {
    this.#tar = tar;
    this.#mtime = mtime;
  }

  small(path: string, bytes: Buffer): Promise<void> {
    return this.add(path, bytes.length, [bytes], () => undefined);
  }

  async add(
    name: string,
    size: number,
    pieces: AsyncIterable<Buffer> | Iterable<Buffer>,
    onBytes: (count: number) => void,
  ): Promise<void> {
    const hash = createHash('sha256');
    await new Promise<void>((resolve, reject) => {
      const done = (error?: Error | null) => (error ? reject(error) : resolve());
      const sink = this.#tar.entry({ name, size, type: 'file', mode: 0o644, mtime: this.#mtime }, done);
      const write = (bytes: Buffer): Promise<void> | undefined => {
        if (sink.destroyed) throw new ArtifactError('Interrupted', 'the tar is no longer read');
        return sink.write(bytes) ? undefined : drained(sink);
      };
      const fill = async (): Promise<void> => {
        for await (const bytes of pieces) {
          hash.update(bytes);
          await write(bytes);
          onBytes(bytes.length);
        }
        sink.end(null);
      };
      fill().catch((error: unknown) => {
        reject(error);
        sink.destroy(error as Error);
      });
    });
    this.sums.set(name, hash.digest('hex'));
  }
}

function drained(sink: ReturnType<Pack['entry']>): Promise<void> {
  return new Promise((resolve) => {
    const done = (): void => {
      sink.off('drain', done);
      sink.off('close', done);
      resolve();
    };
    sink.on('drain', done);
    sink.on('close', done);
  });
}
