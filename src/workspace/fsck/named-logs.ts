import { joinPath } from '../../model/entry.js';
import { ArtifactError } from '../../model/errors.js';
import { rootCollectionId } from '../../model/ids.js';
import type { CallOptions, ObjectStore } from '../../store/object-store.js';
import { forEachOf } from '../../util/for-each-of.js';
import { logKey } from '../keys.js';
import { latestVersion, type ReplayedVersion, type ReplayState } from '../replay.js';
import { type Finding, finding } from './findings.js';
import { type CheckedLog, checkLog } from './log-check.js';

/** What a path names. */
export interface Found {
  readonly log: CheckedLog;
  /** What follows the '@'; '' where there is none. */
  readonly ref: string;
  /** Inside the artifact. */
  readonly path: string;
}

const logsAtOnce = 8;

/** The logs of artifacts as names lead to them from the root, each checked once. */
export class NamedLogs {
  readonly #store: ObjectStore;
  readonly #options: CallOptions;
  readonly #logs = new Map<string, CheckedLog>();
  #findings: Finding[] = [];

  constructor(store: ObjectStore, options: CallOptions = {}) {
    this.#store = store;
    this.#options = options;
  }

  known(artifactId: string): CheckedLog | undefined {
    return this.#logs.get(artifactId);
  }

  /** What was found since it was asked last. */
  takeFindings(): Finding[] {
    const taken = this.#findings;
    this.#findings = [];
    return taken;
  }

  root(): Promise<CheckedLog> {
    return this.#log(rootCollectionId, '');
  }

  /**
   * What the first of `paths` names that leads to an artifact besides the root, or to the root itself. `NotFound` when none
   * does.
   */
  async find(paths: readonly string[]): Promise<Found> {
    for (const path of paths) {
      const found = await this.#descend(path);
      if (found.path === '' || found.log.place.artifactId !== rootCollectionId) return found;
    }
    throw new ArtifactError('NotFound', `no artifact '${paths[0] ?? ''}'`);
  }

  /** An artifact and all that is in it, by id. */
  async below(top: CheckedLog): Promise<string[]> {
    const found = new Map([[top.place.artifactId, top]]);
    for (let level = [top]; level.length > 0; ) {
      const next: CheckedLog[] = [];
      await forEachOf(childrenOf(level), logsAtOnce, async ({ artifactId, path }) => {
        if (found.has(artifactId)) return;
        const log = await this.#log(artifactId, path);
        found.set(artifactId, log);
        next.push(log);
      });
      level = next;
    }
    return [...found.keys()];
  }

  async #descend(path: string): Promise<Found> {
    const names = path.split('/').filter((name) => name !== '' && name !== '.');
    let log = await this.root();
    for (const [depth, name] of names.entries()) {
      const [child = '', ref = ''] = name.split('@', 2);
      const artifactId = log.state.children.get(child);
      if (artifactId === undefined) return { log, ref: '', path: names.slice(depth).join('/') };
      log = await this.#log(artifactId, joinPath(log.place.path, child));
      if (ref !== '') return { log, ref, path: names.slice(depth + 1).join('/') };
    }
    return { log, ref: '', path: '' };
  }

  async #log(artifactId: string, path: string): Promise<CheckedLog> {
    const known = this.#logs.get(artifactId);
    if (known !== undefined) return known;
    const log = await checkLog(this.#store, { artifactId, path }, this.#options);
    // Two names may lead to it.
    const other = this.#logs.get(artifactId);
    if (other !== undefined) return other;
    this.#logs.set(artifactId, log);
    this.#findings.push(...log.findings);
    if (log.isWhole && log.state.headSeq === 0 && artifactId !== rootCollectionId)
      this.#findings.push(withoutLog(log));
    return log;
  }
}

function* childrenOf(logs: readonly CheckedLog[]) {
  for (const { place, state } of logs)
    for (const [name, artifactId] of state.children) yield { artifactId, path: joinPath(place.path, name) };
}

const withoutLog = ({ place }: CheckedLog): Finding =>
  finding(place, {
    severity: 'damage',
    code: 'artifact-missing',
    key: logKey(place.artifactId, 1),
    what: `the name '${place.path}' is of an artifact that has no log`,
    means: 'none of its versions can be found',
  });

/** The version that follows an '@': v3, 3, latest, an alias; '' is the latest. `NotFound` when there is none. */
export function versionOf({ place, state }: CheckedLog, ref: string): ReplayedVersion {
  const found = namedVersion(state, ref);
  if (found === undefined || found.expired) {
    const why =
      found === undefined ? `there is no version ${ref === '' ? 'yet' : ref}` : `${ref} has expired`;
    throw new ArtifactError('NotFound', `${place.path}: ${why}`);
  }
  return found;
}

function namedVersion(state: ReplayState, ref: string): ReplayedVersion | undefined {
  if (ref === '' || ref === 'latest') return latestVersion(state);
  const number = /^v?(\d{1,15})$/.exec(ref)?.[1] ?? state.aliases.get(ref);
  return number === undefined ? undefined : state.versions[Number(number)];
}
