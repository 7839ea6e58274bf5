import { Readable } from 'node:stream';
import { ArtifactError } from '../model/errors.js';
import { newArtifactId } from '../model/ids.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { forEachOf } from '../util/for-each-of.js';
import type { CheckedLog } from './fsck/log-check.js';
import { logKey, objectKey } from './keys.js';
import { findNewName, linkNewName } from './new-name.js';
import { objectSizes, requireWhole, usedObjects, writeOwnSlot } from './whole-artifact.js';
import type { Workspace } from './workspace.js';

export interface CopyArtifactOptions extends CallOptions {
  readonly source: ObjectStore;
  /** Of the artifact in `source`. */
  readonly log: CheckedLog;
  readonly target: Workspace;
  /** Where it gets its name in `target`: names from the root. The collections in it must be there. */
  readonly path: string;
  /** Copies one object inside the store; false where that is not possible. */
  readonly copyInside?: (from: string, to: string, size: number) => Promise<boolean>;
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
}

export interface CopiedArtifact {
  readonly artifactId: string;
  readonly versions: number;
  readonly objects: number;
  readonly bytes: number;
  /** Of `bytes`, what the store copied by itself. */
  readonly bytesInside: number;
}

const objectsAtOnce = 4;
const pieceBytes = 8 << 20;

/**
 * Copies an artifact with its history into a workspace: the records of its log byte by byte, under a new id, and every object
 * that a live version uses. Nobody sees any of it before the name is linked, last of all. When it fails before, what was
 * copied stays without a name. Throws `Unsupported` for a collection, `Corrupt` when the artifact is not whole, `Exists`.
 */
export async function copyArtifact(options: CopyArtifactOptions): Promise<CopiedArtifact> {
  const { source, log, target } = options;
  const { artifactId: from } = log.place;
  const name = await findNewName(target, options.path, options);
  requireWhole(log);
  const artifactId = newArtifactId();
  const objects = await usedObjects(source, log, options);
  const progress = { bytes: 0, bytesInside: 0 };
  const bytesTotal = [...objects.values()].reduce((sum, size) => sum + size, 0);
  const onBytes = (bytes: number): void => {
    progress.bytes += bytes;
    options.onProgress?.(progress.bytes, bytesTotal);
  };
  await forEachOf(objects, objectsAtOnce, async ([object, size]) => {
    const [key, copy] = [objectKey(from, object), objectKey(artifactId, object)];
    if ((await options.copyInside?.(key, copy, size)) === true) {
      progress.bytesInside += size;
      onBytes(size);
    } else await copyBytes(source, target.store, key, copy, size, onBytes, options);
  });
  await checkSizes(target.store, artifactId, objects, options);
  for (let seq = 1; seq <= log.state.headSeq; seq++) await copyRecord(options, artifactId, seq);
  await linkNewName(target, name, artifactId, options);
  return { artifactId, versions: log.state.versions.length, objects: objects.size, ...progress };
}

async function copyBytes(
  source: ObjectStore,
  target: ObjectStore,
  from: string,
  to: string,
  size: number,
  onBytes: (bytes: number) => void,
  options: CallOptions,
): Promise<void> {
  async function* pieces() {
    for (let offset = 0; offset < size; offset += pieceBytes) {
      const length = Math.min(pieceBytes, size - offset);
      yield await source.get(from, { offset, length }, options);
      onBytes(length);
    }
  }
  if (size > pieceBytes) await target.putStream(to, Readable.from(pieces(), { objectMode: false }), options);
  else for await (const piece of pieces()) await target.put(to, piece, options);
}

/** Before anything refers to them. */
async function checkSizes(
  store: ObjectStore,
  artifactId: string,
  wanted: ReadonlyMap<string, number>,
  options: CallOptions,
): Promise<void> {
  const sizes = await objectSizes(store, artifactId, options);
  for (const [object, size] of wanted)
    if (sizes.get(object) !== size)
      throw new ArtifactError('Corrupt', `${objectKey(artifactId, object)} was not copied as it is`);
}

async function copyRecord(
  { source, log, target, ...options }: CopyArtifactOptions,
  artifactId: string,
  seq: number,
): Promise<void> {
  const bytes = await source.get(logKey(log.place.artifactId, seq), undefined, options);
  await writeOwnSlot(target.store, artifactId, seq, bytes, options);
}
