import { Readable } from 'node:stream';
import type { FileReader, UploadJournal } from '../content/ports.js';
import { joinPath, splitPath, type Time } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import type { ObjectStore } from '../store/object-store.js';
import { WorkspaceArtifact } from './artifact.js';
import { Incoming, type IncomingOptions } from './incoming.js';
import { checkPath, infoOfInode, missing, type PathView, VersionPaths, WorkingPaths } from './path-views.js';
import type { Artifact, CreateInit, FileInfo, FilesByPath, Inode } from './ports.js';
import { Node } from './tree/node.js';

/** Bytes read at a time for a stream. */
const readBytes = 1 << 20;
const listedMax = 1_000;
const removedPerPage = 256;

interface Owner {
  readonly mode?: number;
  readonly mtime?: Time;
  readonly uid?: number;
  readonly gid?: number;
}

/** Files by path over the working view and the versions; tells listeners of every change, as none comes from the kernel. */
export class WorkspaceFiles implements FilesByPath {
  readonly #store: ObjectStore;
  readonly #journal: UploadJournal;

  constructor(store: ObjectStore, journal: UploadJournal) {
    this.#store = store;
    this.#journal = journal;
  }

  async stat(artifact: Artifact, ref: string, path: string): Promise<FileInfo> {
    const { view, own } = await viewOf(artifact, ref, path);
    const info = await view.stat(path);
    if (info === undefined) throw missing(own, path);
    return info;
  }

  async list(
    artifact: Artifact,
    ref: string,
    path: string,
    options: { after?: string; limit?: number; recursive?: boolean } = {},
  ): Promise<FileInfo[]> {
    const { view, own } = await viewOf(artifact, ref, path);
    const info = await view.stat(path);
    if (info === undefined) throw missing(own, path);
    if (info.kind !== 'dir') throw new ArtifactError('NotDirectory', `${path} is no directory`);
    const limit = options.limit ?? listedMax;
    const found: FileInfo[] = [];
    await collect(view, path, options.after ?? null, limit, options.recursive === true, found);
    return found;
  }

  async read(
    artifact: Artifact,
    ref: string,
    path: string,
    options: { offset?: number; length?: number; signal?: AbortSignal } = {},
  ): Promise<Readable> {
    const { view } = await viewOf(artifact, ref, path);
    const { reader, size } = await view.open(path);
    const from = options.offset ?? 0;
    const to = Math.min(size, from + (options.length ?? size));
    return Readable.from(bytesOf(reader, from, to, options.signal), { objectMode: false });
  }

  async write(
    artifact: Artifact,
    path: string,
    source: Readable,
    options: Owner & IncomingOptions = {},
  ): Promise<FileInfo> {
    const own = ownOf(artifact);
    checkPath(path);
    const { dir, name } = splitPath(path);
    if (name === '') throw new ArtifactError('IsDirectory', 'a file needs a name');
    return withDirectory(own, dir, options, async (parent) => {
      using incoming = new Incoming(own.tree, this.#store, this.#journal, name, options);
      // The stage must have its id before an object is written under it.
      const { core } = own.tree;
      await core.changing(() => core.change(() => {}));
      const content = await incoming.receive(source);
      // What was written before must not come in after it.
      await own.settle();
      return await this.#give(own, parent, path, name, content, options);
    });
  }

  async mkdir(artifact: Artifact, path: string, options: Owner = {}): Promise<void> {
    const own = ownOf(artifact);
    checkPath(path);
    await withDirectory(own, path, options, async (directory) => {
      const { mode, mtime } = options;
      if (mode === undefined && mtime === undefined) return;
      await own.tree.setAttributes(directory, {
        ...(mode === undefined ? {} : { mode }),
        ...(mtime === undefined ? {} : { mtime }),
      });
      own.invalidate({ type: 'inode', inode: directory });
    });
  }

  async symlink(
    artifact: Artifact,
    path: string,
    target: string,
    options: { mtime?: Time; uid?: number; gid?: number } = {},
  ): Promise<void> {
    const own = ownOf(artifact);
    checkPath(path);
    const { dir, name } = splitPath(path);
    await withDirectory(own, dir, options, async (parent) => {
      const inode = await own.tree.create(parent, name, { ...initOf('symlink', 0o777, options), target });
      if (options.mtime !== undefined) await own.tree.setAttributes(inode, { mtime: options.mtime });
      announce(own, parent, name);
    });
  }

  async remove(artifact: Artifact, path: string, options: { recursive?: boolean } = {}): Promise<void> {
    const own = ownOf(artifact);
    checkPath(path);
    if (path === '')
      throw new ArtifactError('NotPermitted', 'the directory of an artifact is not removed by path');
    const { dir, name } = splitPath(path);
    const parent = await new WorkingPaths(own).find(dir);
    if (parent === undefined) throw missing(own, path);
    try {
      const inode = parent.kind === 'dir' ? await own.tree.lookup(parent, name) : undefined;
      if (inode === undefined) throw missing(own, path);
      await removeTree(own, parent, name, inode, options.recursive === true);
    } finally {
      own.tree.release(parent);
    }
  }

  /** One change: the file has all of the new content, or is as it was. */
  async #give(
    own: WorkspaceArtifact,
    parent: Inode,
    path: string,
    name: string,
    content: Node,
    options: Owner,
  ): Promise<FileInfo> {
    const { tree } = own;
    let inode = await tree.lookup(parent, name);
    if (inode !== undefined && inode.kind !== 'file') {
      if (inode.kind === 'dir') throw new ArtifactError('IsDirectory', `${path} is a directory`);
      await tree.unlink(parent, name);
      own.invalidate({ type: 'inode', inode });
      inode = undefined;
    }
    const isNew = inode === undefined;
    inode ??= await tree.create(parent, name, initOf('file', options.mode ?? 0o644, options));
    const node = inode;
    if (!(node instanceof Node)) throw new ArtifactError('Internal', `${path} has no inode of the tree`);
    await tree.core.changing(() => tree.content.adopt(node, content));
    const { mode, uid, gid, mtime } = options;
    const changes = {
      ...(mode === undefined || isNew ? {} : { mode }),
      ...(uid === undefined || isNew ? {} : { uid }),
      ...(gid === undefined || isNew ? {} : { gid }),
      ...(mtime === undefined ? {} : { mtime }),
    };
    if (Object.keys(changes).length > 0) await tree.setAttributes(inode, changes);
    if (isNew) announce(own, parent, name);
    own.invalidate({ type: 'inode', inode });
    return infoOfInode(path, inode);
  }
}

