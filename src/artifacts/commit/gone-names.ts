import type { VersionTree } from '../../catalog/ports.js';
import { type Entry, type Ino, joinPath } from '../../model/entry.js';
import { LoopTurn } from '../../util/loop-turn.js';
import type { Entries } from '../tree/rebase-nodes.js';
import type { TreeCore } from '../tree/tree-core.js';
import type { Kept } from './kept.js';
import type { Places } from './places.js';

/**
 * Names of hard-linked files in directories of the new version that were removed here after the seal. Nothing staged
 * says that these names are gone: what did went with the directory, and only its own name is left. Of other files it is
 * known where their name was: these directories need not be read for them.
 *
 * And where a staged file is whose known name others removed: another one, that is not staged, may lead to it.
 */
export class GoneNames {
  readonly #tree: VersionTree;
  readonly #below = new Map<string, readonly Entry[]>();
  readonly #strays = new Map<Ino, Entry | undefined>();

  constructor(tree: VersionTree) {
    this.#tree = tree;
  }

  /** Reads what the kept names will ask for; undefined: nothing is missing. `entries` has all `neededPaths`. */
  readMissing(core: TreeCore, kept: Kept, places: Places, entries: Entries): Promise<void> | undefined {
    const strays = findStrays(core, kept, places, entries).filter((ino) => !this.#strays.has(ino));
    if (strays.length > 0) return this.#find(strays);
    const missing = goneDirectories(core, kept, places, entries, this.#strays).filter(
      (path) => !this.#below.has(path),
    );
    return missing.length === 0 ? undefined : this.#read(missing);
  }

  /** Entries of hard-linked files at any depth. */
  below(directory: string): readonly Entry[] {
    return this.#below.get(directory) ?? [];
  }

  /** An entry of a file that is not where it was known to be. */
  stray(ino: Ino): Entry | undefined {
    return this.#strays.get(ino);
  }

  async #find(strays: readonly Ino[]): Promise<void> {
    for (const ino of strays) this.#strays.set(ino, undefined);
    const turn = new LoopTurn();
    for await (const entry of this.#tree.walk('')) {
      if (entry.kind !== 'dir' && this.#strays.has(entry.ino)) this.#strays.set(entry.ino, entry);
      if (turn.isOver) await turn.next();
    }
  }

  async #read(directories: readonly string[]): Promise<void> {
    const turn = new LoopTurn();
    for (const directory of directories) {
      const linked: Entry[] = [];
      for await (const entry of this.#tree.walk(directory)) {
        if (entry.kind !== 'dir' && entry.nlink > 1) linked.push(entry);
        if (turn.isOver) await turn.next();
      }
      this.#below.set(directory, linked);
    }
  }
}

/** Those that a kept name hides and that are nowhere else; none when no kept file has several names. */
function goneDirectories(
  core: TreeCore,
  kept: Kept,
  places: Places,
  entries: Entries,
  strays: ReadonlyMap<Ino, Entry | undefined>,
): string[] {
  const { db, stage } = core;
  const at = new Map([...kept.inodes.keys()].map((ino) => [ino, placeOf(ino)]));
  function placeOf(ino: number): string | null {
    const row = db.inodes.get(stage.s, ino);
    return row === undefined ? null : places.pathOf(ino, row.base);
  }
  const isLinked = ([ino, path]: [Ino, string | null]) => {
    const entry = strays.get(ino) ?? (path === null ? undefined : entries.get(path));
    return entry !== undefined && entry.kind !== 'dir' && entry.nlink > 1;
  };
  if (![...at].some(isLinked)) return [];
  const gone: string[] = [];
  for (const { parent, name } of kept.names) {
    const dir = at.get(parent) ?? null;
    const path = dir === null ? '' : joinPath(dir, name);
    const entry = path === '' ? undefined : entries.get(path);
    if (entry?.kind === 'dir' && at.get(entry.ino) !== path) gone.push(path);
  }
  return gone;
}

/** Files that no staged name leads to, and that are not where they were. */
function findStrays(core: TreeCore, kept: Kept, places: Places, entries: Entries): Ino[] {
  const { db, stage } = core;
  const strays: Ino[] = [];
  for (const [ino, isNamed] of kept.inodes) {
    if (isNamed) continue;
    const row = db.inodes.get(stage.s, ino);
    if (row === undefined || row.kind === 'dir') continue;
    const path = places.pathOf(ino, row.base);
    if (path !== null && entries.get(path)?.ino !== ino) strays.push(ino);
  }
  return strays;
}
