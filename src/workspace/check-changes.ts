import { compareEntries, type Entry, entryPath } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import type { PublishRequest } from './commit-types.js';
import { checkFileName } from './names.js';
import { Slices } from './slices.js';

/**
 * Refuses what must not get into a tree: names that break the rules, and (`Internal`: a bug of ours) changes out of
 * order or files whose extents do not add up to their size.
 */
export async function checkRequest(request: PublishRequest): Promise<void> {
  const messageBytes = Buffer.byteLength(request.message);
  if (messageBytes > limits.messageBytesMax)
    throw new ArtifactError(
      'TooLarge',
      `the commit message has ${messageBytes} bytes; ${limits.messageBytesMax} are allowed`,
    );
  if (request.root !== undefined && (entryPath(request.root) !== '' || request.root.kind !== 'dir'))
    throw new ArtifactError('Internal', 'the root of a tree must be a directory without a name');
  const slices = new Slices();
  let previous: { dir: string; name: string } = { dir: '', name: '' };
  for (const change of request.changes) {
    if (compareEntries(previous, change) >= 0)
      throw new ArtifactError('Internal', `staged changes are out of order at ${entryPath(change)}`);
    previous = change;
    if (change.after !== null) checkEntry(change, change.after);
    if (slices.due()) await slices.turn();
  }
}

function checkEntry(key: { dir: string; name: string }, entry: Entry): void {
  const path = entryPath(key);
  if (entry.dir !== key.dir || entry.name !== key.name)
    throw new ArtifactError('Internal', `the change at ${path} holds the entry of ${entryPath(entry)}`);
  checkFileName(entry.name);
  if (entry.kind !== 'file') return;
  const covered = (entry.extents ?? []).reduce((sum, extent) => sum + extent.length, 0);
  const isElsewhere = entry.extra !== undefined && 'ref' in entry.extra;
  if (covered !== entry.size && !(isElsewhere && covered === 0))
    throw new ArtifactError('Internal', `${path}: its extents hold ${covered} bytes, it has ${entry.size}`);
  if ((entry.extents?.length ?? 0) > limits.extentsPerFileMax)
    throw new ArtifactError('Internal', `${path}: more than ${limits.extentsPerFileMax} extents`);
}
