import type { ErrorCode } from '../../../src/model/errors.js';

/** The naive file system that the working view is compared with: everything in memory, copied whole for a version. */

export interface ModelNode {
  /** The same in every copy of the tree. */
  readonly id: number;
  readonly kind: 'file' | 'dir' | 'symlink';
  mode: number;
  data: Buffer;
  readonly target: string;
  readonly xattrs: Map<string, string>;
  readonly entries: Map<string, ModelNode>;
  /** Made without a name, and may get one. */
  isLinkable: boolean;
}

export class ModelError extends Error {
  readonly code: ErrorCode;
  constructor(code: ErrorCode) {
    super(code);
    this.code = code;
  }
}

const fail = (code: ErrorCode): never => {
  throw new ModelError(code);
};

/** Paths that begin with one of these names begin at what is held under it, whatever its names are now. */
export const isHeldName = (name: string): boolean => name.startsWith('#');

export class Model {
  /** What a program or the kernel goes on with by its number, by `isHeldName` names; one of nothing means the root. */
  readonly held = new Map<string, ModelNode>();
  root: ModelNode;
  #nextId = 0;

  constructor() {
    this.root = this.#newNode('dir', 0o755);
  }

  #newNode(kind: ModelNode['kind'], mode: number, target = ''): ModelNode {
    const id = this.#nextId++;
    return {
      id,
      kind,
      mode,
      data: Buffer.alloc(0),
      target,
      xattrs: new Map(),
      entries: new Map(),
      isLinkable: false,
    };
  }

  find(path: string): ModelNode {
    let node = this.root;
    for (const name of path === '' ? [] : path.split('/')) {
      if (isHeldName(name)) {
        node = this.held.get(name) ?? this.root;
        continue;
      }
      if (node.kind !== 'dir') fail('NotDirectory');
      node = node.entries.get(name) ?? fail('NotFound');
    }
    return node;
  }

  #place(path: string): { parent: ModelNode; name: string } {
    const slash = path.lastIndexOf('/');
    const parent = this.find(slash < 0 ? '' : path.slice(0, slash));
    if (parent.kind !== 'dir') fail('NotDirectory');
    return { parent, name: path.slice(slash + 1) };
  }

  make(path: string, kind: ModelNode['kind'], mode: number, target = ''): ModelNode {
    const { parent, name } = this.#place(path);
    this.#checkThere(parent);
    if (parent.entries.has(name)) fail('Exists');
    const node = this.#newNode(kind, mode, target);
    parent.entries.set(name, node);
    return node;
  }

  /** O_TMPFILE. */
  makeUnnamed(directory: string, isLinkable: boolean): ModelNode {
    const parent = this.find(directory);
    if (parent.kind !== 'dir') fail('NotDirectory');
    this.#checkThere(parent);
    return { ...this.#newNode('file', 0o644), isLinkable };
  }

  hasName(node: ModelNode): boolean {
    return contains(this.root, node);
  }

  #checkThere(directory: ModelNode): void {
    if (!this.hasName(directory)) fail('NotFound');
  }

  file(path: string): ModelNode {
    const node = this.find(path);
    if (node.kind === 'dir') fail('IsDirectory');
    if (node.kind !== 'file') fail('Invalid');
    return node;
  }

  link(path: string, to: string): void {
    const node = this.find(path);
    const { parent, name } = this.#place(to);
    this.#checkThere(parent);
    if (node.kind === 'dir') fail('NotPermitted');
    if (!this.hasName(node) && !node.isLinkable) fail('NotFound');
    if (parent.entries.has(name)) fail('Exists');
    parent.entries.set(name, node);
    node.isLinkable = false;
  }

  unlink(path: string): void {
    const { parent, name } = this.#place(path);
    const node = parent.entries.get(name) ?? fail('NotFound');
    if (node.kind === 'dir') fail('IsDirectory');
    parent.entries.delete(name);
  }

  rmdir(path: string): void {
    const { parent, name } = this.#place(path);
    const node = parent.entries.get(name) ?? fail('NotFound');
    if (node.kind !== 'dir') fail('NotDirectory');
    if (node.entries.size > 0) fail('NotEmpty');
    parent.entries.delete(name);
  }

  rename(from: string, to: string, flags: { noReplace?: boolean; exchange?: boolean }): void {
    const source = this.#place(from);
    const target = this.#place(to);
    this.#checkThere(target.parent);
    const node = source.parent.entries.get(source.name) ?? fail('NotFound');
    const existing = target.parent.entries.get(target.name);
    if (flags.exchange) {
      if (existing === undefined) throw new ModelError('NotFound');
      if (existing === node) return;
      if (contains(node, target.parent) || contains(existing, source.parent)) fail('Loop');
      source.parent.entries.set(source.name, existing);
      target.parent.entries.set(target.name, node);
      return;
    }
    if (existing !== undefined && flags.noReplace) fail('Exists');
    if (existing === node) return;
    if (contains(node, target.parent)) fail('Loop');
    if (existing !== undefined) {
      if (node.kind === 'dir' && existing.kind !== 'dir') fail('NotDirectory');
      if (node.kind !== 'dir' && existing.kind === 'dir') fail('IsDirectory');
      if (existing.kind === 'dir' && existing.entries.size > 0) fail('NotEmpty');
    }
    source.parent.entries.delete(source.name);
    target.parent.entries.set(target.name, node);
  }

  clone(): ModelNode {
    return cloneOf(this.root, new Map());
  }

  /** Answers what is there now, by id. */
  restore(root: ModelNode): Map<number, ModelNode> {
    const copies = new Map<ModelNode, ModelNode>();
    this.root = cloneOf(root, copies);
    return new Map([...copies.values()].map((node) => [node.id, node]));
  }
}

