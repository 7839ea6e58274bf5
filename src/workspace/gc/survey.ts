import type { CallOptions, ObjectStore } from '../../store/object-store.js';
import { artifactPrefix, parseKey } from '../keys.js';

/** A tree or data object as the store lists it. */
export interface ListedObject {
  readonly key: string;
  /** Relative to the artifact, as extents and trees name it. */
  readonly object: string;
  readonly stageId: string;
  readonly size: number;
  /** By the store's clock. */
  readonly modifiedMs: number;
}

/** What lies under one artifact's prefix. All times are the store's. */
export interface Survey {
  readonly artifactId: string;
  readonly objects: readonly ListedObject[];
  /** Record number -> when it was written. */
  readonly recordTimes: ReadonlyMap<number, number>;
  /** Stage -> when its lease was written last. */
  readonly leaseTimes: ReadonlyMap<string, number>;
  /** Keys of no pattern that this build knows: nobody deletes them. */
  readonly unknownKeys: number;
}

/** One LIST of everything under the artifact. */
export async function survey(
  store: ObjectStore,
  artifactId: string,
  options: CallOptions = {},
): Promise<Survey> {
  const prefix = artifactPrefix(artifactId);
  const objects: ListedObject[] = [];
  const recordTimes = new Map<number, number>();
  const leaseTimes = new Map<string, number>();
  let unknownKeys = 0;
  for await (const { key, size, modifiedMs } of store.list(prefix, options)) {
    const parsed = parseKey(key);
    if (parsed === null) unknownKeys++;
    else if (parsed.type === 'log') recordTimes.set(parsed.seq, modifiedMs);
    else if (parsed.type === 'lease') leaseTimes.set(parsed.stageId, modifiedMs);
    else if (parsed.type === 'tree' || parsed.type === 'data') {
      const object = key.slice(prefix.length);
      objects.push({ key, object, stageId: parsed.stageId, size, modifiedMs });
    }
  }
  return { artifactId, objects, recordTimes, leaseTimes, unknownKeys };
}

/** The ids of all artifacts of which the store has any key, whether or not a name leads to them. */
export async function* artifactIds(store: ObjectStore, options: CallOptions = {}): AsyncGenerator<string> {
  let startAfter = '';
  for (;;) {
    let found: string | null = null;
    for await (const { key } of store.list('a/', {
      ...options,
      ...(startAfter === '' ? {} : { startAfter }),
    })) {
      const parsed = parseKey(key);
      if (parsed === null || !('artifactId' in parsed)) continue;
      found = parsed.artifactId;
      break;
    }
    if (found === null) return;
    yield found;
    // '0' is what comes after '/': all keys of this artifact are before it.
    startAfter = `${artifactPrefix(found).slice(0, -1)}0`;
  }
}
