import type { Artifact } from '../../artifacts/ports.js';
import type { Clock } from '../../model/entry.js';
import { isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { MaybePromise } from '../../util/maybe-promise.js';
import type { RequestContext } from '../file-system.js';
import type { Node } from '../node.js';
import type { Realm } from '../realm.js';
import { controlSpace, inoKey, shownIno, versionSpace } from '../shown-ino.js';
import { diffText } from '../text/diff.js';
import { errorText } from '../text/error.js';
import { logText } from '../text/log.js';
import { AliasesDirectory } from './aliases.js';
import { ComputedDirectory, type ControlHome, StaticDirectory } from './control.js';
import { ActionFile, messageOf, TextFile } from './control-files.js';
import { manifestFile } from './manifest-file.js';

/** File numbers in `.artifact/`: they make st_ino, so they stay. */
const numbers = {
  self: 1,
  commit: 2,
  discard: 3,
  refresh: 4,
  status: 5,
  manifest: 6,
  log: 7,
  diff: 8,
  lastError: 9,
  versions: 10,
  aliases: 11,
} as const;

/** `.artifact/` of one artifact. */
export function artifactControl(artifact: Artifact, realm: Realm, clock: Clock): StaticDirectory {
  const home: ControlHome = {
    inos: inoKey(artifact.id, controlSpace),
    directory: artifact.tree.root,
    tree: artifact.tree,
    startTime: realm.startTime,
  };
  const fail = (error: unknown): void => artifact.setLastError(errorText(error));
  const action = (
    number: number,
    act: (text: string, context: RequestContext) => Promise<unknown>,
  ): ActionFile =>
    new ActionFile(home, number, async (text, context) => {
      try {
        await act(text, context);
      } catch (error) {
        fail(error);
        throw error;
      }
      artifact.setLastError('');
      // Who asked for it must see it: the answer waits until the kernel has dropped what it knew.
      await realm.kernelTold();
    });
  return new StaticDirectory(home, numbers.self, {
    commit: action(numbers.commit, async (text, context) => {
      context.takeTime?.();
      return artifact.commit({ message: messageOf(text), signal: context.signal });
    }),
    discard: action(numbers.discard, () => artifact.discard()),
    refresh: action(numbers.refresh, () => artifact.refresh()),
    status: new TextFile(home, numbers.status, () => statusText(artifact)),
    'manifest.json': manifestFile(home, numbers.manifest, { artifact, clock }),
    log: new TextFile(home, numbers.log, () => logText(artifact.versions(), artifact.aliases())),
    diff: new TextFile(home, numbers.diff, () => stageDiff(artifact)),
    'last-error': new TextFile(home, numbers.lastError, () => artifact.lastError()),
    versions: versionsDirectory(home, artifact, realm),
    aliases: new AliasesDirectory(home, numbers.aliases, artifact),
  });
}

/** A read does not wait for the store: the next one shows what others do now. */
async function statusText(artifact: Artifact): Promise<string> {
  void artifact.askOthers();
  const status = await artifact.status(limits.controlListEntriesMax);
  return `${JSON.stringify(status, null, 2)}\n`;
}

async function stageDiff(artifact: Artifact): Promise<string> {
  const { base } = await artifact.status(0);
  return diffText(base, await artifact.diff(base, 'stage', limits.controlListEntriesMax));
}

/** v0, v1, ...: the versions that still have their trees. */
function versionsDirectory(home: ControlHome, artifact: Artifact, realm: Realm): Node {
  const find = (name: string): MaybePromise<Node | undefined> => {
    if (!/^v(0|[1-9]\d*)$/.test(name)) return undefined;
    try {
      return realm.versionRoot(artifact, artifact.resolveVersion(name), 'versions');
    } catch (error) {
      if (isCode(error, 'NotFound')) return undefined;
      throw error;
    }
  };
  return new ComputedDirectory(home, numbers.versions, {
    kind: 'dir',
    names: () =>
      artifact
        .versions()
        .filter((version) => !version.expired)
        .map((version) => `v${version.version}`),
    find,
    inoOf: (name) => shownIno(inoKey(artifact.id, versionSpace(Number(name.slice(1)))), 1),
  });
}
