import type { Artifact, Inode } from '../../../src/artifacts/ports.js';
import type { VersionTree } from '../../../src/catalog/ports.js';
import { ExtentMap } from '../../../src/content/extent-map.js';
import { type Entry, joinPath } from '../../../src/model/entry.js';
import { readAll } from './daemon.js';
import { line } from './model.js';

interface Seen {
  readonly path: string;
  readonly ino: number;
  readonly kind: string;
  readonly mode: number;
  readonly nlink: number;
  readonly target: string;
  readonly data: string;
  readonly xattrs: [string, string][];
}

type Viewed = Pick<Artifact, 'tree'>;

/** The working view, in the words of the model. Also checks that looking up says the same as listing. */
export async function describeTree({ tree }: Viewed): Promise<string[]> {
  const seen: Seen[] = [];
  const visit = async (inode: Inode, path: string): Promise<void> => {
    seen.push(await see({ tree }, inode, path));
    if (inode.kind !== 'dir') return;
    let after: string | null = null;
    for (;;) {
      // Small pages, so that the merge of both lists is exercised.
      const items = await tree.list(inode, after, 2);
      for (const item of items) {
        const found = await tree.lookup(inode, item.name);
        if (found !== item.inode)
          throw new Error(`${joinPath(path, item.name)}: listed, but looked up otherwise`);
        if (item.inode.kind === 'dir' && tree.parentOf(item.inode) !== inode)
          throw new Error(`${joinPath(path, item.name)} does not know its parent`);
        await visit(item.inode, joinPath(path, item.name));
      }
      if (items.length < 2) return;
      after = items.at(-1)?.name ?? null;
    }
  };
  await visit(tree.root, '');
  return linesOf(seen);
}

/** The same of inodes, by the names that they are held under. */
export async function describeHeldInodes(
  viewed: Viewed,
  held: Iterable<readonly [string, Inode]>,
): Promise<string[]> {
  const lines: string[] = [];
  for (const [name, inode] of held) lines.push(line(name, { ...(await see(viewed, inode, name)), same: '' }));
  return lines.sort();
}

async function see({ tree }: Viewed, inode: Inode, path: string): Promise<Seen> {
  return {
    path,
    ino: inode.ino,
    kind: inode.kind,
    mode: inode.mode,
    nlink: inode.nlink,
    target: inode.target,
    data: inode.kind === 'file' ? (await readAll({ tree }, inode)).toString('latin1') : '',
    xattrs: tree
      .xattrs(inode)
      .map((name): [string, string] => [name, Buffer.from(tree.xattr(inode, name) ?? '').toString()])
      .sort(),
  };
}

/** A version, in the words of the model. */
export async function describeVersion(artifact: Artifact, tree: VersionTree): Promise<string[]> {
  const entries = [tree.root];
  for await (const entry of tree.walk('')) entries.push(entry);
  return linesOfEntries(entries, async (entry) => {
    const map = ExtentMap.fromEntryExtents(entry.extents ?? []);
    const reader = artifact.openVersionFile({
      size: () => entry.size,
      pieces: (offset, length) => map.pieces(offset, length),
    });
    const data = Buffer.from(await reader.read(0, entry.size)).toString('latin1');
    reader.close();
    return data;
  });
}

export async function linesOfEntries(
  entries: readonly Entry[],
  dataOf: (file: Entry) => Promise<string>,
): Promise<string[]> {
  const seen: Seen[] = [];
  for (const entry of entries) {
    seen.push({
      path: joinPath(entry.dir, entry.name),
      ino: entry.ino,
      kind: entry.kind,
      mode: entry.mode,
      nlink: entry.nlink,
      target: entry.target ?? '',
      data: entry.kind === 'file' ? await dataOf(entry) : '',
      xattrs: Object.entries(entry.xattrs ?? {})
        .map(([name, value]): [string, string] => [name, Buffer.from(value, 'base64').toString()])
        .sort(),
    });
  }
  return linesOf(seen);
}

export function exactly(inode: Inode): string {
  const { ino, kind, mode, uid, gid, nlink, size, rdev, atime, mtime, ctime, target } = inode;
  return JSON.stringify({ ino, kind, mode, uid, gid, nlink, size, rdev, atime, mtime, ctime, target });
}

/** Times and numbers of everything, for comparing two machines. */
export async function exactTree({ tree }: Viewed): Promise<string[]> {
  const lines: string[] = [];
  const visit = async (inode: Inode, path: string): Promise<void> => {
    lines.push(`${path} ${exactly(inode)}`);
    if (inode.kind !== 'dir') return;
    for (const item of await tree.list(inode, null, 1000)) await visit(item.inode, joinPath(path, item.name));
  };
  await visit(tree.root, '');
  return lines.sort();
}

/** What is in the working view, by number. */
export async function inodesOf({ tree }: Viewed): Promise<Map<number, Inode>> {
  const found = new Map<number, Inode>();
  const visit = async (inode: Inode): Promise<void> => {
    found.set(inode.ino, inode);
    if (inode.kind !== 'dir') return;
    for (const item of await tree.list(inode, null, 1000)) await visit(item.inode);
  };
  await visit(tree.root);
  return found;
}

/** Throws when a file's count of names is not how many there are, or a directory's not that of what is in it. */
export async function checkLinks({ tree }: Viewed): Promise<void> {
  const found = new Map<Inode, { names: number; path: string }>();
  const visit = async (inode: Inode, path: string): Promise<void> => {
    const known = found.get(inode) ?? { names: inode.kind === 'dir' ? 2 : 0, path };
    found.set(inode, known);
    if (inode.kind !== 'dir') {
      known.names++;
      return;
    }
    for (const item of await tree.list(inode, null, 1000)) {
      if (item.inode.kind === 'dir') known.names++;
      await visit(item.inode, joinPath(path, item.name));
    }
  };
  await visit(tree.root, '');
  for (const [{ nlink }, { names, path }] of found)
    if (nlink !== names) throw new Error(`'${path}' says that it has ${nlink} names, and has ${names}`);
}

function linesOf(seen: readonly Seen[]): string[] {
  const first = new Map<number, string>();
  for (const { ino, path } of seen) {
    const known = first.get(ino);
    if (known === undefined || path < known) first.set(ino, path);
  }
  return seen.map((item) => line(item.path, { ...item, same: first.get(item.ino) ?? '' })).sort();
}

/** A described file as one without bytes is told. */
export const withoutBytes = (described: string): string =>
  described.replace(/ \["(?:[^"\\]|\\.)*"\] /, ' [""] ');
