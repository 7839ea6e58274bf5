/** What is at a path, as far as its writer decides it. */
export interface State {
  readonly kind: 'file' | 'dir' | 'link';
  /** Names of chunks of a file, or a link's target. */
  readonly content: string;
  readonly mode: number;
}

/** Path -> what is there; null: nothing. */
export type Changes = ReadonlyMap<string, State | null>;
export type Tree = ReadonlyMap<string, State>;

export const isSame = (a: State | null, b: State | null): boolean =>
  a === b || (a !== null && b !== null && a.kind === b.kind && a.content === b.content && a.mode === b.mode);

export const shown = (state: State | null): string =>
  state === null ? 'nothing' : `${state.kind} ${state.mode.toString(8)} ${state.content}`;

export const parentOf = (path: string): string => path.slice(0, Math.max(0, path.lastIndexOf('/')));

export const isIn = (path: string, root: string): boolean =>
  root === '' || path === root || path.startsWith(`${root}/`);

export type OnConflict = 'fail' | 'mine' | 'theirs';

/** What a path may be in the next version; `conflict`: both sides changed it in ways that do not go together. */
interface Merged {
  readonly conflict: boolean;
  readonly state: State | null;
}

/** One path by the table of doc/FORMAT.md "Conflicts". */
export function mergePath(
  base: State | null,
  mine: State | null,
  head: State | null,
  how: OnConflict,
): Merged {
  const fine = (state: State | null): Merged => ({ conflict: false, state });
  if (isSame(mine, base)) return fine(head);
  if (isSame(head, base) || isSame(mine, head)) return fine(mine);
  // One directory, with the head's attributes.
  if (base === null && mine?.kind === 'dir' && head?.kind === 'dir') return fine(head);
  if (base !== null && mine !== null && head !== null) {
    const isChanged = (side: State): boolean => side.kind !== base.kind || side.content !== base.content;
    if (!(isChanged(mine) && isChanged(head))) {
      const bytes = isChanged(mine) ? mine : head;
      return fine({ ...bytes, mode: mine.mode === base.mode ? head.mode : mine.mode });
    }
  }
  return { conflict: true, state: how === 'mine' ? mine : head };
}

/**
 * Directories that a side made, removed or moved: what is in them is decided by rules of whole trees, not by its own path.
 */
export function movedDirectories(from: Tree, to: ReadonlyMap<string, State | null>): string[] {
  const changed: string[] = [];
  for (const path of new Set([...from.keys(), ...to.keys()])) {
    const [before, after] = [from.get(path) ?? null, to.get(path) ?? null];
    if ((before?.kind === 'dir') !== (after?.kind === 'dir')) changed.push(path);
  }
  return changed;
}
