import { openStore } from '../../../src/store/open-store.js';
import { collectGarbage } from '../../../src/workspace/gc/collect-garbage.js';
import { Workspace } from '../../../src/workspace/workspace.js';

// A process that collects the garbage of the workspace at URL without any grace; killed.test.ts kills it by ARTIFACTFS_CRASH_AT.
const store = await openStore(process.argv[2] ?? '');
const workspace = await Workspace.open(store);
await collectGarbage(workspace, { paths: [], graceMs: 0, deadAfterMs: 1e12, dryRun: false });
