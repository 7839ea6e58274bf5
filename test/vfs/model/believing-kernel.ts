import { ArtifactError } from '../../../src/model/errors.js';
import type { Attributes, NodeEntry, NodeId } from '../../../src/vfs/file-system.js';
import { rootNodeId } from '../../../src/vfs/file-system.js';
import { O_CREAT, O_RDONLY, O_TRUNC, O_WRONLY } from '../../../src/vfs/open-flags.js';
import type { FileSystemUnderTest } from '../support/user.js';
import { contextOf } from '../support/user.js';

const context = contextOf();

/**
 * A kernel that believes all it is told, for ever: names, attributes, pages and listings, until it changed them
 * itself or was told that they are no longer true. `check` compares every belief with the truth.
 */
export class BelievingKernel {
  readonly #fs: FileSystemUnderTest;
  readonly #names = new Map<NodeId, Map<string, NodeId>>();
  readonly #attributes = new Map<NodeId, Attributes>();
  readonly #pages = new Map<NodeId, string>();
  readonly #listings = new Map<NodeId, string[]>();
  readonly #lookups = new Map<NodeId, number>();

  constructor(fs: FileSystemUnderTest) {
    this.#fs = fs;
    fs.attach({
      invalidateEntry: (parent, name) => {
        // As Linux does: nothing for a name it does not know.
        if (this.#names.get(parent)?.delete(name)) this.#directoryChanged(parent);
      },
      invalidateInode: (node) => this.#inodeChanged(node),
    });
  }

  async stat(path: string): Promise<Attributes> {
    const id = await this.#walk(path);
    const known = this.#attributes.get(id);
    if (known !== undefined) return known;
    const { attributes } = await this.#fs.getAttributes(context, id);
    this.#attributes.set(id, attributes);
    return attributes;
  }

  async read(path: string): Promise<string> {
    const id = await this.#walk(path);
    const text = this.#pages.get(id) ?? (await this.#readNode(id));
    this.#pages.set(id, text);
    return text;
  }

  async list(path: string): Promise<string[]> {
    const id = await this.#walk(path);
    const names = this.#listings.get(id) ?? (await this.#listNode(id));
    this.#listings.set(id, names);
    return names;
  }

  async write(path: string, text: string): Promise<void> {
    const [parent, name] = await this.#place(path);
    const known = await this.#child(parent, name);
    const flags = O_WRONLY | O_TRUNC;
    let handle: number;
    let id: NodeId;
    if (known === undefined) {
      const made = await this.#fs.create(context, parent, name, 0o644, flags | O_CREAT);
      id = this.#learn(parent, name, made);
      this.#directoryChanged(parent);
      handle = made.open.handle;
    } else {
      id = known;
      handle = (await this.#fs.open(context, id, flags)).handle;
    }
    this.#inodeChanged(id);
    const data = Buffer.from(text);
    await this.#fs.write(context, handle, 0, data, { killPrivileges: false, fromCache: false });
    this.#fs.release(handle);
  }

  async mkdir(path: string): Promise<void> {
    const [parent, name] = await this.#place(path);
    if ((await this.#child(parent, name)) !== undefined) throw new ArtifactError('Exists', path);
    this.#learn(parent, name, await this.#fs.makeDirectory(context, parent, name, 0o755));
    this.#directoryChanged(parent);
  }

  async link(from: string, to: string): Promise<void> {
    const id = await this.#walk(from);
    const [parent, name] = await this.#place(to);
    if ((await this.#child(parent, name)) !== undefined) throw new ArtifactError('Exists', to);
    this.#learn(parent, name, await this.#fs.link(context, id, parent, name));
    this.#directoryChanged(parent);
  }

  async remove(path: string): Promise<void> {
    const [parent, name] = await this.#place(path);
    const id = await this.#child(parent, name);
    if (id === undefined) throw new ArtifactError('NotFound', path);
    const { kind } = await this.stat(path);
    if (kind === 'dir') await this.#fs.removeDirectory(context, parent, name);
    else await this.#fs.unlink(context, parent, name);
    this.#names.get(parent)?.delete(name);
    this.#attributes.delete(id);
    this.#directoryChanged(parent);
  }

  async rename(from: string, to: string): Promise<void> {
    const [parent, name] = await this.#place(from);
    const [newParent, newName] = await this.#place(to);
    const id = await this.#child(parent, name);
    const replaced = await this.#child(newParent, newName);
    await this.#fs.rename(context, parent, name, newParent, newName, { noReplace: false, exchange: false });
    if (id === undefined || id === replaced) return;
    this.#names.get(parent)?.delete(name);
    this.#namesOf(newParent).set(newName, id);
    for (const changed of [id, replaced]) if (changed !== undefined) this.#attributes.delete(changed);
    this.#directoryChanged(parent);
    this.#directoryChanged(newParent);
  }

  /** Every belief that a program can still reach, with the truth beside it where they differ. */
  async check(): Promise<string[]> {
    const wrong: string[] = [];
    const seen = new Set<NodeId>();
    const visit = async (id: NodeId, path: string): Promise<void> => {
      if (seen.has(id)) return;
      seen.add(id);
      await this.#checkNode(id, path, wrong);
      for (const [name, child] of [...(this.#names.get(id) ?? [])]) {
        const truth = await this.#fs.lookup(context, id, name);
        if (truth !== undefined) this.#fs.forget(truth.nodeId, 1);
        if (truth?.nodeId !== child) wrong.push(`${path}/${name}: node ${child}, really ${truth?.nodeId}`);
        else await visit(child, `${path}/${name}`);
      }
    };
    await visit(rootNodeId, '');
    return wrong;
  }

  forgetAll(): void {
    for (const [id, count] of this.#lookups) this.#fs.forget(id, count);
    this.#lookups.clear();
  }

  async #checkNode(id: NodeId, path: string, wrong: string[]): Promise<void> {
    const attributes = this.#attributes.get(id);
    const truth = (await this.#fs.getAttributes(context, id)).attributes;
    if (attributes !== undefined && text(attributes) !== text(truth)) {
      wrong.push(`${path}: ${text(attributes)}, really ${text(truth)}`);
    }
    const pages = this.#pages.get(id);
    const bytes = pages === undefined ? undefined : await this.#readNode(id);
    if (pages !== bytes) wrong.push(`${path}: reads "${pages}", really "${bytes}"`);
    const listing = this.#listings.get(id)?.join(' ');
    const names = listing === undefined ? undefined : (await this.#listNode(id)).join(' ');
    if (listing !== names) wrong.push(`${path}: lists "${listing}", really "${names}"`);
  }

  async #walk(path: string): Promise<NodeId> {
    let at: NodeId = rootNodeId;
    for (const name of path.split('/').filter((part) => part !== '')) {
      const next = await this.#child(at, name);
      if (next === undefined) throw new ArtifactError('NotFound', path);
      at = next;
    }
    return at;
  }

  async #place(path: string): Promise<[NodeId, string]> {
    const slash = path.lastIndexOf('/');
    return [await this.#walk(path.slice(0, slash)), path.slice(slash + 1)];
  }

  async #child(parent: NodeId, name: string): Promise<NodeId | undefined> {
    const known = this.#names.get(parent)?.get(name);
    if (known !== undefined) return known;
    const entry = await this.#fs.lookup(context, parent, name);
    return entry === undefined ? undefined : this.#learn(parent, name, entry);
  }

  #learn(parent: NodeId, name: string, entry: NodeEntry): NodeId {
    const { nodeId } = entry;
    this.#lookups.set(nodeId, (this.#lookups.get(nodeId) ?? 0) + 1);
    if (entry.entrySeconds > 0) this.#namesOf(parent).set(name, nodeId);
    if (entry.attrSeconds > 0) this.#attributes.set(nodeId, entry.attributes);
    return nodeId;
  }

  #namesOf(parent: NodeId): Map<string, NodeId> {
    let names = this.#names.get(parent);
    if (names === undefined) {
      names = new Map();
      this.#names.set(parent, names);
    }
    return names;
  }

  #directoryChanged(id: NodeId): void {
    this.#attributes.delete(id);
    this.#listings.delete(id);
  }

  #inodeChanged(id: NodeId): void {
    this.#attributes.delete(id);
    this.#pages.delete(id);
    this.#listings.delete(id);
  }

  async #readNode(id: NodeId): Promise<string> {
    const { handle } = await this.#fs.open(context, id, O_RDONLY);
    try {
      return (await this.#fs.read(context, handle, 0, 1000)).toString();
    } finally {
      this.#fs.release(handle);
    }
  }

  async #listNode(id: NodeId): Promise<string[]> {
    const { handle } = this.#fs.openDirectory(context, id, 0);
    const names: string[] = [];
    await this.#fs.readDirectory(context, handle, 0, ({ name }) => names.push(name) > 0);
    this.#fs.releaseDirectory(handle);
    return names;
  }
}

/**
 * Without atime: one that was never set is that of the making while staged and the mtime in a version (model/entry.ts),
 * so a commit changes it, and nobody announces it.
 */
const text = ({ atime: _atime, ...attributes }: Attributes): string =>
  JSON.stringify(attributes, (_key, value) => (typeof value === 'bigint' ? String(value) : value));
