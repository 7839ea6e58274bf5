import type {
  Artifact,
  ArtifactStatus,
  Artifacts,
  AttributeChanges,
  CommitOptions,
  CommitResult,
  CreateInit,
  DirectoryItem,
  FilesByPath,
  Inode,
  Invalidation,
  RenameFlags,
  StagedPath,
  WorkingTree,
} from '../../src/artifacts/ports.js';
import type { VersionInfo, VersionTree } from '../../src/catalog/ports.js';
import type { FileContent, FileReader } from '../../src/content/ports.js';
import {
  compareEntries,
  compareNames,
  type Entry,
  joinPath,
  type Kind,
  systemClock,
  type Time,
} from '../../src/model/entry.js';
import { ArtifactError } from '../../src/model/errors.js';
import type { Manifest } from '../../src/workspace/records.js';

/** A naive working view in memory, so that the file system can be tested before (and without) the layers below. */
class FakeInode implements Inode {
  readonly ino: number;
  readonly kind: Kind;
  mode: number;
  uid: number;
  gid: number;
  nlink: number;
  size: number;
  readonly rdev: number;
  atime: Time;
  mtime: Time;
  ctime: Time;
  readonly target: string;
  allocated = 0;
  children = new Map<string, FakeInode>();
  parent: FakeInode | null = null;
  bytes = Buffer.alloc(0);
  xattrs = new Map<string, Uint8Array>();

  constructor(ino: number, init: CreateInit) {
    this.ino = ino;
    this.kind = init.kind;
    this.mode = init.mode;
    this.uid = init.uid;
    this.gid = init.gid;
    this.nlink = init.kind === 'dir' ? 2 : 1;
    this.target = init.target ?? '';
    this.size = Buffer.byteLength(this.target);
    this.rdev = init.rdev ?? 0;
    this.atime = this.mtime = this.ctime = systemClock();
  }
}

const missing = (name: string): ArtifactError => new ArtifactError('NotFound', `${name} does not exist`);
const node = (inode: Inode): FakeInode => inode as FakeInode;

export class FakeTree implements WorkingTree {
  root: FakeInode = new FakeInode(1, { kind: 'dir', mode: 0o755, uid: 0, gid: 0 });
  retained = new Map<Inode, number>();
  openForWriting = new Map<Inode, number>();
  /** Answers of names and bytes come later when set, as from the store. */
  slow = false;
  #nextIno = 2 ** 20;