async function viewOf(
  artifact: Artifact,
  ref: string,
  path: string,
): Promise<{ view: PathView; own: WorkspaceArtifact }> {
  const own = ownOf(artifact);
  checkPath(path);
  if (ref === '' || ref === 'stage') {
    await own.settleBriefly();
    return { view: new WorkingPaths(own), own };
  }
  const tree = await own.versionTree(own.resolveVersion(ref));
  return { view: new VersionPaths(own, tree), own };
}

function ownOf(artifact: Artifact): WorkspaceArtifact {
  if (artifact instanceof WorkspaceArtifact) return artifact;
  throw new ArtifactError('Internal', `${artifact.path} is not an artifact of this workspace`);
}

/** Depth first in name order, so that a listing goes on after the last path of the one before. */
async function collect(
  view: PathView,
  path: string,
  after: string | null,
  limit: number,
  recursive: boolean,
  found: FileInfo[],
): Promise<void> {
  const below = path === '' ? '' : `${path}/`;
  const rest = after?.startsWith(below) ? after.slice(below.length) : null;
  let from = rest === null || rest === '' ? null : (rest.split('/')[0] ?? null);
  if (recursive && from !== null && rest !== from) {
    await collectBelow(view, joinPath(path, from), after, limit, found);
  } else if (recursive && from !== null) {
    await collectBelow(view, joinPath(path, from), null, limit, found);
  }
  while (found.length < limit) {
    const page = await view.children(path, from, limit - found.length);
    for (const info of page) {
      if (found.length >= limit) return;
      found.push(info);
      if (recursive && info.kind === 'dir') await collect(view, info.path, null, limit, true, found);
    }
    const last = page.at(-1);
    if (last === undefined) return;
    from = splitPath(last.path).name;
  }
}

/** Goes on inside a directory that an earlier listing ended in. */
async function collectBelow(
  view: PathView,
  path: string,
  after: string | null,
  limit: number,
  found: FileInfo[],
): Promise<void> {
  const info = await view.stat(path);
  if (info?.kind === 'dir' && found.length < limit) await collect(view, path, after, limit, true, found);
}

async function* bytesOf(
  reader: FileReader,
  from: number,
  to: number,
  signal: AbortSignal | undefined,
): AsyncGenerator<Buffer, void> {
  try {
    for (let at = from; at < to; ) {
      const bytes = await reader.read(at, Math.min(readBytes, to - at), signal);
      if (bytes.length === 0) return;
      at += bytes.length;
      yield bytes;
    }
  } finally {
    reader.close();
  }
}

/** The directory at a path, made with those above it where they are missing, retained while `body` runs. */
async function withDirectory<T>(
  own: WorkspaceArtifact,
  path: string,
  owner: Owner,
  body: (directory: Inode) => Promise<T>,
): Promise<T> {
  const { tree } = own;
  let at: Inode = tree.root;
  tree.retain(at);
  try {
    for (const name of path === '' ? [] : path.split('/')) {
      let next = await tree.lookup(at, name);
      if (next === undefined) {
        next = await tree.create(at, name, initOf('dir', 0o755, owner));
        announce(own, at, name);
      }
      if (next.kind !== 'dir')
        throw new ArtifactError('NotDirectory', `${tree.pathOf(next)} is no directory`);
      tree.retain(next);
      tree.release(at);
      at = next;
    }
    return await body(at);
  } finally {
    tree.release(at);
  }
}

async function removeTree(
  own: WorkspaceArtifact,
  parent: Inode,
  name: string,
  inode: Inode,
  recursive: boolean,
): Promise<void> {
  const { tree } = own;
  if (inode.kind !== 'dir') {
    await tree.unlink(parent, name);
    // Its other names, if it has any, show one link less.
    own.invalidate({ type: 'inode', inode });
  } else {
    tree.retain(inode);
    try {
      for (;;) {
        const items = recursive ? await tree.list(inode, null, removedPerPage) : [];
        if (items.length === 0) break;
        for (const item of items) await removeTree(own, inode, item.name, item.inode, true);
      }
      await tree.rmdir(parent, name);
    } finally {
      tree.release(inode);
    }
  }
  announce(own, parent, name);
}

function announce(own: WorkspaceArtifact, parent: Inode, name: string): void {
  own.invalidate({ type: 'entry', parent, name });
  own.invalidate({ type: 'inode', inode: parent });
}

function initOf(kind: CreateInit['kind'], mode: number, owner: Owner): CreateInit {
  const uid = owner.uid ?? process.getuid?.() ?? 0;
  const gid = owner.gid ?? process.getgid?.() ?? 0;
  return { kind, mode: kind === 'dir' ? 0o755 : mode, uid, gid };
}
