import { compareEntries, type Entry, entryPath, joinPath, splitPath } from '../model/entry.js';
import { mergeEntry } from './merge-entry.js';
import { Slices } from './slices.js';
import type { EntryKey, TreeView } from './tree-view.js';
import type { PathChange } from './trees.js';

export interface RebaseInput {
  /** Mine, against `base`, in tree order; the root, when it changed, first with dir '' and name ''. */
  readonly changes: readonly PathChange[];
  readonly base: TreeView | null;
  readonly head: TreeView;
  readonly onConflict: 'fail' | 'mine' | 'theirs';
  /** Hands out file numbers that no version has used. */
  readonly newIno: () => number;
}

/** What a path becomes: null is gone. Paths that are not in the map stay as they are in the head. */
export type Decisions = Map<string, Entry | null>;

/** My changes and somebody else's, path by path; `rebase` calls the steps in order. */
export class TreeMerge {
  readonly conflicts = new Set<string>();
  readonly decisions: Decisions = new Map();
  /** The head's entries at my paths and at every directory above them. */
  headAt: Map<string, Entry> = new Map();
  readonly input: RebaseInput;
  /** The base's entries at the directories of what I changed. */
  #baseDirs: Map<string, Entry> = new Map();
  readonly #slices = new Slices();

  constructor(input: RebaseInput) {
    this.input = input;
  }

  async load(): Promise<void> {
    const parents = new Map<string, EntryKey>();
    for (const change of this.input.changes) {
      for (let dir = change.dir; !parents.has(dir); dir = splitPath(dir).dir)
        parents.set(dir, splitPath(dir));
      if (this.#slices.due()) await this.#slices.turn();
    }
    const directories = [...parents.values()].sort(compareEntries);
    this.headAt = await this.input.head.find(mergeKeys(this.input.changes, directories));
    this.#baseDirs = (await this.input.base?.find(directories)) ?? new Map<string, Entry>();
  }

  /** Every path of mine by itself. */
  async decidePaths(): Promise<void> {
    for (const change of this.input.changes) {
      const path = entryPath(change);
      const head = this.headAt.get(path) ?? null;
      const merged = mergeEntry(change.before, change.after, head);
      if (merged === 'conflict') this.conflicts.add(path);
      this.#decide(path, merged === 'conflict' ? this.#preferred(change.after, head) : merged);
      if (this.#slices.due()) await this.#slices.turn();
    }
    if (this.input.onConflict === 'theirs') this.#dropMovesOfTheirs();
  }

  /** What the path is after both: decided, or as in the head. Known for my paths and the directories above them. */
  finalAt(path: string): Entry | null {
    const decided = this.decisions.get(path);
    return decided === undefined ? (this.headAt.get(path) ?? null) : decided;
  }

  async findStructureConflicts(): Promise<void> {
    for (const path of this.#added()) if (!this.#hasPlace(path)) this.conflicts.add(path);
    for await (const child of this.#orphans()) this.conflicts.add(entryPath(child));
    await this.#findStrangers();
  }

  /** What I added without a directory to be in is dropped; a directory of mine that is gone but theirs use comes back. */
  async structureAsTheirs(): Promise<void> {
    const dropped = new Set<number>();
    for (const path of this.#added().sort(byDepth)) {
      if (this.#hasPlace(path)) continue;
      this.conflicts.add(path);
      dropped.add(this.decisions.get(path)?.ino ?? 0);
      this.decisions.delete(path);
    }
    // What I had moved to a place that is gone stays where it was.
    for (const { dir, name, before, after } of this.input.changes)
      if (before !== null && after === null && dropped.has(before.ino)) {
        this.decisions.delete(joinPath(dir, name));
        this.#keepDirectories(dir);
      }
    const kept = new Set<string>();
    for await (const child of this.#orphans()) {
      this.conflicts.add(entryPath(child));
      kept.add(child.dir);
    }
    for (const dir of kept) this.#keepDirectories(dir);
  }

  /** Directories that my files need come back; what theirs put into directories that I removed goes with them. */
  async structureAsMine(): Promise<void> {
    for (const path of this.#added()) {
      if (this.#hasPlace(path)) continue;
      this.conflicts.add(path);
      for (let dir = splitPath(path).dir; !this.#isDirectory(dir); dir = splitPath(dir).dir) {
        const directory = this.#baseDirs.get(dir);
        if (directory !== undefined) this.#decide(dir, { ...directory, ino: this.input.newIno() });
      }
    }
    let removed = this.#removedDirectories();
    while (removed.size > 0) {
      const below = new Set<string>();
      for await (const child of this.input.head.children(removed)) {
        const path = entryPath(child);
        this.headAt.set(path, child);
        if (child.kind === 'dir') below.add(path);
        if (this.decisions.get(path) === null) continue;
        this.conflicts.add(path);
        this.decisions.set(path, null);
      }
      removed = below;
    }
  }

  /**
   * A number belongs to one file. Where mine would put one at a path the head does not have it at, while the head has
   * moved that file elsewhere, or still shows that directory, mine becomes a file of its own with a fresh number.
   */
  async renumberStrays(): Promise<void> {
    const known = new Set<number>();
    const stays = new Set<number>();
    for (const { dir, name, before, after } of this.input.changes) {
      if (before !== null) known.add(before.ino);
      const path = joinPath(dir, name);
      const head = this.headAt.get(path);
      // A name that only the head gave it is a place it was moved to, though I have something there as well.
      const isCommon = head !== undefined && (head.ino === before?.ino || head.ino === after?.ino);
      const isStillThere = this.finalAt(path)?.ino === head?.ino;
      if (isCommon && !(head.kind === 'dir' && isStillThere)) stays.add(head.ino);
      if (this.#slices.due()) await this.#slices.turn();
    }
    const fresh = new Map<number, number>();
    for (const [path, entry] of this.decisions) {
      if (entry === null || entry.ino === this.headAt.get(path)?.ino) continue;
      if (!known.has(entry.ino) || stays.has(entry.ino)) continue;
      const ino = fresh.get(entry.ino) ?? this.input.newIno();
      fresh.set(entry.ino, ino);
      this.decisions.set(path, { ...entry, ino });
    }
  }

  result(): { changes: readonly PathChange[]; root: Entry } {
    const changes: PathChange[] = [];
    for (const [path, after] of this.decisions) {
      const before = this.headAt.get(path) ?? null;
      if (path !== '' && after !== before) changes.push({ ...splitPath(path), before, after });
    }
    changes.sort(compareEntries);
    return { changes, root: this.decisions.get('') ?? this.input.head.metarange.root };
  }

  #decide(path: string, entry: Entry | null): void {
    if (entry === (this.headAt.get(path) ?? null)) this.decisions.delete(path);
    else this.decisions.set(path, entry);
  }

  #preferred(mine: Entry | null, head: Entry | null): Entry | null {
    return this.input.onConflict === 'theirs' ? head : mine;
  }

  /** Paths that the head does not have. */
  #added(): string[] {
    return [...this.decisions]
      .filter(([path, entry]) => entry !== null && !this.headAt.has(path))
      .map(([path]) => path);
  }

  #isDirectory(path: string): boolean {
    return path === '' || this.finalAt(path)?.kind === 'dir';
  }

  /** Whether the directory of an added path is there, and is the one I added it to. */
  #hasPlace(path: string): boolean {
    const { dir } = splitPath(path);
    if (dir === '') return true;
    const place = this.finalAt(dir);
    if (place?.kind !== 'dir') return false;
    const before = this.#baseDirs.get(dir);
    // One of the same name that is not in my base, or that I replaced too, is where my files go.
    if (before?.kind !== 'dir' || place.ino === before.ino || this.#replaced.has(dir)) return true;
    // With a policy there is a place, though not the one that was meant: nobody loses anything.
    return this.input.onConflict !== 'fail';
  }

  /** Directories whose name I gave to another file or directory. */
  get #replaced(): ReadonlySet<string> {
    this.#replacedDirs ??= new Set(
      this.input.changes
        .filter(({ before, after }) => before?.kind === 'dir' && after !== null && after.ino !== before.ino)
        .map(entryPath),
    );
    return this.#replacedDirs;
  }
  #replacedDirs: ReadonlySet<string> | undefined;

  /** Directories of the head that are none any more. */
  #removedDirectories(): Set<string> {
    const removed = [...this.decisions].filter(
      ([path, entry]) => entry?.kind !== 'dir' && this.headAt.get(path)?.kind === 'dir',
    );
    return new Set(removed.map(([path]) => path));
  }

