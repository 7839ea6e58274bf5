import type { Artifact } from '../../artifacts/ports.js';
import { compareNames, type Kind, rootIno } from '../../model/entry.js';
import { ArtifactError, isCode } from '../../model/errors.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { Attributes, RequestContext, SetAttributes } from '../file-system.js';
import { controlName, splitReference, workspaceControlName } from '../names.js';
import type { Created, MissingTerm, Node, RenameFlags } from '../node.js';
import type { Realm } from '../realm.js';
import { inoKey, shownIno, workingSpace } from '../shown-ino.js';
import { WorkingDirectory, type WorkingItem } from './working-directory.js';
import type { WorkingOwner } from './working-owner.js';

export interface ArtifactOwner extends WorkingOwner {
  readonly realm: Realm;
  control(): Node;
  /** Mode, owner or ACL of the artifact's directory changed: its control directories show them, too. */
  accessChanged(): void;
}

/**
 * The directory of an artifact. In an ordinary one every name but the control directory's is the tree's. In a
 * collection the sub-directories are artifacts, NAME@REF is found for each of them, and other files are its own; the
 * workspace's root has none. An artifact becomes a collection by its manifest, also while it is known.
 */
export class ArtifactRoot extends WorkingDirectory {
  readonly #home: ArtifactOwner;

  constructor(home: ArtifactOwner) {
    super(home, home.tree.root);
    this.#home = home;
  }

