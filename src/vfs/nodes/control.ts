import type { Inode, WorkingTree } from '../../artifacts/ports.js';
import { accessAclName, decodeAcl, encodeAcl, limitAcl } from '../../model/acl.js';
import { compareNames, type Kind, type Time } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import { DirectoryHandle } from '../directory-handle.js';
import type { Attributes, RequestContext, SetAttributes } from '../file-system.js';
import {
  type Directory,
  type Listed,
  type MissingTerm,
  Node,
  noAttribute,
  type OpenDirectory,
} from '../node.js';
import { type InoKey, shownIno } from '../shown-ino.js';

/** What the control files of one artifact, or of the workspace, have in common. */
export interface ControlHome {
  readonly inos: InoKey;
  /** Its owner owns the control files; who may write in the directory may use those that act. */
  readonly directory: Inode;
  /** The directory's tree: whom its ACL names may do with control files what they may do there. */
  readonly tree: WorkingTree;
  readonly startTime: Time;
}

/** Numbers of control files inside their home; they make st_ino. */
export type ControlNumber = number;

/** Anything in a control directory. `access` is the part of the home directory's mode that it takes over. */
export abstract class ControlNode extends Node {
  protected readonly home: ControlHome;
  readonly #number: ControlNumber;
  readonly #access: number;
  readonly entrySeconds: number = limits.kernelCacheSeconds;
  readonly attrSeconds: number = 0;

  constructor(home: ControlHome, number: ControlNumber, access: number) {
    super();
    this.home = home;
    this.#number = number;
    this.#access = access;
  }

