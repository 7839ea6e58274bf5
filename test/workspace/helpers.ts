import type { Entry, Kind } from '../../src/model/entry.js';
import { compareEntries, entryPath, splitPath, time } from '../../src/model/entry.js';
import { isCode } from '../../src/model/errors.js';
import { newCommitId, newStageId } from '../../src/model/ids.js';
import type {
  Intent,
  IntentJournal,
  Publisher,
  PublishRequest,
  PublishResult,
} from '../../src/workspace/commit-types.js';
import type { TreeRef } from '../../src/workspace/records.js';
import type { Metarange, PathChange, TreeReader } from '../../src/workspace/trees.js';

export const artifactId = '01890000-0000-7000-8000-000000000001';

/** An intent journal as stage.db is: what was saved survives the code that saved it. */
export class MemoryJournal implements IntentJournal {
  readonly intents = new Map<string, Intent>();
  /** Every state an intent went through, in order. */
  readonly history: Intent['state'][] = [];

  save(intent: Intent): void {
    this.intents.set(intent.commitId, intent);
    this.history.push(intent.state);
  }

  pending(ofArtifact?: string): Intent[] {
    return [...this.intents.values()].filter(
      (intent) => ofArtifact === undefined || intent.artifactId === ofArtifact,
    );
  }

  remove(commitId: string): void {
    this.intents.delete(commitId);
  }
}

/** What became of an intent, asked for until it is known: as a machine does that comes back. null: it never took place. */
export async function settled(
  publisher: Publisher,
  journal: MemoryJournal,
  commitId: string,
): Promise<PublishResult | null> {
  for (;;) {
    const intent = journal.intents.get(commitId);
    if (intent === undefined) throw new Error('the intent is gone before its outcome is known');
    try {
      return await publisher.resolve(intent, journal);
    } catch (error) {
      if (!isCode(error, 'OutcomeUnknown')) throw error;
    }
  }
}

export function entryAt(path: string, kind: Kind, ino: number, more: Partial<Entry> = {}): Entry {
  const stamp = time(1_700_000_000, 5);
  return {
    ...splitPath(path),
    kind,
    ino,
    mode: kind === 'dir' ? 0o755 : 0o644,
    uid: 1000,
    gid: 1000,
    nlink: kind === 'dir' ? 2 : 1,
    size: 0,
    mtime: stamp,
    ctime: stamp,
    ...more,
  };
}

/** A file whose bytes are told by `content`: the same text is the same object. */
export function fileAt(path: string, ino: number, content: string, more: Partial<Entry> = {}): Entry {
  const size = content.length;
  const object = `d/aaaa01ARZ3NDEKTSV4RRFFQ69G5F/1-${content}`;
  return entryAt(path, 'file', ino, {
    size,
    ...(size === 0 ? {} : { extents: [{ object, offset: 0, length: size }], sha256: sha(content) }),
    ...more,
  });
}

const sha = (content: string): string => Buffer.from(content).toString('hex').padEnd(64, '0').slice(0, 64);

export const dirAt = (path: string, ino: number, more: Partial<Entry> = {}): Entry =>
  entryAt(path, 'dir', ino, more);

export const rootEntry = (more: Partial<Entry> = {}): Entry => dirAt('', 1, more);

export const added = (after: Entry): PathChange => ({
  dir: after.dir,
  name: after.name,
  before: null,
  after,
});
export const removed = (before: Entry): PathChange => ({
  dir: before.dir,
  name: before.name,
  before,
  after: null,
});
export const changed = (before: Entry, after: Entry): PathChange => ({
  dir: after.dir,
  name: after.name,
  before,
  after,
});

export const inOrder = <T extends { dir: string; name: string }>(items: readonly T[]): T[] =>
  [...items].sort(compareEntries);

export function publishRequest(
  changes: readonly PathChange[],
  more: Partial<PublishRequest> = {},
): PublishRequest {
  const isFirst = (more.base ?? null) === null;
  return {
    artifactId,
    commitId: newCommitId(),
    stageId: newStageId(),
    base: null,
    changes: inOrder(changes),
    ...(isFirst ? { root: rootEntry() } : {}),
    inoPrefixes: [],
    message: 'test',
    inputs: [],
    onConflict: 'fail',
    ...more,
  };
}

/** All entries of a tree, the root first, by path. */
export async function readTree(
  trees: TreeReader,
  tree: TreeRef,
  ofArtifact = artifactId,
): Promise<{ metarange: Metarange; entries: Map<string, Entry> }> {
  const metarange = await trees.metarange(ofArtifact, tree);
  const entries = new Map<string, Entry>([['', metarange.root]]);
  for (const range of metarange.ranges)
    for (const entry of await trees.range(ofArtifact, range)) entries.set(entryPath(entry), entry);
  return { metarange, entries };
}

/** What must hold in every tree: parents are directories, counts of names are right, names of one file agree. */
export function checkTree(entries: ReadonlyMap<string, Entry>, metarange: Metarange): void {
  const problems: string[] = [];
  const names = new Map<number, Entry[]>();
  const subDirectories = new Map<string, number>();
  let bytes = 0;
  for (const [path, entry] of entries) {
    if (entry.kind === 'file') bytes += entry.size;
    if (path === '') continue;
    if (entries.get(entry.dir)?.kind !== 'dir') problems.push(`${path}: no directory above`);
    if (entry.kind === 'dir') subDirectories.set(entry.dir, (subDirectories.get(entry.dir) ?? 0) + 1);
    names.set(entry.ino, [...(names.get(entry.ino) ?? []), entry]);
  }
  for (const [path, entry] of entries) {
    if (entry.kind !== 'dir') continue;
    const nlink = 2 + (subDirectories.get(path) ?? 0);
    if (entry.nlink !== nlink) problems.push(`${path || '/'}: nlink ${entry.nlink}, not ${nlink}`);
  }
  for (const [ino, group] of names) {
    for (const entry of group) {
      if (entry.kind === 'dir' && group.length > 1)
        problems.push(`directory ${ino} has ${group.length} names`);
      if (entry.kind !== 'dir' && entry.nlink !== group.length)
        problems.push(`${entryPath(entry)}: nlink ${entry.nlink}, not ${group.length}`);
      if (entry.sha256 !== group[0]?.sha256) problems.push(`names of ${ino} have different bytes`);
    }
  }
  if (metarange.entries !== entries.size - 1)
    problems.push(`${metarange.entries} entries said, ${entries.size - 1} there`);
  if (metarange.bytes !== bytes) problems.push(`${metarange.bytes} bytes said, ${bytes} there`);
  if (problems.length > 0) throw new Error(problems.join('\n'));
}
