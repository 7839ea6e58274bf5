import type { Artifacts } from '../artifacts/ports.js';
import { type Clock, systemClock } from '../model/entry.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { ArtifactFileSystem } from './artifact-file-system.js';
import type { SpaceStatistics } from './node.js';
import type { WorkspaceTexts } from './nodes/workspace-control.js';
import { Views } from './views.js';

export type { SpaceStatistics } from './node.js';
export type { WorkspaceTexts } from './nodes/workspace-control.js';

export interface FileSystemOptions {
  readonly artifacts: Artifacts;
  /** Space of the local file system that holds the state directory; asked for at most once a second. */
  readonly statistics: () => MaybePromise<SpaceStatistics>;
  /** Texts of `.artifactfs/`. */
  readonly texts: WorkspaceTexts;
  readonly clock?: Clock;
  /** How many nodes the kernel may know before it is asked to forget some; default `limits.kernelNodesMax`. */
  readonly nodesMax?: number;
}

/** What a user sees in the mount. `artifacts` stays the caller's; one file system serves one kernel connection. */
export function createFileSystem(options: FileSystemOptions): ArtifactFileSystem {
  const clock = options.clock ?? systemClock;
  const views = new Views(options.artifacts, clock, options.texts);
  return new ArtifactFileSystem(views, clock, options.statistics, options.nodesMax);
}
