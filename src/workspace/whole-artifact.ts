import { ArtifactError, isCode } from '../model/errors.js';
import { rootCollectionId } from '../model/ids.js';
import { backoffMs, pause } from '../store/backoff.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import type { CheckedLog } from './fsck/log-check.js';
import { TreeCheck } from './fsck/tree-check.js';
import { logKey, objectKey } from './keys.js';
import { readSlot } from './log.js';
import { StoredTrees } from './tree-store.js';

const slotAttemptsMax = 8;

/** Throws `Unsupported` for a collection, `Corrupt` when the log cannot be read to its end. */
export function requireWhole({ place, state, isWhole }: CheckedLog): void {
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

/**
 * All objects that versions use that live, with their sizes as LIST has them. `Corrupt` when one of them, or a file table, is
 * not as it must be.
 */
export async function usedObjects(
  store: ObjectStore,
  { place, state }: Pick<CheckedLog, 'place' | 'state'>,
  options: CallOptions,
): Promise<Map<string, number>> {
  const sizes = await objectSizes(store, place.artifactId, options);
  const trees = new TreeCheck({ place, sizes, trees: new StoredTrees(store) });
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
        { hint: 'run artifactfs fsck' },
      );
    objects.set(object, size);
  }
  return objects;
}

/** What lies under an artifact's prefix, by key relative to it. */
export async function objectSizes(
  store: ObjectStore,
  artifactId: string,
  options: CallOptions,
): Promise<Map<string, number>> {
  const sizes = new Map<string, number>();
  const prefix = objectKey(artifactId, '');
  for await (const { key, size } of store.list(prefix, options)) sizes.set(key.slice(prefix.length), size);
  return sizes;
}

/** Writes a record of a log that nobody else knows: the slot holds these bytes, or nothing. */
export async function writeOwnSlot(
  store: ObjectStore,
  artifactId: string,
  seq: number,
  bytes: Buffer,
  options: CallOptions,
): Promise<void> {
  for (let attempt = 1; ; attempt++) {
    try {
      await store.putIfAbsent(logKey(artifactId, seq), bytes, options);
      return;
    } catch (error) {
      if (!isCode(error, 'Exists', 'Busy', 'StoreUnavailable')) throw error;
      // Whatever was answered: what is there now counts.
      const found = await readSlot(store, artifactId, seq, options);
      if (found?.equals(bytes)) return;
      if (found !== null || attempt === slotAttemptsMax) throw error;
      await pause(backoffMs(attempt, {}), options.signal);
    }
  }
}
