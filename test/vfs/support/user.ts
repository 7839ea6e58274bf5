import type { Artifacts } from '../../../src/artifacts/ports.js';
import type { Kind } from '../../../src/model/entry.js';
import { ArtifactError, type ErrorCode } from '../../../src/model/errors.js';
import { createFileSystem } from '../../../src/vfs/create-file-system.js';
import type {
  Attributes,
  DirectoryEntry,
  KernelLocalFiles,
  NodeEntry,
  NodeId,
  OpenReply,
  RequestContext,
} from '../../../src/vfs/file-system.js';
import { rootNodeId } from '../../../src/vfs/file-system.js';
import { O_CREAT, O_EXCL, O_TRUNC, O_WRONLY } from '../../../src/vfs/open-flags.js';

export type FileSystemUnderTest = ReturnType<typeof createFileSystem>;

export const contextOf = (uid = 0, gid = 0, signal = new AbortController().signal): RequestContext => ({
  uid,
  gid,
  pid: 1,
  umask: 0,
  signal,
});

const space = {
  blockBytes: 4096,
  blocks: 1000,
  blocksFree: 600,
  blocksAvailable: 500,
  files: 100,
  filesFree: 50,
};

/** What the kernel was told. */
class Told {
  readonly entries: string[] = [];
  readonly inodes: NodeId[] = [];
  epochs = 0;
  drained = 0;
  keepsWrites = false;
  localFiles: KernelLocalFiles | undefined;
  writeBack: (nodes: readonly NodeId[]) => Promise<void> = async () => {};
  invalidateEntry(parent: NodeId, name: string): void {
    this.entries.push(`${parent}/${name}`);
  }
  invalidateInode(node: NodeId): void {
    this.inodes.push(node);
  }
  invalidateEveryEntry(): void {
    this.epochs++;
  }
  async drain(): Promise<void> {
    this.drained++;
  }
}

/**
 * A program on the mount, with a kernel that caches nothing: paths are looked up name by name, and forgotten again.
 * Umask 0, so that modes are what is asked for.
 */
export class User {
  readonly fs: FileSystemUnderTest;
  readonly told = new Told();
  context: RequestContext;

  constructor(artifacts: Artifacts, context = contextOf()) {
    this.context = context;
    this.fs = createFileSystem({
      artifacts,
      statistics: () => space,
      texts: {
        version: () => 'test 1\n',
        readOnly: () => null,
        config: () => 'store=memory:\n',
        stats: () => 'requests 0\n',
      },
    });
    this.fs.attach(this.told);
  }

  /** Looks a path up and keeps the last node until `forget`. */
  async node(path: string): Promise<NodeEntry> {
    let at: NodeId = rootNodeId;
    let entry: NodeEntry | undefined;
    for (const name of path.split('/').filter((n) => n !== '')) {
      const parent: NodeEntry | undefined = entry;
      let next: NodeEntry | undefined;
      try {
        next = await this.fs.lookup(this.context, at, name);
      } finally {
        if (parent !== undefined) this.forget(parent);
      }
      if (next === undefined) throw new ArtifactError('NotFound', path);
      entry = next;
      at = next.nodeId;
    }
    if (entry !== undefined) return entry;
    const { attributes, attrSeconds } = await this.fs.getAttributes(this.context, rootNodeId);
    return { nodeId: rootNodeId, generation: 0, attributes, attrSeconds, entrySeconds: 0 };
  }

  forget(entry: NodeEntry): void {
    this.fs.forget(entry.nodeId, 1);
  }

  async with<T>(path: string, use: (id: NodeId) => T | Promise<T>): Promise<T> {
    const entry = await this.node(path);
    try {
      return await use(entry.nodeId);
    } finally {
      this.forget(entry);
    }
  }

  inParent<T>(path: string, use: (parent: NodeId, name: string) => T | Promise<T>): Promise<T> {
    const slash = path.lastIndexOf('/');
    return this.with(path.slice(0, Math.max(0, slash)), (parent) => use(parent, path.slice(slash + 1)));
  }

  /** The node that an operation made is forgotten at once. */
  async made<E extends NodeEntry>(entry: E | Promise<E>): Promise<E> {
    const made = await entry;
    this.forget(made);
    return made;
  }

