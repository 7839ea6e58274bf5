import type { VersionTree } from '../catalog/ports.js';
import { ExtentMap } from '../content/extent-map.js';
import type { FileContent, FileReader } from '../content/ports.js';
import { type Entry, joinPath, splitPath } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import type { WorkspaceArtifact } from './artifact.js';
import type { FileInfo, Inode } from './ports.js';
import { Node } from './tree/node.js';

/** A tree of files by path, read only: the working view or a version. */
export interface PathView {
  /** '' is the root. */
  stat(path: string): Promise<FileInfo | undefined>;
  /** Names in a directory after `after`; fewer than `limit` means the end. */
  children(path: string, after: string | null, limit: number): Promise<FileInfo[]>;
  open(path: string): Promise<{ reader: FileReader; size: number }>;
}

export class VersionPaths implements PathView {
  readonly #artifact: WorkspaceArtifact;
  readonly #tree: VersionTree;

  constructor(artifact: WorkspaceArtifact, tree: VersionTree) {
    this.#artifact = artifact;
    this.#tree = tree;
  }

  async stat(path: string): Promise<FileInfo | undefined> {
    const entry = await this.#entry(path);
    return entry === undefined ? undefined : infoOfEntry(entry);
  }

  async children(path: string, after: string | null, limit: number): Promise<FileInfo[]> {
    return (await this.#tree.list(path, after, limit)).map(infoOfEntry);
  }

  async open(path: string): Promise<{ reader: FileReader; size: number }> {
    const entry = await this.#entry(path);
    if (entry === undefined) throw missing(this.#artifact, path);
    checkFile(path, entry.kind);
    const map = ExtentMap.fromEntryExtents(entry.extents ?? []);
    const content: FileContent = {
      size: () => entry.size,
      pieces: (offset, length) => map.pieces(offset, length),
    };
    return { reader: this.#artifact.openVersionFile(content), size: entry.size };
  }

  async #entry(path: string): Promise<Entry | undefined> {
    const { dir, name } = splitPath(path);
    return path === '' ? this.#tree.root : await this.#tree.lookup(dir, name);
  }
}

export class WorkingPaths implements PathView {
  readonly #artifact: WorkspaceArtifact;

  constructor(artifact: WorkspaceArtifact) {
    this.#artifact = artifact;
  }

  /** The inode at a path, retained: the caller releases it. */
  async find(path: string): Promise<Inode | undefined> {
    const { tree } = this.#artifact;
    let inode: Inode = tree.root;
    tree.retain(inode);
    for (const name of path === '' ? [] : path.split('/')) {
      let next: Inode | undefined;
      try {
        next = inode.kind === 'dir' ? await tree.lookup(inode, name) : undefined;
        if (next !== undefined) tree.retain(next);
      } finally {
        tree.release(inode);
      }
      if (next === undefined) return undefined;
      inode = next;
    }
    return inode;
  }

  async stat(path: string): Promise<FileInfo | undefined> {
    const inode = await this.find(path);
    if (inode === undefined) return undefined;
    this.#artifact.tree.release(inode);
    return infoOfInode(path, inode);
  }

  async children(path: string, after: string | null, limit: number): Promise<FileInfo[]> {
    const { tree } = this.#artifact;
    const inode = await this.find(path);
    if (inode === undefined) throw missing(this.#artifact, path);
    try {
      if (inode.kind !== 'dir') throw new ArtifactError('NotDirectory', `${path} is no directory`);
      const items = await tree.list(inode, after, limit);
      return items.map((item) => infoOfInode(joinPath(path, item.name), item.inode));
    } finally {
      tree.release(inode);
    }
  }

  async open(path: string): Promise<{ reader: FileReader; size: number }> {
    const { tree } = this.#artifact;
    const inode = await this.find(path);
    if (inode === undefined) throw missing(this.#artifact, path);
    try {
      checkFile(path, inode.kind);
      return { reader: tree.open(inode), size: inode.size };
    } finally {
      tree.release(inode);
    }
  }
}

/** Throws unless `path` is '' or names without '.', '..', empty components or leading and trailing slashes. */
export function checkPath(path: string): void {
  if (path === '') return;
  for (const name of path.split('/')) {
    if (name === '' || name === '.' || name === '..')
      throw new ArtifactError('InvalidName', `${JSON.stringify(path)} is not a path inside an artifact`, {
        hint: 'write it as a/b/c, without ".", ".." or empty names',
      });
  }
}

export const missing = (artifact: WorkspaceArtifact, path: string) =>
  new ArtifactError('NotFound', `${artifact.path} has no file ${path}`);

export function infoOfInode(path: string, inode: Inode): FileInfo {
  const { kind, size, mode, mtime, target } = inode;
  const sha256 = inode instanceof Node ? inode.sha256 : null;
  return {
    path,
    kind,
    size,
    mode,
    mtime,
    ...(sha256 === null ? {} : { sha256 }),
    ...(kind === 'symlink' ? { target } : {}),
  };
}

function infoOfEntry(entry: Entry): FileInfo {
  const { dir, name, kind, size, mode, mtime, sha256, target } = entry;
  return {
    path: joinPath(dir, name),
    kind,
    size,
    mode,
    mtime,
    ...(sha256 === undefined ? {} : { sha256 }),
    ...(target === undefined ? {} : { target }),
  };
}

function checkFile(path: string, kind: string): void {
  if (kind === 'dir') throw new ArtifactError('IsDirectory', `${path} is a directory`);
  if (kind !== 'file') throw new ArtifactError('Invalid', `${path} is a ${kind}: it has no bytes`);
}