export function writeAt(node: ModelNode, offset: number, bytes: Buffer): void {
  if (bytes.length === 0) return;
  const data = Buffer.alloc(Math.max(node.data.length, offset + bytes.length));
  node.data.copy(data);
  bytes.copy(data, offset);
  node.data = data;
}

export function resize(node: ModelNode, size: number): void {
  const data = Buffer.alloc(size);
  node.data.copy(data, 0, 0, Math.min(size, node.data.length));
  node.data = data;
}

/** Zeros, as far as the file reaches. */
export function clear(node: ModelNode, offset: number, length: number): void {
  const clip = (at: number) => Math.min(at, node.data.length);
  node.data = Buffer.from(node.data).fill(0, clip(offset), clip(offset + length));
}

const contains = (ancestor: ModelNode, node: ModelNode): boolean =>
  ancestor === node || [...ancestor.entries.values()].some((child) => contains(child, node));

function cloneOf(node: ModelNode, seen: Map<ModelNode, ModelNode>): ModelNode {
  const known = seen.get(node);
  if (known !== undefined) return known;
  const copy: ModelNode = {
    ...node,
    data: Buffer.from(node.data),
    xattrs: new Map(node.xattrs),
    entries: new Map(),
  };
  seen.set(node, copy);
  for (const [name, child] of node.entries) copy.entries.set(name, cloneOf(child, seen));
  return copy;
}

/** One line per path: everything that is compared. Hard links are told by the first path of the file. */
export function describe(root: ModelNode): string[] {
  const lines: string[] = [];
  for (const [node, paths] of namesOf(root)) for (const path of paths) lines.push(lineOf(node, path, paths));
  return lines.sort();
}

/** The same of what is held, with a name or without. */
export function describeHeld({ root, held }: Model): string[] {
  const names = namesOf(root);
  return [...held].map(([name, node]) => lineOf(node, name, names.get(node) ?? [])).sort();
}

function namesOf(root: ModelNode): Map<ModelNode, string[]> {
  const names = new Map<ModelNode, string[]>();
  const collect = (node: ModelNode, path: string): void => {
    names.set(node, [...(names.get(node) ?? []), path]);
    for (const name of [...node.entries.keys()].sort())
      collect(node.entries.get(name) as ModelNode, path === '' ? name : `${path}/${name}`);
  };
  collect(root, '');
  return names;
}

function lineOf(node: ModelNode, path: string, paths: readonly string[]): string {
  const subdirectories = [...node.entries.values()].filter((child) => child.kind === 'dir').length;
  const isDirectory = node.kind === 'dir' && paths.length > 0;
  return line(path, {
    kind: node.kind,
    mode: node.mode,
    nlink: isDirectory ? 2 + subdirectories : paths.length,
    same: isHeldName(path) ? '' : (paths[0] ?? ''),
    target: node.target,
    data: node.data.toString('latin1'),
    xattrs: [...node.xattrs].sort(),
  });
}

export interface Described {
  readonly kind: string;
  readonly mode: number;
  readonly nlink: number;
  readonly same: string;
  readonly target: string;
  readonly data: string;
  readonly xattrs: [string, string][];
}

export const line = (path: string, d: Described): string =>
  `${path} ${d.kind} ${d.mode.toString(8)} n${d.nlink} =${d.same} >${d.target} [${JSON.stringify(d.data)}] ${JSON.stringify(d.xattrs)}`;
