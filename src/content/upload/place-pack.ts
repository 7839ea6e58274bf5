import type { ObjectStore } from '../../store/object-store.js';
import type { UploadJournal } from '../ports.js';
import type { TransferQueue } from '../transfer-queue.js';
import type { PackWriter } from './pack-writer.js';
import type { ContentKeys } from './stream-uploads.js';
import type { UploadOwner } from './upload-attempts.js';
import { verifyStored } from './verify-stored.js';

export interface PlacePackParts {
  readonly store: ObjectStore;
  readonly keys: ContentKeys;
  readonly journal: UploadJournal;
  readonly queue: TransferQueue;
  /** A pack is in the store: its bytes may be cached. */
  readonly onPack: (key: string, bytes: Buffer) => void;
}

/** A pack that the store has taken. */
export interface PlacedPack {
  /** As an extent names it. */
  readonly object: string;
  readonly bytes: number;
  /** Proves that the store has it. */
  readonly verify: () => Promise<void>;
}

/** Sends a pack that is not empty. `isUrgent`: somebody waits for it. */
export async function placePack(
  { store, keys, journal, queue, onPack }: PlacePackParts,
  owner: UploadOwner,
  pack: PackWriter,
  isUrgent: boolean,
  signal: AbortSignal,
): Promise<PlacedPack> {
  const object = keys.packObject(owner.stageId, journal.nextObjectNumber(owner.stageId));
  const key = keys.objectKey(owner.artifactId, object);
  const bytes = pack.seal();
  await queue.run(bytes.length, isUrgent, () => store.put(key, bytes, { signal })).promise;
  const verify = async () => {
    await verifyStored(store, key, bytes.length, signal);
    onPack(key, bytes);
  };
  return { object, bytes: bytes.length, verify };
}
