import type { Artifact, Artifacts } from '../artifacts/ports.js';
import type { VersionInfo } from '../catalog/ports.js';
import type { Clock, Time } from '../model/entry.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { AccessLog } from './access-log.js';
import { ArtifactView } from './artifact-view.js';
import { KernelNotices } from './kernel-notices.js';
import { MissingNames } from './missing-names.js';
import type { Node } from './node.js';
import type { StaticDirectory } from './nodes/control.js';
import { type WorkspaceTexts, workspaceControl } from './nodes/workspace-control.js';
import type { Realm } from './realm.js';
import { VersionView } from './version-view.js';

/** The artifacts and versions of which the kernel knows something. */
export class Views implements Realm {
  readonly artifacts: Artifacts;
  readonly startTime: Time;
  readonly accesses = new AccessLog();
  readonly notices = new KernelNotices();
  readonly missing = new MissingNames((directory, names) => {
    for (const name of names) this.notices.entry(directory, name);
  });
  readonly #clock: Clock;
  readonly #texts: WorkspaceTexts;
  readonly #artifactViews = new Map<string, ArtifactView>();
  readonly #versionViews = new Map<string, VersionView | Promise<VersionView>>();
  #workspaceControl: StaticDirectory | null = null;

  constructor(artifacts: Artifacts, clock: Clock, texts: WorkspaceTexts) {
    this.artifacts = artifacts;
    this.startTime = clock();
    this.#clock = clock;
    this.#texts = texts;
    artifacts.onChildrenChanged((collection, name) => this.#childrenChanged(collection, name));
  }

  rootOf(artifact: Artifact): Node {
    let view = this.#artifactViews.get(artifact.id);
    if (view === undefined) {
      view = new ArtifactView(artifact, this, {
        notices: this.notices,
        missing: this.missing,
        clock: this.#clock,
        unused: () => this.#artifactViews.delete(artifact.id),
      });
      this.#artifactViews.set(artifact.id, view);
    }
    return view.root;
  }

  knownRootOf(artifactId: string): Node | undefined {
    const view = this.#artifactViews.get(artifactId);
    return view?.knownNode(view.tree.root);
  }

  versionRoot(artifact: Artifact, version: VersionInfo, via: string): MaybePromise<Node> {
    const key = `${artifact.id}@${version.version}`;
    const known = this.#versionViews.get(key);
    if (known instanceof VersionView) return known.root(via);
    if (known !== undefined) return known.then((view) => view.root(via));
    const opening = artifact.versionTree(version).then((tree) => {
      // It may have expired meanwhile: from here on the view is told.
      artifact.resolveVersion(`v${version.version}`);
      return new VersionView(artifact, version, tree, this.notices, () => this.#versionViews.delete(key));
    });
    this.#versionViews.set(key, opening);
    return opening.then(
      (view) => {
        this.#versionViews.set(key, view);
        return view.root(via);
      },
      (error: unknown) => {
        this.#versionViews.delete(key);
        throw error;
      },
    );
  }

  workspaceControl(): StaticDirectory {
    this.#workspaceControl ??= workspaceControl(this, this.#texts);
    return this.#workspaceControl;
  }

  referencesChanged(collection: Node, name: string): void {
    for (const view of this.#versionViews.values()) {
      if (view instanceof Promise) continue;
      for (const root of view.roots()) {
        const { place } = root;
        if (place?.parent === collection && place.name.startsWith(`${name}@`)) {
          this.notices.entry(collection, place.name);
        }
      }
    }
  }

  kernelTold(): Promise<void> {
    return this.notices.told();
  }

  #childrenChanged(collection: Artifact, name: string): void {
    const root = this.knownRootOf(collection.id);
    if (root === undefined) return;
    this.missing.forget(root, name);
    this.notices.entry(root, name);
    this.notices.inode(root);
    this.referencesChanged(root, name);
  }
}
