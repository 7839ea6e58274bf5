import type { Artifacts } from '../../artifacts/ports.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import type { Realm } from '../realm.js';
import { controlSpace, inoKey } from '../shown-ino.js';
import { AccessLogFile } from './access-log-file.js';
import { type ControlHome, StaticDirectory } from './control.js';
import { ActionFile, TextFile } from './control-files.js';

/** Texts of `.artifactfs/` that only the program as a whole knows. Each ends with a newline. */
export interface WorkspaceTexts {
  version(): string;
  /** Why nothing may be written, or null. */
  readOnly(): string | null;
  config(): string;
  stats(): MaybePromise<string>;
}

/** File numbers in `.artifactfs/`, apart from those of the root's own `.artifact/`. */
const numbers = {
  self: 101,
  status: 102,
  stats: 103,
  config: 104,
  version: 105,
  refresh: 106,
  accesslog: 107,
} as const;

export function workspaceControl(realm: Realm, texts: WorkspaceTexts): StaticDirectory {
  const { artifacts } = realm;
  const home: ControlHome = {
    inos: inoKey(artifacts.root.id, controlSpace),
    directory: artifacts.root.tree.root,
    tree: artifacts.root.tree,
    startTime: realm.startTime,
  };
  return new StaticDirectory(home, numbers.self, {
    accesslog: new AccessLogFile(home, numbers.accesslog, realm.accesses),
    status: new TextFile(home, numbers.status, () => workspaceStatus(artifacts, texts)),
    stats: new TextFile(home, numbers.stats, () => texts.stats()),
    config: new TextFile(home, numbers.config, () => texts.config()),
    version: new TextFile(home, numbers.version, () => texts.version()),
    refresh: new ActionFile(home, numbers.refresh, async () => {
      await artifacts.refresh();
      await realm.kernelTold();
    }),
  });
}

async function workspaceStatus(artifacts: Artifacts, texts: WorkspaceTexts): Promise<string> {
  const staged = await Promise.all(
    artifacts.staged().map(async (artifact) => {
      // The paths themselves are in the artifact's own status.
      const { staged: _paths, ...rest } = await artifact.status(0);
      return rest;
    }),
  );
  const { workspaceId, storeUrl } = artifacts;
  return `${JSON.stringify({ workspaceId, storeUrl, readOnly: texts.readOnly(), staged }, null, 2)}\n`;
}
