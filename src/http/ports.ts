import type { CachedFiles } from '../artifacts/cached-files.js';
import type { Artifacts } from '../artifacts/ports.js';
import type { CatalogFacts } from '../catalog/catalog-facts.js';
import type { GcOptions, GcReport } from '../workspace/gc/collect-garbage.js';
import type { DaemonStats, DaemonStatus } from './schemas.js';

/** What the control API serves: the artifacts, and the daemon around them. */
export interface ApiServices {
  /** Asked anew by each request: throws `Busy` before it is open. */
  readonly artifacts: Artifacts;
  /** The same. */
  readonly cache: CachedFiles;
  collectGarbage(options: GcOptions): Promise<GcReport>;
  /** The same. */
  readonly catalog: CatalogFacts;
  /** Throws when calls cannot be served now (`Busy`), or those that change something not at all (`ReadOnly`), once that is known. */
  refuse(changes: boolean): Promise<void>;
  /** Resolves when programs on the mount see what was changed so far, or after a while. */
  readonly kernelTold?: () => Promise<void>;
  readonly daemon: DaemonControl;
  readonly log: ApiLog;
}

export interface DaemonControl {
  status(): DaemonStatus;
  stats(): DaemonStats;
  readonly logLevels: readonly string[];
  setLogLevel(level: string): void;
  /** Asks the log and the root for commits of others at once. */
  refresh(): Promise<void>;
  /**
   * Begins to stop; returns at once. Throws `Busy` when files of the mount are open and not `force`: nothing has
   * happened then.
   */
  shutdown(options: { force: boolean }): Promise<void>;
}

/** The two things the API logs: requests, and failures that are bugs of ours. */
interface ApiLog {
  debug(fields: object, message: string): void;
  error(fields: object, message: string): void;
}
