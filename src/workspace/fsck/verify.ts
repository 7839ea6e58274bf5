import { type Entry, entryPath } from '../../model/entry.js';
import type { CallOptions, ObjectStore } from '../../store/object-store.js';
import { forEachOf } from '../../util/for-each-of.js';
import { Semaphore } from '../../util/semaphore.js';
import { objectKey } from '../keys.js';
import type { ReplayedVersion } from '../replay.js';
import { StoredTrees } from '../tree-store.js';
import { Affected } from './affected.js';
import {
  ContentCheck,
  type ContentDamage,
  contentKey,
  type Hashing,
  objectsOf,
  type Run,
  runsOf,
} from './content-check.js';
import { type Finding, finding, type Place } from './findings.js';
import type { CheckedLog } from './log-check.js';
import { NamedLogs, versionOf } from './named-logs.js';
import { TreeCheck } from './tree-check.js';

/** When the bytes of data objects were last found right, by full key. */
export interface CheckedTimes {
  /** Milliseconds since 1970; 0: never. */
  last(key: string): number;
  /** These were right just now. */
  note(keys: readonly string[]): void;
  /** No version that lives uses any other: what was noted of those is of no use. */
  keep(keys: ReadonlyMap<string, unknown>): void;
}

export interface VerifyOptions extends CallOptions {
  /** As for `fsck`; `NAME@v3` is one version, a path inside an artifact what is below it. None: everything. */
  readonly paths?: readonly (readonly string[])[];
  readonly hashing: Hashing;
  readonly checked: CheckedTimes;
  /** How much of the bytes to check, up to 1: objects that were not checked for longest come first. */
  readonly share?: number;
  readonly onProgress?: (bytesDone: number, bytesTotal: number) => void;
}

export interface VerifyTotals {
  /** Of different bytes. */
  files: number;
  bytes: number;
  objects: number;
  /** Of `files`, those of which the file table has no hash: they could be read, and that is all that is known. */
  filesWithoutHash: number;
}

const filesAtOnce = 8;

/**
 * Reads every byte of the versions that live, each once, and compares it with the hashes of the file tables. Tells what is wrong,
 * artifact by artifact. A store that does not answer is thrown.
 */
export async function* verify(
  store: ObjectStore,
  options: VerifyOptions,
): AsyncGenerator<Finding, VerifyTotals> {
  const totals: VerifyTotals = { files: 0, bytes: 0, objects: 0, filesWithoutHash: 0 };
  const logs = new NamedLogs(store, options);
  const targets = await targetsOf(logs, options.paths ?? []);
  yield* logs.takeFindings().filter(({ severity }) => severity === 'damage');
  const sizes = new Map<string, number>();
  let allIsKnown = (options.paths ?? []).length === 0;
  for (const target of targets) {
    const trees = treesOf(store, target.log.place);
    for (const version of target.versions) await trees.check(version, options);
    yield* trees.findings();
    allIsKnown &&= target.log.isWhole && trees.isWhole;
    for (const [object, end] of trees.dataEnds)
      sizes.set(objectKey(target.log.place.artifactId, object), end);
  }
  if (allIsKnown) options.checked.keep(sizes);
  const chosen = choose(sizes, options);
  const progress = { done: 0, total: [...chosen].reduce((sum, key) => sum + (sizes.get(key) ?? 0), 0) };
  const onBytes = (bytes: number): void => {
    totals.bytes += bytes;
    progress.done = Math.min(progress.total, progress.done + bytes);
    options.onProgress?.(progress.done, progress.total);
  };
  totals.objects = chosen.size;
  for (const target of targets) yield* verifyTarget({ store, target, chosen, totals, onBytes, options });
  return totals;
}

interface Target {
  readonly log: CheckedLog;
  readonly versions: readonly ReplayedVersion[];
  /** '': the whole artifact. */
  readonly path: string;
}

async function targetsOf(logs: NamedLogs, paths: readonly (readonly string[])[]): Promise<Target[]> {
  const targets: Target[] = [];
  const whole = async (top: CheckedLog): Promise<void> => {
    for (const id of await logs.below(top)) {
      const log = logs.known(id);
      if (log !== undefined) targets.push({ log, versions: liveVersions(log), path: '' });
    }
  };
  if (paths.length === 0) await whole(await logs.root());
  for (const candidates of paths) {
    const { log, ref, path } = await logs.find(candidates);
    if (ref !== '') targets.push({ log, versions: [versionOf(log, ref)], path });
    else if (path !== '') targets.push({ log, versions: liveVersions(log), path });
    else await whole(log);
  }
  return targets;
}