  get ino(): bigint {
    return shownIno(this.home.inos, this.#number);
  }
  protected get size(): number {
    return 0;
  }
  protected get time(): Time {
    return this.home.startTime;
  }
  protected get mode(): number {
    return this.home.directory.mode & this.#access;
  }
  attributes(): Attributes {
    const { directory } = this.home;
    const { time, size } = this;
    return {
      ino: this.ino,
      kind: this.kind,
      mode: this.mode,
      nlink: this.kind === 'dir' ? 2 : 1,
      uid: directory.uid,
      gid: directory.gid,
      rdev: 0,
      size,
      blocks: Math.ceil(size / 512),
      atime: time,
      mtime: time,
      ctime: time,
    };
  }

  /** What programs do around a write (empty the file, touch it, keep its mode) changes nothing; the rest is refused. */
  override setAttributes(_context: RequestContext, changes: SetAttributes): void {
    const { mode, uid, gid } = changes;
    const { directory } = this.home;
    if (
      (mode === undefined || (mode & 0o7777) === this.mode) &&
      (uid === undefined || uid === directory.uid) &&
      (gid === undefined || gid === directory.gid)
    ) {
      return;
    }
    throw this.refusal(`mode and owner of ${this.place?.name ?? 'a control file'}`);
  }
  protected refusal(what: string): ArtifactError {
    return new ArtifactError('NotPermitted', `${what}: not possible in a control directory`);
  }

  override getXattr(name: string): Uint8Array {
    const { tree, directory } = this.home;
    const value = name === accessAclName ? tree.xattr(directory, name) : undefined;
    const acl = value === undefined ? null : decodeAcl(value);
    if (acl === null) throw noAttribute;
    return encodeAcl(limitAcl(acl, this.#access));
  }
  override listXattrs(): readonly string[] {
    const { tree, directory } = this.home;
    return tree.xattr(directory, accessAclName) === undefined ? [] : [accessAclName];
  }
}

/**
 * A directory of control files. Its listing is not cached, because it is small and changes by itself; its attributes
 * are, for every path to a version leads through it: whoever changes those of the home directory tells the kernel.
 */
abstract class ControlDirectory<T extends Listed> extends ControlNode implements Directory<T> {
  readonly kind = 'dir';
  override readonly attrSeconds: number = limits.kernelCacheSeconds;
  readonly changes = 0;

  constructor(home: ControlHome, number: ControlNumber, access = 0o555) {
    super(home, number, access);
  }

  override openDirectory(): OpenDirectory {
    return new DirectoryHandle(this, {});
  }
  abstract list(after: string | null, limit: number): MaybePromise<readonly T[]>;
  abstract kindOf(item: T): Kind;
  abstract inoOf(item: T): bigint;
  abstract nodeOf(item: T): Node | undefined;
  hold(_item: T): void {}
  drop(_item: T): void {}
  parentIno(): bigint {
    return this.place?.parent.ino ?? this.ino;
  }
}

interface NamedNode extends Listed {
  readonly node: () => Node;
}

/** The same names for ever. */
export class StaticDirectory extends ControlDirectory<NamedNode> {
  readonly #nodes: ReadonlyMap<string, () => Node>;
  readonly #items: readonly NamedNode[];

  constructor(
    home: ControlHome,
    number: ControlNumber,
    nodes: Readonly<Record<string, Node | (() => Node)>>,
  ) {
    super(home, number);
    this.#nodes = new Map(
      Object.entries(nodes).map(([name, node]) => [name, node instanceof Node ? () => node : node]),
    );
    this.#items = [...this.#nodes]
      .map(([name, node]) => ({ name, node }))
      .sort((a, b) => compareNames(a.name, b.name));
  }

  /** Itself and those in it. */
  directories(): readonly Node[] {
    return [this, ...this.#items.map((item) => item.node()).filter((node) => node.kind === 'dir')];
  }

  override lookup(name: string): Node | undefined {
    return this.#nodes.get(name)?.();
  }
  override missingTerm(): MissingTerm {
    return 'for-ever';
  }
  list(after: string | null, limit: number): readonly NamedNode[] {
    return pageOf(this.#items, after, limit);
  }
  kindOf(item: NamedNode): Kind {
    return item.node().kind;
  }
  inoOf(item: NamedNode): bigint {
    return item.node().ino;
  }
  nodeOf(item: NamedNode): Node {
    return item.node();
  }
}

/** Names that are computed each time. `find` answers what `names` lists, and only that. */
export class ComputedDirectory extends ControlDirectory<Listed> {
  readonly #itemKind: Kind;
  readonly #names: () => readonly string[];
  readonly #find: (name: string) => MaybePromise<Node | undefined>;
  readonly #inoOf: (name: string) => bigint;

  constructor(
    home: ControlHome,
    number: ControlNumber,
    items: {
      kind: Kind;
      /** Who may write in the artifact may change names here; a subclass does it. */
      mayWrite?: boolean;
      names: () => readonly string[];
      find: (name: string) => MaybePromise<Node | undefined>;
      inoOf: (name: string) => bigint;
    },
  ) {
    super(home, number, items.mayWrite === true ? 0o777 : 0o555);
    this.#itemKind = items.kind;
    this.#names = items.names;
    this.#find = items.find;
    this.#inoOf = items.inoOf;
  }

  override lookup(name: string): MaybePromise<Node | undefined> {
    return this.#find(name);
  }
  list(after: string | null, limit: number): readonly Listed[] {
    const items = [...this.#names()].sort(compareNames).map((name) => ({ name }));
    return pageOf(items, after, limit);
  }
  kindOf(): Kind {
    return this.#itemKind;
  }
  inoOf(item: Listed): bigint {
    return this.#inoOf(item.name);
  }
  nodeOf(): undefined {}
}

function pageOf<T extends Listed>(items: readonly T[], after: string | null, limit: number): readonly T[] {
  const rest = after === null ? items : items.filter((item) => compareNames(item.name, after) > 0);
  return rest.slice(0, limit);
}

/** A symlink that never changes; another target is another node, so that the kernel may keep what it read. */
export class ControlLink extends ControlNode {
  readonly kind = 'symlink';
  override readonly entrySeconds = 0;
  readonly #target: string;
  readonly #forgotten: () => void;

  constructor(home: ControlHome, number: ControlNumber, target: string, forgotten: () => void) {
    super(home, number, 0);
    this.#target = target;
    this.#forgotten = forgotten;
  }

  protected override get mode(): number {
    return 0o777;
  }
  protected override get size(): number {
    return Buffer.byteLength(this.#target);
  }
  override readLink(): string {
    return this.#target;
  }
  override onForgotten(): void {
    this.#forgotten();
  }
}
