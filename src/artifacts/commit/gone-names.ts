import type { VersionTree } from '../../catalog/ports.js';
import { type Entry, joinPath } from '../../model/entry.js';
import { LoopTurn } from '../../util/loop-turn.js';
import type { Entries } from '../tree/rebase-nodes.js';
import type { TreeCore } from '../tree/tree-core.js';
import type { Kept } from './kept.js';
import type { Places } from './places.js';

/**
 * Names of hard-linked files in directories of the new version that were removed here after the seal. Nothing staged
 * says that these names are gone: what did went with the directory, and only its own name is left. Of other files it is
 * known where their name was: these directories need not be read for them.
 */
export class GoneNames {
  readonly #tree: VersionTree;
  readonly #below = new Map<string, readonly Entry[]>();

  constructor(tree: VersionTree) {
    this.#tree = tree;
  }

  /** Reads what the kept names will ask for; undefined: nothing is missing. `entries` has all `neededPaths`. */
  readMissing(core: TreeCore, kept: Kept, places: Places, entries: Entries): Promise<void> | undefined {
    const missing = goneDirectories(core, kept, places, entries).filter((path) => !this.#below.has(path));
    return missing.length === 0 ? undefined : this.#read(missing);
  }

  /** Entries of hard-linked files at any depth. */
  below(directory: string): readonly Entry[] {
    return this.#below.get(directory) ?? [];
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
function goneDirectories(core: TreeCore, kept: Kept, places: Places, entries: Entries): string[] {
  const { db, stage } = core;
  const at = new Map([...kept.inodes.keys()].map((ino) => [ino, placeOf(ino)]));
  function placeOf(ino: number): string | null {
    const row = db.inodes.get(stage.s, ino);
    return row === undefined ? null : places.pathOf(ino, row.base);
  }
  const isLinked = (path: string | null) => {
    const entry = path === null ? undefined : entries.get(path);
    return entry !== undefined && entry.kind !== 'dir' && entry.nlink > 1;
  };
  if (![...at.values()].some(isLinked)) return [];
  const gone: string[] = [];
  for (const { parent, name } of kept.names) {
    const dir = at.get(parent) ?? null;
    const path = dir === null ? '' : joinPath(dir, name);
    const entry = path === '' ? undefined : entries.get(path);
    if (entry?.kind === 'dir' && at.get(entry.ino) !== path) gone.push(path);
  }
  return gone;
}