const liveVersions = ({ state }: CheckedLog): ReplayedVersion[] =>
  state.versions.filter(({ expired }) => !expired).reverse();

const treesOf = (
  store: ObjectStore,
  place: Place,
  onEntries?: (entries: readonly Entry[]) => Promise<void>,
) =>
  new TreeCheck({
    place,
    sizes: new Map(),
    trees: new StoredTrees(store),
    ...(onEntries === undefined
      ? {}
      : { local: { metarange: async () => {}, range: async (_, entries) => onEntries(entries) } }),
  });

/** Keys of the objects to check. */
function choose(sizes: ReadonlyMap<string, number>, { share = 1, checked }: VerifyOptions): Set<string> {
  if (share >= 1) return new Set(sizes.keys());
  const total = [...sizes.values()].reduce((sum, size) => sum + size, 0);
  const longestAgo = [...sizes]
    .map(([key, size]) => ({ key, size, last: checked.last(key) }))
    .sort((a, b) => a.last - b.last);
  const chosen = new Set<string>();
  let bytes = 0;
  for (const { key, size } of longestAgo) {
    if (bytes >= total * share) break;
    chosen.add(key);
    bytes += size;
  }
  return chosen;
}

interface TargetRun {
  readonly store: ObjectStore;
  readonly target: Target;
  readonly chosen: ReadonlySet<string>;
  readonly totals: VerifyTotals;
  readonly onBytes: (bytes: number) => void;
  readonly options: VerifyOptions;
}

async function* verifyTarget(run: TargetRun): AsyncGenerator<Finding> {
  const { store, target, chosen, totals, options } = run;
  const { place } = target.log;
  const content = new ContentCheck(store, place.artifactId, options.hashing, run.onBytes);
  const damages = new Map<string, { damage: ContentDamage; affected: Affected }>();
  const seen = new Set<string>();
  const permits = new Semaphore(filesAtOnce);
  const isWanted = (entry: Entry): boolean =>
    isBelow(entry, target.path) &&
    objectsOf(entry).some((object) => chosen.has(objectKey(place.artifactId, object)));
  const isNew = (entry: Entry): boolean => {
    if (!isWanted(entry) || seen.has(contentKey(entry))) return false;
    seen.add(contentKey(entry));
    totals.files++;
    if (entry.sha256 === undefined) totals.filesWithoutHash++;
    return true;
  };
  const check = async (run: Run | Entry): Promise<void> => {
    for (const entry of 'entries' in run ? await content.checkRun(run, options) : [run]) {
      const damage = await content.check(entry, options);
      if (damage !== null) damages.set(contentKey(entry), { damage, affected: new Affected() });
    }
  };
  const trees = treesOf(store, place, (entries) =>
    forEachOf(runsOf(entries.filter(isNew)), filesAtOnce, (run) => permits.run(() => check(run))),
  );
  for (const version of target.versions) await trees.check(version, options);
  if (damages.size > 0) await gatherAffected(trees, target, damages, options);
  const wrong = new Set([...damages.values()].map(({ damage }) => damage.object));
  // Of some files in an object nobody knows about the others.
  if (target.path === '') {
    const right = [...trees.dataEnds.keys()].filter((object) => !wrong.has(object));
    options.checked.note(
      right.map((object) => objectKey(place.artifactId, object)).filter((key) => chosen.has(key)),
    );
  }
  for (const { damage, affected } of damages.values()) yield affected.completed(asFinding(place, damage));
}

async function gatherAffected(
  trees: TreeCheck,
  { versions, path }: Target,
  damages: ReadonlyMap<string, { affected: Affected }>,
  options: CallOptions,
): Promise<void> {
  for (const version of versions)
    for await (const entries of trees.entries(version, options))
      for (const entry of entries) {
        const affected = damages.get(contentKey(entry))?.affected;
        if (affected === undefined || !isBelow(entry, path)) continue;
        affected.version(version.version);
        affected.file(entryPath(entry));
      }
}

function isBelow(entry: Entry, path: string): boolean {
  const own = entryPath(entry);
  return path === '' || own === path || own.startsWith(`${path}/`);
}

const asFinding = ({ artifactId, path }: Place, { code, object, offset, length, what }: ContentDamage) =>
  finding(
    { artifactId, path },
    {
      severity: 'damage',
      code,
      key: objectKey(artifactId, object),
      offset,
      length,
      what,
      means: 'the files with these bytes cannot be read as they were written',
    },
  );
