import { ArtifactError, isCode } from '../../model/errors.js';
import { isArtifactId } from '../../model/ids.js';
import type { CallOptions, ObjectInfo, ObjectStore } from '../../store/object-store.js';
import { decodeFormat } from '../format.js';
import { formatKey, parseKey } from '../keys.js';
import { readLog } from '../log.js';
import { expiredIn } from '../log-facts.js';
import { storedJson } from '../stored-json.js';
import { StoredTrees } from '../tree-store.js';
import { type Finding, finding, type Place } from './findings.js';
import { foreignKey, unreferenced } from './key-check.js';
import { checkLifecycle } from './lifecycle-check.js';
import { type CheckedLog, checkLog } from './log-check.js';
import { NamedLogs } from './named-logs.js';
import { checkObjects } from './object-check.js';
import { type LocalTrees, type ObjectSizes, TreeCheck } from './tree-check.js';

/** Compares what a machine has noted with what the store says. */
export interface LocalCheck extends LocalTrees {
  /** Told once for each artifact, before its trees. */
  log(log: CheckedLog): Promise<readonly Finding[]>;
  /** What was found in the artifact's trees since it was asked last. */
  taken(place: Place): readonly Finding[];
}

export interface FsckOptions extends CallOptions {
  /**
   * What to check, each as paths from the root, of which the first that leads to an artifact is meant, with all that is in it.
   * None: the whole workspace.
   */
  readonly paths?: readonly (readonly string[])[];
  readonly local?: LocalCheck;
  readonly onArtifact?: (place: Place, done: number) => void;
}

export interface FsckTotals {
  artifacts: number;
  versions: number;
  objects: number;
  bytes: number;
}

/**
 * Checks a workspace in its store and tells what is wrong as it is found. Only reads. A store that does not answer is thrown:
 * it proves nothing. `NotFound` when there is no workspace or nothing at a path.
 */
export async function* fsck(
  store: ObjectStore,
  options: FsckOptions = {},
): AsyncGenerator<Finding, FsckTotals> {
  const totals: FsckTotals = { artifacts: 0, versions: 0, objects: 0, bytes: 0 };
  yield* checkFormat(store, options);
  const logs = new NamedLogs(store, options);
  const wanted = await wantedArtifacts(logs, options.paths);
  yield* logs.takeFindings();
  const whole = options.paths === undefined || options.paths.length === 0;
  if (whole) yield* await checkLifecycle(store, options);
  const found = new Set<string>();
  for await (const { artifactId, keys } of artifactsListed(store, whole ? null : wanted, options)) {
    totals.objects += keys.length;
    totals.bytes += keys.reduce((sum, { size }) => sum + size, 0);
    yield* keys.filter(({ key }) => parseKey(key) === null).map(foreignKey);
    if (artifactId === null) continue;
    found.add(artifactId);
    const log = logs.known(artifactId) ?? (await unnamedLog(store, artifactId, keys, options));
    if (log === null) continue;
    if (logs.known(artifactId) === undefined) yield* unnamed(log);
    options.onArtifact?.(log.place, totals.artifacts);
    totals.artifacts++;
    totals.versions += log.state.versions.filter(({ expired }) => !expired).length;
    yield* checkArtifact(store, log, keys, options);
  }
  // An artifact without a single key is told of by who has a name for it; its catalog is compared all the same.
  for (const id of wanted) {
    const log = found.has(id) ? undefined : logs.known(id);
    if (log !== undefined) yield* (await options.local?.log(log)) ?? [];
  }
  return totals;
}

async function* checkFormat(store: ObjectStore, options: CallOptions): AsyncGenerator<Finding> {
  const said = { severity: 'damage', key: formatKey } as const;
  try {
    decodeFormat(formatKey, await storedJson(store, formatKey, options));
  } catch (error) {
    if (isCode(error, 'UnsupportedFormat')) throw error;
    if (isCode(error, 'Corrupt')) {
      const means = 'nobody can mount the workspace until it is restored';
      yield finding(null, { ...said, code: 'format-damaged', what: error.message, means });
      return;
    }
    if (!isCode(error, 'NotFound')) throw error;
    if (!(await hasArtifacts(store, options)))
      throw new ArtifactError('NotFound', `there is no workspace at ${store.url}`, { hint: 'check the URL' });
    yield finding(null, {
      ...said,
      code: 'format-missing',
      what: `${formatKey} is missing, but artifacts are there`,
      means: 'nobody can mount the workspace until it is restored from a backup',
    });
  }
}