  #later<T>(value: T): T | Promise<T> {
    return this.slow ? Promise.resolve(value) : value;
  }
  lookup(parent: Inode, name: string): Inode | undefined | Promise<Inode | undefined> {
    return this.#later(node(parent).children.get(name));
  }
  list(parent: Inode, after: string | null, limit: number): DirectoryItem[] | Promise<DirectoryItem[]> {
    const items = [...node(parent).children].map(([name, inode]) => ({ name, inode }));
    items.sort((a, b) => compareNames(a.name, b.name));
    return this.#later(
      items.filter((i) => after === null || compareNames(i.name, after) > 0).slice(0, limit),
    );
  }
  parentOf(directory: Inode): Inode {
    return node(directory).parent ?? this.root;
  }
  create(parent: Inode, name: string, init: CreateInit): Inode {
    if (node(parent).children.has(name)) throw new ArtifactError('Exists', name);
    const made = new FakeInode(this.#nextIno++, init);
    this.#add(node(parent), name, made);
    return made;
  }
  #add(parent: FakeInode, name: string, child: FakeInode): void {
    parent.children.set(name, child);
    if (child.kind === 'dir') {
      child.parent = parent;
      parent.nlink++;
    }
    parent.mtime = parent.ctime = systemClock();
  }
  #drop(parent: FakeInode, name: string): void {
    const child = parent.children.get(name);
    if (child === undefined) throw missing(name);
    parent.children.delete(name);
    if (child.kind === 'dir') {
      child.nlink = 0;
      parent.nlink--;
    } else child.nlink--;
    parent.mtime = parent.ctime = child.ctime = systemClock();
  }
  link(inode: Inode, parent: Inode, name: string): void {
    if (node(parent).children.has(name)) throw new ArtifactError('Exists', name);
    this.#add(node(parent), name, node(inode));
    node(inode).nlink++;
  }
  unlink(parent: Inode, name: string): void {
    if (node(parent).children.get(name)?.kind === 'dir') throw new ArtifactError('IsDirectory', name);
    this.#drop(node(parent), name);
  }
  rmdir(parent: Inode, name: string): void {
    const child = node(parent).children.get(name);
    if (child === undefined) throw missing(name);
    if (child.kind !== 'dir') throw new ArtifactError('NotDirectory', name);
    if (child.children.size > 0) throw new ArtifactError('NotEmpty', name);
    this.#drop(node(parent), name);
  }
  rename(from: Inode, fromName: string, to: Inode, toName: string, flags: RenameFlags): void {
    const source = node(from).children.get(fromName);
    const target = node(to).children.get(toName);
    if (source === undefined) throw missing(fromName);
    if (flags.noReplace && target !== undefined) throw new ArtifactError('Exists', toName);
    if (source === target) return;
    if (flags.exchange) {
      if (target === undefined) throw missing(toName);
      node(from).children.set(fromName, target);
      node(to).children.set(toName, source);
      return;
    }
    if (target?.kind === 'dir' && target.children.size > 0) throw new ArtifactError('NotEmpty', toName);
    if (target !== undefined) this.#drop(node(to), toName);
    node(from).children.delete(fromName);
    if (source.kind === 'dir') node(from).nlink--;
    this.#add(node(to), toName, source);
  }
  setAttributes(inode: Inode, changes: AttributeChanges): void {
    const it = node(inode);
    const when = (t: Time | 'now'): Time => (t === 'now' ? systemClock() : t);
    if (changes.mode !== undefined) it.mode = changes.mode;
    if (changes.uid !== undefined) it.uid = changes.uid;
    if (changes.gid !== undefined) it.gid = changes.gid;
    if (changes.size !== undefined) {
      const bytes = Buffer.alloc(changes.size);
      it.bytes.copy(bytes);
      it.bytes = bytes;
      it.size = changes.size;
      it.mtime = systemClock();
    }
    if (changes.atime !== undefined) it.atime = when(changes.atime);
    if (changes.mtime !== undefined) it.mtime = when(changes.mtime);
    it.ctime = systemClock();
  }
  open(inode: Inode): FileReader {
    return {
      read: (offset, length) => this.#later(node(inode).bytes.subarray(offset, offset + length)),
      close: () => {},
    };
  }
  write(inode: Inode, offset: number, data: Uint8Array, kill = false): number | Promise<number> {
    const copy = Buffer.from(data);
    const write = (): number => {
      const it = node(inode);
      const bytes = Buffer.alloc(Math.max(it.bytes.length, offset + copy.length));
      it.bytes.copy(bytes);
      copy.copy(bytes, offset);
      it.bytes = bytes;
      it.size = bytes.length;
      it.allocated = bytes.length;
      it.mtime = it.ctime = systemClock();
      if (kill) it.mode &= ~0o6000;
      return copy.length;
    };
    return this.slow ? Promise.resolve().then(write) : write();
  }
  async sync(): Promise<void> {}
  async syncAll(): Promise<void> {}
  xattr(inode: Inode, name: string): Uint8Array | undefined {
    return node(inode).xattrs.get(name);
  }
  xattrs(inode: Inode): readonly string[] {
    return [...node(inode).xattrs.keys()];
  }
  setXattr(inode: Inode, name: string, value: Uint8Array | null): void {
    if (value === null) node(inode).xattrs.delete(name);
    else node(inode).xattrs.set(name, value);
  }
  #count(counts: Map<Inode, number>, inode: Inode, by: number): void {
    const count = (counts.get(inode) ?? 0) + by;
    if (count < 0) throw new Error('released more often than retained');
    if (count === 0) counts.delete(inode);
    else counts.set(inode, count);
  }
  retain(inode: Inode): void {
    this.#count(this.retained, inode, 1);
  }
  release(inode: Inode): void {
    this.#count(this.retained, inode, -1);
  }
  opened(inode: Inode): void {
    this.#count(this.openForWriting, inode, 1);
  }
  closed(inode: Inode): void {
    this.#count(this.openForWriting, inode, -1);
  }
}

