import { type Entry, entryPath, splitPath } from '../model/entry.js';
import { isSameEntry } from './entry-compare.js';
import { mergeEntry } from './merge-entry.js';
import { Slices } from './slices.js';
import type { TreeMerge } from './tree-merge.js';

/**
 * Puts right what no path can know by itself after a rebase: a directory's nlink is 2 + its sub-directories; all names
 * of one file have the same attributes, and its nlink is their number.
 */
export async function fixLinks(merge: TreeMerge): Promise<void> {
  fixDirectories(merge);
  await fixFiles(merge);
}

function fixDirectories(merge: TreeMerge): void {
  const { decisions, headAt } = merge;
  const added = new Map<string, number>();
  for (const [path, entry] of decisions) {
    const difference = directoryCount(entry) - directoryCount(headAt.get(path) ?? null);
    const { dir } = splitPath(path);
    if (path !== '' && difference !== 0) added.set(dir, (added.get(dir) ?? 0) + difference);
  }
  const directories = new Set(added.keys());
  for (const [path, entry] of decisions) if (entry?.kind === 'dir') directories.add(path);
  for (const path of directories) {
    const entry = merge.finalAt(path);
    if (entry?.kind !== 'dir') continue;
    const head = headAt.get(path);
    const nlink = (head?.kind === 'dir' ? head.nlink : 2) + (added.get(path) ?? 0);
    if (entry.nlink !== nlink) decisions.set(path, { ...entry, nlink });
  }
}

const directoryCount = (entry: Entry | null): number => (entry?.kind === 'dir' ? 1 : 0);

/** The names of one file. */
interface Names {
  /** In the head, by its own count. */
  head: number;
  /** Names more, or fewer, than in the head. */
  difference: number;
  /** Paths of mine that are names of it now. */
  readonly paths: string[];
  /** Entries of the head that are names of it too, where they had to be looked for. */
  readonly others: Entry[];
}

async function fixFiles(merge: TreeMerge): Promise<void> {
  const files = await countNames(merge);
  const sides = sidesOf(merge);
  const incomplete = new Map<number, Names>();
  for (const [ino, names] of files) {
    const hasOthers = names.head + names.difference > names.paths.length;
    if (hasOthers && isFileChanged(merge, names)) incomplete.set(ino, names);
    else if (!hasOthers) applyToNames(merge, sides, ino, names);
  }
  if (incomplete.size === 0) return;
  await findOthers(merge, incomplete);
  for (const [ino, names] of incomplete) applyToNames(merge, sides, ino, names);
}

async function countNames(merge: TreeMerge): Promise<Map<number, Names>> {
  const slices = new Slices();
  const files = new Map<number, Names>();
  const of = (ino: number): Names => {
    const known = files.get(ino);
    if (known !== undefined) return known;
    const names: Names = { head: 0, difference: 0, paths: [], others: [] };
    files.set(ino, names);
    return names;
  };
  const paths = new Set(merge.input.changes.map(entryPath));
  for (const path of merge.decisions.keys()) paths.add(path);
  for (const path of paths) {
    const head = merge.headAt.get(path) ?? null;
    const entry = merge.finalAt(path);
    if (head !== null && head.kind !== 'dir') {
      of(head.ino).head = head.nlink;
      of(head.ino).difference--;
    }
    if (entry !== null && entry.kind !== 'dir') {
      of(entry.ino).difference++;
      of(entry.ino).paths.push(path);
    }
    if (slices.due()) await slices.turn();
  }
  return files;
}

function isFileChanged(merge: TreeMerge, names: Names): boolean {
  return names.difference !== 0 || names.paths.some((path) => merge.decisions.has(path));
}

/** Hard links are rare, so there is no index of them: the whole head is read once. */
async function findOthers(merge: TreeMerge, files: ReadonlyMap<number, Names>): Promise<void> {
  for await (const entry of merge.input.head.all()) {
    if (entry.kind === 'dir') continue;
    const names = files.get(entry.ino);
    if (names === undefined) continue;
    const path = entryPath(entry);
    if (names.paths.includes(path) || merge.decisions.has(path)) continue;
    merge.headAt.set(path, entry);
    names.others.push(entry);
  }
}

/** Gives all names of a file the attributes it has now, and their number. */
function applyToNames(merge: TreeMerge, sides: Sides, ino: number, names: Names): void {
  const paths = [...names.paths, ...names.others.map(entryPath)];
  // The one name of a file was merged as a path already.
  const model = paths.length > 1 ? modelOf(merge, sides, ino, names) : null;
  for (const path of paths) {
    const entry = merge.finalAt(path);
    if (entry === null) continue;
    const wanted: Entry = { ...(model ?? entry), dir: entry.dir, name: entry.name, nlink: paths.length };
    if (!isSameEntry(entry, wanted)) merge.decisions.set(path, wanted);
  }
}

/** One entry for each file, at whatever path: in my base, as I left it, and in the head. */
interface Sides {
  readonly base: ReadonlyMap<number, Entry>;
  readonly mine: ReadonlyMap<number, Entry>;
  readonly head: ReadonlyMap<number, Entry>;
}

function sidesOf(merge: TreeMerge): Sides {
  const base = new Map<number, Entry>();
  const mine = new Map<number, Entry>();
  const head = new Map<number, Entry>();
  for (const change of merge.input.changes) {
    if (change.before !== null) base.set(change.before.ino, change.before);
    if (change.after !== null) mine.set(change.after.ino, change.after);
    const inHead = merge.headAt.get(entryPath(change));
    if (inHead !== undefined) head.set(inHead.ino, inHead);
  }
  return { base, mine, head };
}

/** The file as both sides made it: its names may be others than mine, so its paths alone do not tell. */
function modelOf(merge: TreeMerge, sides: Sides, ino: number, names: Names): Entry | null {
  const base = sides.base.get(ino);
  const mine = sides.mine.get(ino);
  const head = sides.head.get(ino) ?? names.others[0];
  if (mine === undefined || head === undefined || base === undefined) {
    const merged = names.paths.find(
      (path) => merge.decisions.has(path) && merge.headAt.get(path)?.ino === ino,
    );
    return merged === undefined ? (mine ?? head ?? null) : merge.finalAt(merged);
  }
  const merged = mergeEntry(base, mine, head);
  if (merged !== 'conflict') return merged;
  for (const path of names.paths) merge.conflicts.add(path);
  return merge.input.onConflict === 'theirs' ? head : mine;
}
