import { entryPath } from '../../model/entry.js';
import { isCode } from '../../model/errors.js';
import type { CallOptions, ObjectStore } from '../../store/object-store.js';
import { objectKey } from '../keys.js';
import type { ReplayedVersion } from '../replay.js';
import { Affected } from './affected.js';
import { type Finding, finding, type Place } from './findings.js';
import type { ObjectSizes, TreeCheck } from './tree-check.js';

/**
 * Every data object that `trees` found in use must be as long as its files need it. What LIST does not show like that is
 * asked for by HEAD before it is called damage. Answers what is wrong, with the versions and files that it concerns.
 */
export async function checkObjects(
  store: ObjectStore,
  place: Place,
  trees: TreeCheck,
  versions: readonly ReplayedVersion[],
  sizes: ObjectSizes,
  options: CallOptions,
): Promise<Finding[]> {
  const short = new Map<string, { size: number | null; affected: Affected }>();
  for (const [object, end] of trees.dataEnds) {
    if ((sizes.get(object) ?? -1) >= end) continue;
    const size = await sizeOf(store, objectKey(place.artifactId, object), options);
    if (size === null || size < end) short.set(object, { size, affected: new Affected() });
  }
  if (short.size === 0) return [];
  for (const version of versions)
    for await (const entries of trees.entries(version, options))
      for (const entry of entries)
        for (const { object, offset, length } of entry.extents ?? []) {
          const found = object === null ? undefined : short.get(object);
          if (found === undefined || (found.size !== null && found.size >= offset + length)) continue;
          found.affected.version(version.version);
          found.affected.file(entryPath(entry));
        }
  return [...short].map(([object, { size, affected }]) =>
    affected.completed(damage(place, object, size, trees.dataEnds.get(object) ?? 0)),
  );
}

function damage(place: Place, object: string, size: number | null, end: number): Finding {
  const key = objectKey(place.artifactId, object);
  const means = 'the files in it cannot be read';
  if (size === null)
    return finding(place, {
      severity: 'damage',
      code: 'object-missing',
      key,
      what: 'the data object is not there',
      means,
    });
  const what = `the data object has ${size} bytes, and files have bytes in it up to ${end}`;
  return finding(place, {
    severity: 'damage',
    code: 'object-truncated',
    key,
    offset: size,
    length: end - size,
    what,
    means: 'the files that end behind that cannot be read whole',
  });
}

/** null: the store proves that it is not there. */
async function sizeOf(store: ObjectStore, key: string, options: CallOptions): Promise<number | null> {
  try {
    return (await store.head(key, options)).size;
  } catch (error) {
    if (isCode(error, 'NotFound')) return null;
    throw error;
  }
}