async function hasArtifacts(store: ObjectStore, options: CallOptions): Promise<boolean> {
  for await (const _ of store.list('a/', options)) return true;
  return false;
}

/** Reads the logs of what is asked for. */
async function wantedArtifacts(logs: NamedLogs, paths: FsckOptions['paths'] = []): Promise<Set<string>> {
  const tops = paths.length === 0 ? [await logs.root()] : [];
  for (const candidates of paths) tops.push((await logs.find(candidates)).log);
  const ids = new Set<string>();
  for (const top of tops) for (const id of await logs.below(top)) ids.add(id);
  return ids;
}

interface Listed {
  /** null: of no artifact. */
  readonly artifactId: string | null;
  readonly keys: ObjectInfo[];
}

/** The keys of the store, those of an artifact together; of all artifacts where `ids` is null. */
async function* artifactsListed(
  store: ObjectStore,
  ids: ReadonlySet<string> | null,
  options: CallOptions,
): AsyncGenerator<Listed> {
  for (const prefix of ids === null ? [''] : [...ids].map((id) => `a/${id}/`)) {
    let group: Listed = { artifactId: null, keys: [] };
    for await (const info of store.list(prefix, options)) {
      const artifactId = artifactOf(info.key);
      if (artifactId !== group.artifactId) {
        if (group.keys.length > 0) yield group;
        group = { artifactId, keys: [] };
      }
      group.keys.push(info);
    }
    if (group.keys.length > 0) yield group;
  }
}

function artifactOf(key: string): string | null {
  const id = /^a\/([^/]+)\//.exec(key)?.[1] ?? '';
  return isArtifactId(id) ? id : null;
}

/** null: there is nothing of ours under this id. */
async function unnamedLog(
  store: ObjectStore,
  artifactId: string,
  keys: readonly ObjectInfo[],
  options: CallOptions,
): Promise<CheckedLog | null> {
  if (!keys.some(({ key }) => parseKey(key) !== null)) return null;
  return checkLog(store, { artifactId, path: artifactId }, options);
}

function* unnamed({ place, state, findings }: CheckedLog): Generator<Finding> {
  yield finding(place, {
    severity: 'info',
    code: 'unnamed-artifact',
    what: `no collection has a name for the artifact ${place.artifactId}, which has ${state.versions.length} versions`,
    means: 'it was removed, or is being made now',
  });
  yield* findings;
}

async function* checkArtifact(
  store: ObjectStore,
  log: CheckedLog,
  keys: readonly ObjectInfo[],
  options: FsckOptions,
): AsyncGenerator<Finding> {
  const { place, state } = log;
  const sizes = sizesOf(place, keys);
  const { local } = options;
  const trees = new TreeCheck({
    place,
    sizes,
    trees: new StoredTrees(store),
    ...(local === undefined ? {} : { local }),
  });
  yield* (await local?.log(log)) ?? [];
  const live = state.versions.filter(({ expired }) => !expired).reverse();
  for (const version of live) await trees.check(version, options);
  const damages = trees.findings();
  damages.push(...(await checkObjects(store, place, trees, live, sizes, options)));
  yield* damages.length === 0 ? [] : await stillLive(store, log, damages, options);
  yield* local?.taken(place) ?? [];
  // What a tree or record that cannot be read uses is not known.
  if (log.isWhole && trees.isWhole) yield* unreferenced(place, state, keys, trees);
}

function sizesOf({ artifactId }: Place, keys: readonly ObjectInfo[]): ObjectSizes {
  const prefixLength = `a/${artifactId}/`.length;
  return new Map(keys.map(({ key, size }) => [key.slice(prefixLength), size]));
}

/** A collector may have run beside us: of a version that has expired since we read the log, nothing has to be there. */
async function stillLive(
  store: ObjectStore,
  { place, state, isWhole }: CheckedLog,
  damages: readonly Finding[],
  options: CallOptions,
): Promise<readonly Finding[]> {
  if (!isWhole) return damages;
  const since = await readLog(store, place.artifactId, state.headSeq, state.headHash, options);
  const expired = expiredIn(since);
  return damages
    .map((damage) => ({ ...damage, versions: damage.versions.filter((version) => !expired.has(version)) }))
    .filter(({ versions }) => versions.length > 0);
}
