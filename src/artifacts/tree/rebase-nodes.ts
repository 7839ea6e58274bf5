import type { VersionTree } from '../../catalog/ports.js';
import { type Entry, entryPath, type Ino, splitPath } from '../../model/entry.js';
import { LoopTurn } from '../../util/loop-turn.js';
import { isPromise } from '../../util/maybe-promise.js';
import { Node } from './node.js';
import type { TreeCore } from './tree-core.js';

/** Base path of a node in the tree that becomes the base; null: it has none; undefined: the node stays as it is. */
export type PathInBase = (node: Node) => string | null | undefined;

/** Of every node in memory. */
export type Paths = ReadonlyMap<Node, string | null | undefined>;

/** Entries of the coming base by path; undefined: it has nothing there. */
export type Entries = Map<string, Entry | undefined>;

/**
 * Fetches what `rebaseNodes` will ask of `tree` - the entries of all nodes in memory and of the directories above -
 * and runs `apply` in the turn of the event loop in which nothing is missing: nodes may come while others are fetched.
 * `more` paths are fetched, too; `readMore` reads what is known by these entries only (undefined: nothing is missing).
 */
export async function withEntries<T>(
  core: TreeCore,
  tree: VersionTree | null,
  pathOf: PathInBase,
  apply: (entries: Entries, paths: Paths) => T,
  more: () => Iterable<string> = () => [],
  readMore: (entries: Entries) => Promise<void> | undefined = () => undefined,
): Promise<T> {
  const entries: Entries = new Map();
  const moved = new MovedFiles(core.base, tree);
  const turn = new LoopTurn();
  const fetch = async (path: string) => {
    const { dir, name } = splitPath(path);
    const entry = tree?.lookup(dir, name);
    entries.set(path, isPromise(entry) ? await entry : entry);
    if (turn.isOver) await turn.next();
  };
  // Most of them first: all nodes are gone through in one turn only when nearly nothing is missing.
  for (const node of core.table.all()) {
    for (let path = pathOf(node) ?? ''; path !== '' && !entries.has(path); path = splitPath(path).dir)
      await fetch(path);
  }
  for (;;) {
    const paths = new Map(core.table.all().map((node) => [node, moved.pathOf(node, pathOf(node))]));
    const missing = missingPaths(paths, entries, more());
    const reading = missing.size === 0 ? (moved.findMissing(paths, entries) ?? readMore(entries)) : undefined;
    if (missing.size === 0 && reading === undefined) return apply(entries, paths);
    for (const path of missing) await fetch(path);
    await reading;
  }
}

/**
 * Files that programs have open and that are not where they were: others have renamed them, or removed one of their names.
 * As on a local disk they are written and read on under a name that they have now.
 */
class MovedFiles {
  readonly #base: VersionTree | null;
  readonly #next: VersionTree | null;
  /** null: it is nowhere. */
  readonly #found = new Map<Ino, string | null>();

  constructor(base: VersionTree | null, next: VersionTree | null) {
    this.#base = base;
    this.#next = next;
  }

  pathOf(node: Node, known: string | null | undefined): string | null | undefined {
    return known == null ? known : (this.#found.get(node.ino) ?? known);
  }

  /** undefined: nothing is missing. `entries` has all `paths`. */
  findMissing(paths: Paths, entries: Entries): Promise<void> | undefined {
    const missing = new Set<Ino>();
    for (const [node, path] of paths) {
      if (node.kind !== 'file' || !node.isInUse || path == null || this.#found.has(node.ino)) continue;
      if (!isOf(node, entries.get(path))) missing.add(node.ino);
    }
    return missing.size === 0 || this.#next === null ? undefined : this.#find(missing, this.#next);
  }

  /** A name that it has got, or that is the last one now, is an entry that the old base has not like this. */
  async #find(missing: ReadonlySet<Ino>, next: VersionTree): Promise<void> {
    for (const ino of missing) this.#found.set(ino, null);
    const turn = new LoopTurn();
    for await (const entry of this.#base === null ? next.walk('') : next.walkUnlike(this.#base)) {
      if (entry.kind === 'file' && missing.has(entry.ino)) this.#found.set(entry.ino, entryPath(entry));
      if (turn.isOver) await turn.next();
    }
  }
}

function isOf(node: Node, entry: Entry | undefined): entry is Entry {
  return entry?.ino === node.ino && entry.kind === node.kind;
}

function missingPaths(paths: Paths, entries: Entries, more: Iterable<string>): Set<string> {
  const missing = new Set<string>();
  for (const known of paths.values()) {
    let path = known ?? '';
    while (path !== '' && !entries.has(path) && !missing.has(path)) {
      missing.add(path);
      path = splitPath(path).dir;
    }
  }
  for (const path of more) if (!entries.has(path)) missing.add(path);
  return missing;
}

/**
 * Makes every node in memory that is not staged what the new base says of its path. One that is not there any more
 * (or is another file) loses its name: open files go on reading what they had.
 */
export function rebaseNodes(core: TreeCore, paths: Paths, entries: Entries): void {
  const directories = new Map<string, Node>([['', core.root]]);
  const alive: { node: Node; entry: Entry }[] = [];
  for (const [node, path] of paths) {
    if (path === undefined) continue;
    if (node === core.root) {
      if (!node.staged && core.base !== null) node.takeEntry(core.base.root);
    } else if (node.staged) {
      if (node.kind === 'dir' && path !== null) directories.set(path, node);
    } else {
      const entry = path === null ? undefined : entries.get(path);
      if (path === null || !isOf(node, entry)) {
        loseName(core, node);
        continue;
      }
      node.takeEntry(entry);
      alive.push({ node, entry });
      if (node.kind === 'dir') directories.set(path, node);
    }
  }
  for (const { node, entry } of alive) {
    core.table.locate(node, directoryAt(core, entry.dir, directories, entries), entry.name);
  }
}

/**
 * The artifact is gone, and `removeRows` takes away all that was staged in it. Who has something of it open goes on with
 * that in memory, as with a removed file.
 */
export function loseAllNames(core: TreeCore, removeRows: () => void): void {
  const nodes = core.table.all();
  // Read it while its rows are there.
  for (const node of nodes) if (node.kind === 'file') void node.map;
  removeRows();
  core.stage.end();
  for (const node of nodes) {
    node.staged = false;
    if (node === core.root) node.nlink = 0;
    else loseName(core, node);
  }
}

/** An open file whose name is gone with the old base; it leaves the table, so that its number may come back. */
function loseName(core: TreeCore, node: Node): void {
  if (node.kind === 'file') void node.map;
  node.nlink = 0;
  node.revision++;
  core.table.remove(node);
  if (node.holds === 0) core.dispose(node);
}

function directoryAt(core: TreeCore, path: string, directories: Map<string, Node>, entries: Entries): Node {
  const known = directories.get(path);
  if (known !== undefined) return known;
  const entry = entries.get(path);
  if (entry === undefined) return core.root;
  const node = Node.fromEntry(entry);
  const { dir, name } = splitPath(path);
  core.table.locate(node, directoryAt(core, dir, directories, entries), name);
  core.table.add(node);
  directories.set(path, node);
  return node;
}