  get #realm(): Realm {
    return this.#home.realm;
  }
  get #artifact(): Artifact {
    return this.#home.artifact;
  }
  get #isWorkspaceRoot(): boolean {
    return this.#artifact === this.#realm.artifacts.root;
  }
  override get ino(): bigint {
    return this.#isWorkspaceRoot ? 1n : super.ino;
  }
  override attributes(): Attributes {
    const attributes = super.attributes();
    // A collection's sub-directories are not counted, which 1 says.
    return this.#artifact.isCollection ? { ...attributes, nlink: 1 } : attributes;
  }
  override parentIno(): bigint {
    return this.place?.parent.ino ?? this.ino;
  }

  override setAttributes(context: RequestContext, changes: SetAttributes): MaybePromise<void> {
    return chain(super.setAttributes(context, changes), () => this.#home.accessChanged());
  }
  override setXattr(...args: Parameters<WorkingDirectory['setXattr']>): MaybePromise<void> {
    return chain(super.setXattr(...args), () => this.#home.accessChanged());
  }
  override removeXattr(name: string): MaybePromise<void> {
    return chain(super.removeXattr(name), () => this.#home.accessChanged());
  }

  override lookup(name: string): MaybePromise<Node | undefined> {
    if (name === controlName) return this.#home.control();
    // The tree first: it answers nearly every look-up, and whether this is a collection is asked only for the rest.
    return chain(super.lookup(name), (own) => own ?? this.#lookupInCollection(name));
  }

  #lookupInCollection(name: string): MaybePromise<Node | undefined> {
    if (!this.#artifact.isCollection) return undefined;
    if (name === workspaceControlName && this.#isWorkspaceRoot) return this.#realm.workspaceControl();
    return chain(this.#child(name), (child) =>
      child === undefined ? this.#version(name) : this.#realm.rootOf(child),
    );
  }

  /** NAME@REF comes with a commit or an alias, and a child of what is no collection now when it becomes one again. */
  override missingTerm(name: string): MissingTerm {
    if (splitReference(name) !== undefined) return 'not-at-all';
    const hidden = !this.#artifact.isCollection && isChildName(name) && this.#childId(name) !== undefined;
    return hidden ? 'not-at-all' : 'until-told';
  }

  override create(
    context: RequestContext,
    name: string,
    mode: number,
    flags: number,
    killPrivileges = false,
  ): MaybePromise<Created> {
    this.checkOwnName(name);
    return super.create(context, name, mode, flags, killPrivileges);
  }

  override createUnnamed(context: RequestContext, mode: number, flags: number): MaybePromise<Created> {
    this.checkOwnName('a file without a name');
    return super.createUnnamed(context, mode, flags);
  }

  override makeNode(
    context: RequestContext,
    name: string,
    mode: number,
    kind: Kind,
    rdev: number,
  ): MaybePromise<Node> {
    if (kind === 'dir') return this.makeDirectory(context, name, mode);
    this.checkOwnName(name);
    return super.makeNode(context, name, mode, kind, rdev);
  }

  override symlink(context: RequestContext, name: string, target: string): MaybePromise<Node> {
    this.checkOwnName(name);
    return super.symlink(context, name, target);
  }

  override link(node: Node, name: string): MaybePromise<Node> {
    this.checkOwnName(name);
    return super.link(node, name);
  }

  override makeDirectory(context: RequestContext, name: string, mode: number): MaybePromise<Node> {
    if (!this.#artifact.isCollection) {
      this.checkOwnName(name);
      return super.makeDirectory(context, name, mode);
    }
    return chain(this.#artifact.tree.admitChange(), () => {
      const { uid, gid, umask } = context;
      const artifact = this.#realm.artifacts.create(this.#artifact, name, {
        mode: mode & 0o7777,
        umask,
        uid,
        gid,
      });
      this.#namesChanged(name);
      return this.#realm.rootOf(artifact);
    });
  }

  override unlink(name: string): MaybePromise<void> {
    return chain(this.#artifactNamed(name), (artifact) => {
      if (artifact !== undefined) throw new ArtifactError('IsDirectory', `${name} is an artifact`);
      return super.unlink(name);
    });
  }

  override removeDirectory(name: string): MaybePromise<void> {
    return chain(this.#artifactNamed(name), (artifact) => {
      if (artifact === undefined) return super.removeDirectory(name);
      return chain(this.#realm.artifacts.remove(this.#artifact, name), () => this.#namesChanged(name));
    });
  }

  override rename(name: string, target: Node, newName: string, flags: RenameFlags): MaybePromise<void> {
    return chain(this.#artifactNamed(name), (artifact) =>
      artifact === undefined
        ? super.rename(name, target, newName, flags)
        : this.#renameArtifact(artifact, name, target, newName, flags),
    );
  }

  #renameArtifact(
    artifact: Artifact,
    name: string,
    target: Node,
    newName: string,
    flags: RenameFlags,
  ): MaybePromise<void> {
    if (!(target instanceof WorkingDirectory)) return target.refuseTarget(newName);
    if (!(target instanceof ArtifactRoot) || !target.#artifact.isCollection) {
      throw new ArtifactError('NotPermitted', `${name} is an artifact: it can only be in a collection`);
    }
    target.#checkReserved(newName);
    if (flags.exchange) throw new ArtifactError('Invalid', 'artifacts cannot be exchanged');
    return chain(flags.noReplace ? target.lookup(newName) : undefined, (existing) => {
      if (existing !== undefined) throw new ArtifactError('Exists', `${newName} exists`);
      const { artifacts } = this.#realm;
      return chain(artifacts.rename(this.#artifact, name, target.#artifact, newName), () => {
        this.#namesChanged(name);
        target.#namesChanged(newName);
        this.#realm.knownRootOf(artifact.id)?.seenAt(target, newName);
      });
    });
  }

  /** Artifacts are listed without being opened, so that one that cannot be read hides nothing. */
  override list(after: string | null, limit: number): MaybePromise<readonly WorkingItem[]> {
    if (!this.#artifact.isCollection) return super.list(after, limit);
    const names = this.#realm.artifacts.children(this.#artifact, after, limit);
    return chain(super.list(after, limit), (own) => {
      const taken = new Set(own.map((item) => item.name));
      const children = names.filter((name) => !taken.has(name));
      const items = [...own, ...children.map((name) => ({ name, inode: null }))];
      return items.sort((a, b) => compareNames(a.name, b.name)).slice(0, limit);
    });
  }
  override inoOf(item: WorkingItem): bigint {
    if (item.inode !== null) return super.inoOf(item);
    return shownIno(
      inoKey(this.#childId(item.name) ?? `${this.#artifact.id}/${item.name}`, workingSpace),
      rootIno,
    );
  }
  override nodeOf(item: WorkingItem): Node | undefined {
    if (item.inode !== null) return super.nodeOf(item);
    const id = this.#childId(item.name);
    return id === undefined ? undefined : this.#realm.knownRootOf(id);
  }

  /** Files of the collection itself; the workspace's root has none. */
  override checkOwnName(name: string): void {
    this.#checkReserved(name);
    if (this.#isWorkspaceRoot) {
      throw new ArtifactError('NotPermitted', `${name}: the root holds artifacts, not files`, {
        hint: 'make an artifact with mkdir and put the file there',
      });
    }
  }

  #checkReserved(name: string): void {
    if (name === controlName || (name === workspaceControlName && this.#isWorkspaceRoot)) {
      throw new ArtifactError('NotPermitted', `${name} is the control directory`);
    }
  }

  /**
   * The artifact of that name; undefined for a name that the tree has or nobody. Throws for names that are found but
   * not there to be changed.
   */
  #artifactNamed(name: string): MaybePromise<Artifact | undefined> {
    this.#checkReserved(name);
    return chain(super.lookup(name), (own) => {
      if (own !== undefined || !this.#artifact.isCollection) return undefined;
      return chain(this.#child(name), (child) => {
        if (child !== undefined) return child;
        return chain(this.#version(name), (version) => {
          if (version !== undefined) throw new ArtifactError('ReadOnly', `${name}: a version never changes`);
          return undefined;
        });
      });
    });
  }

  #child(name: string): MaybePromise<Artifact | undefined> {
    return isChildName(name) ? this.#realm.artifacts.child(this.#artifact, name) : undefined;
  }

  #childId(name: string): string | undefined {
    return this.#realm.artifacts.childId(this.#artifact, name);
  }

  #namesChanged(name: string): void {
    this.changes++;
    this.#realm.referencesChanged(this, name);
  }

  /** NAME@v3, NAME@latest, NAME@alias. */
  #version(name: string): MaybePromise<Node | undefined> {
    const parts = splitReference(name);
    if (parts === undefined) return undefined;
    return chain(this.#child(parts.name), (artifact) => {
      if (artifact === undefined) return undefined;
      try {
        const version = artifact.resolveVersion(parts.reference);
        return this.#realm.versionRoot(artifact, version, `@${parts.reference}`);
      } catch (error) {
        if (isCode(error, 'NotFound')) return undefined;
        throw error;
      }
    });
  }
}

/** No artifact's name begins like this, and programs ask for hidden files all the time. */
const isChildName = (name: string): boolean => !name.startsWith('.') && !name.startsWith('@');
