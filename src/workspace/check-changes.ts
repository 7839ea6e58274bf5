import { compareEntries, type Entry, entryPath } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { isList } from './change-pages.js';
import type { PublishRequest } from './commit-types.js';
import { checkFileName } from './names.js';
import { Slices } from './slices.js';
import type { TreeChange, TreeChanges } from './trees.js';

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
  const { changes } = request;
  if (!isList(changes)) return;
  const check = new ChangeCheck();
  const slices = new Slices();
  for (const change of changes) {
    check.next(change);
    if (slices.due()) await slices.turn();
  }
}

/** The same changes. A list was checked by `checkRequest`; others are, as they are read. */
export function checkedChanges(changes: TreeChanges): TreeChanges {
  return isList(changes) ? changes : { [Symbol.asyncIterator]: () => checkedPages(changes) };
}

async function* checkedPages(pages: AsyncIterable<readonly TreeChange[]>) {
  const check = new ChangeCheck();
  for await (const page of pages) {
    for (const change of page) check.next(change);
    yield page;
  }
}

class ChangeCheck {
  #previous: { readonly dir: string; readonly name: string } = { dir: '', name: '' };

  next(change: TreeChange): void {
    if (compareEntries(this.#previous, change) >= 0)
      throw new ArtifactError('Internal', `staged changes are out of order at ${entryPath(change)}`);
    this.#previous = change;
    if (change.after !== null) checkEntry(change, change.after);
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
