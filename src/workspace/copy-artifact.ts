import { Readable } from 'node:stream';
import { ArtifactError, isCode } from '../model/errors.js';
import { newArtifactId, newCommitId, newStageId, rootCollectionId } from '../model/ids.js';
import { backoffMs, pause } from '../store/backoff.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { forEachOf } from '../util/for-each-of.js';
import { ForgetfulJournal } from './forgetful-journal.js';
import type { CheckedLog } from './fsck/log-check.js';
import { NamedLogs } from './fsck/named-logs.js';
import { TreeCheck } from './fsck/tree-check.js';
import { logKey, objectKey } from './keys.js';
import { readSlot } from './log.js';
import { applyRecord, emptyArtifactState } from './replay.js';
import { StoredTrees } from './tree-store.js';
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
const slotAttemptsMax = 8;

/**
 * Copies an artifact with its history into a workspace: the records of its log byte by byte, under a new id, and every object
 * that a live version uses. Nobody sees any of it before the name is linked, last of all. When it fails before, what was
 * copied stays without a name. Throws `Unsupported` for a collection, `Corrupt` when the artifact is not whole, `Exists`.
 */
export async function copyArtifact(options: CopyArtifactOptions): Promise<CopiedArtifact> {
  const { source, log, target } = options;
  const { artifactId: from } = log.place;
  const { collectionId, name } = await placeOf(target, options.path, options);
  requireWhole(log);
  const artifactId = newArtifactId();
  const objects = await objectsOf(options);
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
  await link(target, collectionId, name, artifactId, options);
  return { artifactId, versions: log.state.versions.length, objects: objects.size, ...progress };
}

function requireWhole({ place, state, isWhole }: CheckedLog): void {
  if (
    state.children.size > 0 ||
    state.manifest['type'] === 'collection' ||
    place.artifactId === rootCollectionId
  )
    throw new ArtifactError('Unsupported', `${place.path === '' ? 'the root' : place.path} is a collection`, {
      hint: 'export the artifacts in it one by one',
    });
  if (isWhole && state.headSeq > 0) return;
  throw new ArtifactError('Corrupt', `the log of ${place.path} is damaged`, { hint: 'run artifactfs fsck' });
}

/** Sizes of all objects that live versions use, as LIST has them. */
async function objectsOf({ source, log, ...options }: CopyArtifactOptions): Promise<Map<string, number>> {
  const { place, state } = log;
  const sizes = await sizesOf(source, place.artifactId, options);
  const trees = new TreeCheck({ place, sizes, trees: new StoredTrees(source) });
  for (const version of state.versions) if (!version.expired) await trees.check(version, options);
  const [damage] = trees.findings();
  if (damage !== undefined)
    throw new ArtifactError('Corrupt', `${place.path}: ${damage.what}`, { hint: 'run artifactfs fsck' });
  const objects = new Map<string, number>();
  for (const object of [...trees.treeObjects, ...trees.dataEnds.keys()]) {
    const size = sizes.get(object);
    if (size === undefined || size < (trees.dataEnds.get(object) ?? 0))
      throw new ArtifactError(
        'Corrupt',
        `${place.path}: ${objectKey(place.artifactId, object)} is missing or cut`,
        {
          hint: 'run artifactfs fsck',
        },
      );
    objects.set(object, size);
  }
  return objects;
}

async function sizesOf(store: ObjectStore, artifactId: string, options: CallOptions) {
  const sizes = new Map<string, number>();
  const prefix = objectKey(artifactId, '');
  for await (const { key, size } of store.list(prefix, options)) sizes.set(key.slice(prefix.length), size);
  return sizes;
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
  const sizes = await sizesOf(store, artifactId, options);
  for (const [object, size] of wanted)
    if (sizes.get(object) !== size)
      throw new ArtifactError('Corrupt', `${objectKey(artifactId, object)} was not copied as it is`);
}

/** Nobody else knows the id: the slot holds these bytes, or nothing. */
async function copyRecord(
  { source, log, target, ...options }: CopyArtifactOptions,
  artifactId: string,
  seq: number,
): Promise<void> {
  const bytes = await source.get(logKey(log.place.artifactId, seq), undefined, options);
  for (let attempt = 1; ; attempt++) {
    try {
      await target.store.putIfAbsent(logKey(artifactId, seq), bytes, options);
      return;
    } catch (error) {
      if (!isCode(error, 'Exists', 'Busy', 'StoreUnavailable')) throw error;
      // Whatever was answered: what is there now counts.
      const found = await readSlot(target.store, artifactId, seq, options);
      if (found?.equals(bytes)) return;
      if (found !== null || attempt === slotAttemptsMax) throw error;
      await pause(backoffMs(attempt, {}), options.signal);
    }
  }
}

async function placeOf(target: Workspace, path: string, options: CallOptions) {
  const names = path.split('/').filter((part) => part !== '');
  const name = names.pop();
  if (name === undefined) throw new ArtifactError('Invalid', 'the copy needs a name');
  const { log, path: rest } = await new NamedLogs(target.store, options).find([names.join('/')]);
  if (rest !== '')
    throw new ArtifactError('NotFound', `${target.store.url} has no collection '${names.join('/')}'`);
  if (log.state.children.has(name)) throw taken(path);
  return { collectionId: log.place.artifactId, name };
}

async function link(
  target: Workspace,
  collectionId: string,
  name: string,
  artifactId: string,
  options: CallOptions,
): Promise<void> {
  const request = {
    artifactId: collectionId,
    commitId: newCommitId(),
    stageId: newStageId(),
    sinceSeq: 0,
    sincePrev: '',
  };
  await target.append(
    request,
    (since) => {
      const state = emptyArtifactState();
      for (const record of since) applyRecord(state, record);
      if (state.children.has(name)) throw taken(name);
      return { type: 'link', name, artifactId };
    },
    new ForgetfulJournal(),
    options,
  );
}

const taken = (path: string) =>
  new ArtifactError('Exists', `${path} exists already`, { hint: 'choose another name' });