  stat(path: string): Promise<Attributes> {
    return this.with(path, async (id) => (await this.fs.getAttributes(this.context, id)).attributes);
  }
  async exists(path: string): Promise<boolean> {
    try {
      await this.stat(path);
      return true;
    } catch (error) {
      if (error instanceof ArtifactError && error.code === 'NotFound') return false;
      throw error;
    }
  }
  async mkdir(path: string, mode = 0o755): Promise<void> {
    await this.inParent(path, (p, name) =>
      this.made(this.fs.makeDirectory(this.context, p, name, mode) as NodeEntry),
    );
  }
  async mknod(path: string, kind: Kind, mode = 0o644, rdev = 0): Promise<void> {
    await this.inParent(path, async (p, name) =>
      this.made(await this.fs.makeNode(this.context, p, name, mode, kind, rdev)),
    );
  }
  async symlink(target: string, path: string): Promise<void> {
    await this.inParent(path, async (p, name) =>
      this.made(await this.fs.symlink(this.context, p, name, target)),
    );
  }
  async link(from: string, to: string): Promise<void> {
    await this.with(from, (id) =>
      this.inParent(to, async (p, name) => this.made(await this.fs.link(this.context, id, p, name))),
    );
  }
  unlink(path: string): Promise<void> {
    return this.inParent(path, (p, name) => this.fs.unlink(this.context, p, name));
  }
  rmdir(path: string): Promise<void> {
    return this.inParent(path, (p, name) => this.fs.removeDirectory(this.context, p, name));
  }
  rename(from: string, to: string, flags = { noReplace: false, exchange: false }): Promise<void> {
    return this.inParent(from, async (fp, fn) => {
      // The kernel walks the old path to its end before it begins with the new one.
      const { attributes } = await this.fs.getAttributes(this.context, fp);
      if (attributes.kind !== 'dir') throw new ArtifactError('NotDirectory', from);
      await this.inParent(to, (tp, tn) => this.fs.rename(this.context, fp, fn, tp, tn, flags));
    });
  }
  readlink(path: string): Promise<string> {
    return this.with(path, (id) => this.fs.readLink(this.context, id));
  }

  open(path: string, flags: number): Promise<OpenReply> {
    return this.with(path, (id) => this.fs.open(this.context, id, flags));
  }
  /** open(2) with O_CREAT, as the kernel does it: CREATE only for a name that was not found. */
  async openCreating(path: string, flags = O_WRONLY | O_TRUNC, mode = 0o644): Promise<OpenReply> {
    if (await this.exists(path)) {
      if ((flags & O_EXCL) !== 0) throw new ArtifactError('Exists', path);
      return this.open(path, flags);
    }
    return this.inParent(path, async (p, name) => {
      const made = await this.made(await this.fs.create(this.context, p, name, mode, flags | O_CREAT));
      return made.open;
    });
  }
  async writeAt(handle: number, offset: number, text: string | Buffer): Promise<number> {
    const data = Buffer.from(text as string);
    return this.fs.write(this.context, handle, offset, data, { killPrivileges: false, fromCache: false });
  }
  async close(handle: number): Promise<void> {
    try {
      await this.fs.flush(this.context, handle);
    } finally {
      this.fs.release(handle);
    }
  }
  /** `echo -n text > path` */
  async write(path: string, text: string): Promise<void> {
    const { handle } = await this.openCreating(path);
    try {
      if (text !== '') await this.writeAt(handle, 0, text);
    } finally {
      await this.close(handle);
    }
  }
  async readAll(handle: number, step = 7): Promise<string> {
    const parts: Buffer[] = [];
    for (let offset = 0; ; ) {
      const part = await this.fs.read(this.context, handle, offset, step);
      if (part.length === 0) return Buffer.concat(parts).toString();
      parts.push(Buffer.from(part));
      offset += part.length;
    }
  }
  async read(path: string): Promise<string> {
    const { handle } = await this.open(path, 0);
    try {
      return await this.readAll(handle, 4096);
    } finally {
      await this.close(handle);
    }
  }

  /** Names in the order given, without '.' and '..'. */
  async ls(path: string): Promise<string[]> {
    return (await this.entries(path)).map((e) => e.name).filter((name) => name !== '.' && name !== '..');
  }
  entries(path: string): Promise<DirectoryEntry[]> {
    return this.with(path, async (id) => {
      const { handle } = await this.fs.openDirectory(this.context, id, 0);
      try {
        return await this.readDirectory(handle);
      } finally {
        this.fs.releaseDirectory(handle);
      }
    });
  }
  /** `perCall` entries at a time, as buffers of the kernel are. */
  async readDirectory(handle: number, from = 0, perCall = 3): Promise<DirectoryEntry[]> {
    const all: DirectoryEntry[] = [];
    for (let offset = from; ; ) {
      const before = all.length;
      await this.fs.readDirectory(this.context, handle, offset, (entry) => {
        if (all.length - before === perCall) return false;
        all.push(entry);
        return true;
      });
      if (all.length === before) return all;
      offset = all.at(-1)?.nextOffset ?? 0;
    }
  }
  commit(artifact: string, message = 'message\n'): Promise<void> {
    return this.write(`${artifact}/.artifact/commit`, message);
  }
}

/** The code of the failure, or 'ok'. */
export async function outcome(action: () => unknown): Promise<ErrorCode | 'ok'> {
  try {
    await action();
    return 'ok';
  } catch (error) {
    if (error instanceof ArtifactError) return error.code;
    throw error;
  }
}

export const turns = async (): Promise<void> => {
  for (let i = 0; i < 4; i++) await new Promise((resolve) => setImmediate(resolve));
};