export class FakeArtifact implements Artifact {
  readonly tree = new FakeTree();
  readonly #owner: FakeArtifacts;
  readonly id: string;
  path: string;
  readonly children = new Map<string, FakeArtifact>();
  readonly #versions: { info: VersionInfo; entries: Entry[] }[] = [];
  readonly aliasTable: Record<string, number> = {};
  #manifest: Manifest = { type: 'generic' };
  #staged = false;
  #last = new Map<string, string>();
  #error = '';
  readonly listeners = new Set<(what: Invalidation) => void>();

  constructor(owner: FakeArtifacts, id: string, path: string) {
    this.#owner = owner;
    this.id = id;
    this.path = path;
    if (path === '') this.#manifest = { type: 'collection' };
  }
  get isCollection(): boolean {
    return this.#manifest['type'] === 'collection';
  }
  get isNew(): boolean {
    return this.#versions.length === 0;
  }
  #walk(): Entry[] {
    const entries: Entry[] = [];
    const visit = (inode: FakeInode, dir: string, name: string): void => {
      const object = `d/${inode.ino}-${this.#versions.length}`;
      if (inode.kind === 'file') this.#owner.objects.set(`${this.id}/${object}`, Buffer.from(inode.bytes));
      entries.push({
        dir,
        name,
        kind: inode.kind,
        ino: inode.ino,
        mode: inode.mode,
        uid: inode.uid,
        gid: inode.gid,
        nlink: inode.nlink,
        size: inode.size,
        mtime: inode.mtime,
        ctime: inode.ctime,
        target: inode.target,
        rdev: inode.rdev,
        extents: inode.size > 0 && inode.kind === 'file' ? [{ object, offset: 0, length: inode.size }] : [],
        xattrs: Object.fromEntries([...inode.xattrs].map(([k, v]) => [k, Buffer.from(v).toString('base64')])),
      });
      for (const [child, it] of inode.children) visit(it, name === '' ? '' : joinPath(dir, name), child);
    };
    visit(this.tree.root, '', '');
    return entries.sort(compareEntries);
  }
  #paths(): Map<string, string> {
    const paths = new Map<string, string>();
    const visit = (inode: FakeInode, path: string): void => {
      if (path !== '')
        paths.set(path, `${inode.kind} ${inode.mode} ${inode.bytes.toString('hex')} ${inode.target}`);
      for (const [name, child] of inode.children) visit(child, joinPath(path, name));
    };
    visit(this.tree.root, '');
    return paths;
  }
  #changes(): StagedPath[] {
    const now = this.#paths();
    const changes: StagedPath[] = [];
    const kind = 'file';
    for (const [path, what] of now) {
      const before = this.#last.get(path);
      if (before === undefined) changes.push({ path, change: 'added', kind, size: 0 });
      else if (before !== what) changes.push({ path, change: 'changed', kind, size: 0 });
    }
    for (const path of this.#last.keys())
      if (!now.has(path)) changes.push({ path, change: 'removed', kind, size: 0 });
    return changes.sort((a, b) => compareNames(a.path, b.path));
  }
  async status(limit = 100): Promise<ArtifactStatus> {
    const staged = this.#changes();
    return {
      name: this.path.split('/').at(-1) ?? '',
      path: this.path,
      artifactId: this.id,
      type: String(this.#manifest['type']),
      base: this.#versions.at(-1)?.info.version ?? null,
      staged: staged.slice(0, limit),
      stagedCount: staged.length,
      stagedBytes: 0,
      bytesToUpload: 0,
      uploadError: null,
      openForWriting: [],
      conflicts: [],
      committing: null,
      lastError: this.#error || null,
    };
  }
  async commit(options: CommitOptions): Promise<CommitResult> {
    await Promise.resolve();
    if (options.signal?.aborted) throw new ArtifactError('Interrupted', 'the commit was interrupted');
    const changes = this.#changes();
    if (changes.length === 0 && !this.#staged && !this.isNew)
      throw new ArtifactError('NothingStaged', `nothing is staged in ${this.path}`);
    const version = this.#versions.length;
    const entries = this.#walk();
    const count = (change: string): number => changes.filter((c) => c.change === change).length;
    const summary = { added: count('added'), changed: count('changed'), removed: count('removed') };
    this.#versions.push({
      entries,
      info: {
        version,
        seq: version + 1,
        commitId: `commit-${version}`,
        timeMs: 1_700_000_000_000 + version * 1000,
        host: 'host',
        user: 'user',
        message: options.message,
        tree: { object: '', offset: 0, length: 0, sha256: '', entries: entries.length, bytes: 0 },
        ...summary,
        expired: false,
      },
    });
    this.#last = this.#paths();
    this.#staged = false;
    return { version, commitId: '', summary, bytesUploaded: 0, rebased: false, openFiles: [] };
  }
  async discard(): Promise<number> {
    const count = this.#changes().length;
    const entries = this.#versions.at(-1)?.entries ?? [];
    const fresh = new Map<string, FakeInode>();
    this.tree.root.children.clear();
    const root = this.tree.root;
    fresh.set('', root);
    for (const entry of entries) {
      if (entry.name === '') continue;
      const parent = fresh.get(entry.dir) ?? root;
      const inode = node(this.tree.create(parent, entry.name, entry));
      const object = entry.extents?.[0]?.object;
      if (object != null) {
        this.tree.setAttributes(inode, { size: entry.size });
        this.#owner.objects.get(`${this.id}/${object}`)?.copy(inode.bytes);
      }
      fresh.set(joinPath(entry.dir, entry.name), inode);
    }
    this.emit({ type: 'all' });
    return count;
  }
  emit(what: Invalidation): void {
    for (const listener of this.listeners) listener(what);
  }
  async refresh(): Promise<boolean> {
    return false;
  }
  versions(): readonly VersionInfo[] {
    return this.#versions.map((v) => v.info).reverse();
  }
  aliases(): Readonly<Record<string, number>> {
    return this.aliasTable;
  }
  resolveVersion(name: string): VersionInfo {
    const number =
      name === 'latest'
        ? this.#versions.length - 1
        : (this.aliasTable[name] ?? Number(name.replace(/^v/, '')));
    const found = this.#versions[number];
    if (found === undefined) throw missing(`version ${name}`);
    return found.info;
  }
  async versionTree(version: VersionInfo): Promise<VersionTree> {
    const entries = this.#versions[version.version]?.entries ?? [];
    const [root] = entries;
    if (root === undefined) throw missing('tree');
    return {
      ref: version.tree,
      root,
      inoPrefixes: [],
      lookup: (dir, name) => entries.find((e) => e.dir === dir && e.name === name && name !== ''),
      list: (dir, after, limit) =>
        entries
          .filter(
            (e) => e.dir === dir && e.name !== '' && (after === null || compareNames(e.name, after) > 0),
          )
          .slice(0, limit),
      walk: async function* () {
        yield* entries;
      },
    };
  }
  openVersionFile(content: FileContent): FileReader {
    return {
      read: (offset, length) => {
        const wanted = Math.max(0, Math.min(length, content.size() - offset));
        const bytes = Buffer.alloc(wanted);
        for (const piece of content.pieces(offset, wanted)) {
          if (piece.source.type !== 'object') continue;
          const object = this.#owner.objects.get(`${this.id}/${piece.source.object}`) ?? Buffer.alloc(0);
          object.copy(bytes, piece.start - offset, piece.source.offset, piece.source.offset + piece.length);
        }
        return bytes;
      },
      close: () => {},
    };
  }
  async diff(): ReturnType<Artifact['diff']> {
    const changes = this.#changes();
    const count = (change: string): number => changes.filter((c) => c.change === change).length;
    return {
      changes,
      summary: { added: count('added'), changed: count('changed'), removed: count('removed') },
    };
  }
  manifest(): Manifest {
    return this.#manifest;
  }
  setManifest(manifest: Manifest): void {
    this.#manifest = manifest;
    this.#staged = true;
  }
  lastError(): string {
    return this.#error;
  }
  setLastError(text: string): void {
    this.#error = text;
  }
  onInvalidate(listener: (what: Invalidation) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
}