  /** Entries of the head that would stay in a directory that does not. */
  async *#orphans(): AsyncGenerator<Entry> {
    for await (const child of this.input.head.children(this.#removedDirectories())) {
      if (this.decisions.get(entryPath(child)) !== null) yield child;
    }
  }

  /** What theirs put into a directory whose name I gave to another directory. */
  async #findStrangers(): Promise<void> {
    const replaced = [...this.decisions].filter(([path, entry]) => {
      const head = this.headAt.get(path);
      return entry?.kind === 'dir' && head?.kind === 'dir' && entry.ino !== head.ino;
    });
    if (replaced.length === 0) return;
    const mine = new Set(this.input.changes.map(entryPath));
    const others: Entry[] = [];
    for await (const child of this.input.head.children(new Set(replaced.map(([path]) => path))))
      if (!mine.has(entryPath(child))) others.push(child);
    // What was there in the base and I did not change has come into my directory with me.
    const kept = await this.input.base?.find(others.sort(compareEntries));
    for (const child of others)
      if (kept?.has(entryPath(child)) !== true) this.conflicts.add(entryPath(child));
  }

  /** The head's directory, and all above it, are there again. */
  #keepDirectories(start: string): void {
    for (let dir = start; !this.#isDirectory(dir); dir = splitPath(dir).dir) this.decisions.delete(dir);
  }

  /** Where theirs keep a file that I moved, it stays in its old place, and my new name for it is dropped. */
  #dropMovesOfTheirs(): void {
    const kept = new Set<number>();
    for (const { dir, name, before, after } of this.input.changes)
      if (
        before !== null &&
        before.kind !== 'dir' &&
        after === null &&
        this.conflicts.has(joinPath(dir, name))
      )
        kept.add(before.ino);
    for (const { dir, name, before, after } of this.input.changes)
      if (after !== null && before?.ino !== after.ino && kept.has(after.ino))
        this.decisions.delete(joinPath(dir, name));
  }
}

/** Two lists in tree order as one, without repeats. */
function mergeKeys(a: readonly EntryKey[], b: readonly EntryKey[]): EntryKey[] {
  const merged: EntryKey[] = [];
  let next = 0;
  for (const key of a) {
    for (; next < b.length; next++) {
      const other = b[next];
      if (other === undefined || compareEntries(other, key) >= 0) break;
      merged.push(other);
    }
    const other = b[next];
    if (other !== undefined && compareEntries(other, key) === 0) next++;
    merged.push(key);
  }
  return [...merged, ...b.slice(next)];
}

const byDepth = (a: string, b: string): number => depth(a) - depth(b);

function depth(path: string): number {
  let slashes = 0;
  for (let at = path.indexOf('/'); at >= 0; at = path.indexOf('/', at + 1)) slashes++;
  return slashes;
}
