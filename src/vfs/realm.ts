import type { Artifact, Artifacts } from '../artifacts/ports.js';
import type { VersionInfo } from '../catalog/ports.js';
import type { Time } from '../model/entry.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { AccessLog } from './access-log.js';
import type { Node } from './node.js';
import type { StaticDirectory } from './nodes/control.js';

/** What nodes ask of the mount as a whole. */
export interface Realm {
  readonly artifacts: Artifacts;
  /** When the mount began: the time of files that have none. */
  readonly startTime: Time;
  readonly accesses: AccessLog;
  /** The directory of the artifact's working view. */
  rootOf(artifact: Artifact): Node;
  knownRootOf(artifactId: string): Node | undefined;
  /** The directory of a version. `via` tells the places apart where it is shown: the kernel allows a directory one. */
  versionRoot(artifact: Artifact, version: VersionInfo, via: string): MaybePromise<Node>;
  workspaceControl(): StaticDirectory;
  /** The names NAME@... in the collection may mean something else now. */
  referencesChanged(collection: Node, name: string): void;
  /** Resolves when the kernel has been told of every change so far. */
  kernelTold(): Promise<void>;
}