const noFiles = (): never => {
  throw new Error('files by path are not part of the fake');
};

export class FakeArtifacts implements Artifacts {
  readonly workspaceId = 'workspace';
  readonly storeUrl = 'memory:';
  readonly objects = new Map<string, Buffer>();
  readonly root: FakeArtifact = new FakeArtifact(this, 'root', '');
  readonly listeners = new Set<(collection: Artifact, name: string) => void>();
  /** Artifacts that cannot be opened. */
  readonly broken = new Set<string>();
  #count = 0;

  children(collection: Artifact, after: string | null, limit: number): readonly string[] {
    const names = [...(collection as FakeArtifact).children.keys()].sort(compareNames);
    return names.filter((name) => after === null || compareNames(name, after) > 0).slice(0, limit);
  }
  child(collection: Artifact, name: string): Artifact | undefined {
    if (this.broken.has(name)) throw new ArtifactError('StoreUnavailable', `${name} cannot be read`);
    return (collection as FakeArtifact).children.get(name);
  }
  childId(collection: Artifact, name: string): string | undefined {
    return (collection as FakeArtifact).children.get(name)?.id;
  }
  find(path: string): FakeArtifact {
    let at: FakeArtifact = this.root;
    for (const name of path.split('/')) {
      const next = at.children.get(name);
      if (next === undefined) throw missing(path);
      at = next;
    }
    return at;
  }
  create(
    collection: Artifact,
    name: string,
    options: { mode?: number; uid?: number; gid?: number } = {},
  ): Artifact {
    const parent = collection as FakeArtifact;
    if (/^[.@]/.test(name)) throw new ArtifactError('InvalidName', name);
    if (parent.children.has(name)) throw new ArtifactError('Exists', name);
    const made = new FakeArtifact(this, `id-${this.#count++}`, joinPath(parent.path, name));
    made.tree.setAttributes(made.tree.root, options);
    parent.children.set(name, made);
    return made;
  }
  remove(collection: Artifact, name: string): void {
    const child = (collection as FakeArtifact).children.get(name);
    if (child === undefined) throw missing(name);
    if (!child.isNew)
      throw new ArtifactError('NotPermitted', `${name} has versions`, { hint: `artifactfs rm ${name}` });
    if (child.tree.root.children.size > 0) throw new ArtifactError('NotEmpty', name);
    (collection as FakeArtifact).children.delete(name);
  }
  rename(from: Artifact, fromName: string, to: Artifact, toName: string): void {
    const child = (from as FakeArtifact).children.get(fromName);
    if (child === undefined) throw missing(fromName);
    if ((to as FakeArtifact).children.has(toName)) throw new ArtifactError('Exists', toName);
    (from as FakeArtifact).children.delete(fromName);
    (to as FakeArtifact).children.set(toName, child);
    child.path = joinPath(to.path, toName);
  }
  async refresh(): Promise<void> {}
  staged(): readonly Artifact[] {
    return [...this.root.children.values()];
  }
  onChildrenChanged(listener: (collection: Artifact, name: string) => void): () => void {
    this.listeners.add(listener);
    return () => this.listeners.delete(listener);
  }
  readonly files: FilesByPath = {
    stat: noFiles,
    list: noFiles,
    read: noFiles,
    write: noFiles,
    mkdir: noFiles,
    symlink: noFiles,
    remove: noFiles,
  };
  async [Symbol.asyncDispose](): Promise<void> {}
}
