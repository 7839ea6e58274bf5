import type { Artifact } from '../artifacts/ports.js';
import type { VersionInfo, VersionTree } from '../catalog/ports.js';
import type { Entry } from '../model/entry.js';
import type { KernelNotices } from './kernel-notices.js';
import type { Node } from './node.js';
import { VersionDirectory, VersionNode, type VersionOwner } from './nodes/version.js';
import { type InoKey, inoKey, versionSpace } from './shown-ino.js';

/**
 * One version as the kernel knows it. A file has one node wherever the version is shown, so that its pages are cached
 * once; a directory has one for each place, because the kernel gives a directory one name.
 */
export class VersionView implements VersionOwner {
  readonly artifact: Artifact;
  readonly version: VersionInfo;
  readonly tree: VersionTree;
  readonly inos: InoKey;
  readonly notices: KernelNotices;
  readonly #nodes = new Map<string | number, VersionNode>();
  readonly #unused: () => void;

  constructor(
    artifact: Artifact,
    version: VersionInfo,
    tree: VersionTree,
    notices: KernelNotices,
    unused: () => void,
  ) {
    this.artifact = artifact;
    this.version = version;
    this.tree = tree;
    this.notices = notices;
    this.inos = inoKey(artifact.id, versionSpace(version.version));
    const unsubscribe = artifact.onInvalidate((what) => {
      if (what.type === 'version' && what.version === version.version) this.#expired();
    });
    this.#unused = () => {
      unsubscribe();
      unused();
    };
  }

  root(via: string): VersionDirectory {
    return this.#directory(this.tree.root, via, null);
  }

  /** Directories shown as NAME@... and those below `versions/`, the roots only. */
  roots(): VersionDirectory[] {
    const roots: VersionDirectory[] = [];
    for (const node of this.#nodes.values()) {
      if (node instanceof VersionDirectory && node.entry === this.tree.root) roots.push(node);
    }
    return roots;
  }

  fileOf(entry: Entry): Node {
    let node = this.#nodes.get(entry.ino);
    if (node === undefined) {
      node = new VersionNode(this, entry, entry.ino);
      this.#nodes.set(entry.ino, node);
    }
    return node;
  }

  directoryOf(entry: Entry, parent: VersionDirectory): Node {
    return this.#directory(entry, parent.via, parent);
  }

  forgotten(node: VersionNode): void {
    if (this.#nodes.get(node.key) === node) this.#nodes.delete(node.key);
    if (this.#nodes.size === 0) this.#unused();
  }

  /** Who is inside stays there; no name leads there any more. */
  #expired(): void {
    for (const root of this.roots())
      for (const { parent, name } of root.places()) this.notices.entry(parent, name);
  }

  #directory(entry: Entry, via: string, parent: VersionDirectory | null): VersionDirectory {
    const key = `${via}/${entry.ino}`;
    const known = this.#nodes.get(key);
    if (known instanceof VersionDirectory) return known;
    const node = new VersionDirectory(this, entry, key, via, parent);
    this.#nodes.set(key, node);
    return node;
  }
}
