import { limits } from '../../model/limits.js';
import { throwIfAborted } from '../../store/keys.js';
import type { CallOptions, ObjectStore } from '../../store/object-store.js';
import { crashPoint } from '../../util/crash-point.js';
import { parseKey } from '../keys.js';
import type { Amount, Condemned } from './condemn.js';

/**
 * Deletes condemned objects, data before trees: what is left when it is cut off is unreachable still, and the next run
 * finds it. `onFreed` is told after each batch what the store has confirmed so far.
 */
export async function sweep(
  store: ObjectStore,
  condemned: readonly Condemned[],
  onFreed: (freed: Amount) => void,
  options: CallOptions = {},
): Promise<Amount> {
  const ordered = [...condemned].sort((a, b) => Number(isTree(a)) - Number(isTree(b)));
  let freed: Amount = { objects: 0, bytes: 0 };
  for (let start = 0; start < ordered.length; start += limits.gcBatchKeys) {
    const batch = ordered.slice(start, start + limits.gcBatchKeys).filter(isOurs);
    throwIfAborted(options.signal);
    crashPoint('gc-batch');
    await store.deleteMany(
      batch.map(({ key }) => key),
      options,
    );
    const bytes = batch.reduce((sum, { size }) => sum + size, 0);
    freed = { objects: freed.objects + batch.length, bytes: freed.bytes + bytes };
    onFreed(freed);
  }
  return freed;
}

const isTree = ({ object }: Condemned): boolean => object.startsWith('t/');

/** The last look before anything is deleted: a tree or data object of the layout, and nothing else. */
function isOurs({ key }: Condemned): boolean {
  const type = parseKey(key)?.type;
  return type === 'tree' || type === 'data';
}
