import { readdir, rm, stat } from 'node:fs/promises';
import { join } from 'node:path';

export interface FoundObject {
  readonly name: string;
  /** Bytes its data takes on disk. */
  readonly bytes: number;
}

/**
 * The cached objects in a directory, the one used longest ago first (the index's time is set when it is opened). Half
 * of an object is removed: data without an index is of no use, an index without data is wrong. `skip` names those that
 * somebody has in hand already.
 */
export async function findCached(directory: string, skip: (name: string) => boolean): Promise<FoundObject[]> {
  const found: (FoundObject & { usedMs: number })[] = [];
  for (const file of await readdir(directory)) {
    const name = file.replace(/\.(data|idx)$/, '');
    if (name === file || skip(name)) continue;
    const [index, data] = await Promise.all(
      [`${name}.idx`, `${name}.data`].map((each) => stat(join(directory, each)).catch(() => undefined)),
    );
    // Its owner may have written the other half while we looked.
    if (skip(name)) continue;
    if (index === undefined || data === undefined) await rm(join(directory, file), { force: true });
    else if (file.endsWith('.data')) found.push({ name, bytes: data.blocks * 512, usedMs: index.mtimeMs });
  }
  return found.sort((a, b) => a.usedMs - b.usedMs);
}
