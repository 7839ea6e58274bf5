import { ArtifactError, isCode } from '../../model/errors.js';
import { rootCollectionId } from '../../model/ids.js';
import type { CallOptions } from '../../store/object-store.js';
import { forEachOf } from '../../util/for-each-of.js';
import { logKey } from '../keys.js';
import type { Manifest, StoredRecord } from '../records.js';
import { applyRecord, emptyArtifactState, type ReplayState } from '../replay.js';
import type { CollectedWorkspace } from './collector.js';
import { artifactIds } from './survey.js';

/** An artifact, and what the logs say of its name. */
export interface NamedArtifact {
  readonly artifactId: string;
  /** Names from the root; null when no name leads to it. */
  readonly path: string | null;
  /** Manifests of the collections above it, nearest first. */
  readonly collections: readonly Manifest[];
  /** When its last name was taken away, by the store's clock; null: it has one, or never had. */
  readonly removedMs: number | null;
}

interface Unlinked {
  readonly collectionId: string;
  readonly seq: number;
}

const logsAtOnce = 8;

/** The names of a workspace, read from the logs of its collections in the store and from nothing local. */
export class NameReader {
  readonly #workspace: CollectedWorkspace;
  readonly #options: CallOptions;
  readonly #states = new Map<string, ReplayState>();
  readonly #unlinked = new Map<string, Unlinked>();
  /** Why a log cannot be read: nobody knows what it names. */
  readonly #unreadable = new Map<string, ArtifactError>();

  constructor(workspace: CollectedWorkspace, options: CallOptions = {}) {
    this.#workspace = workspace;
    this.#options = options;
  }

  /** The artifact at `path`, and all below it. `NotFound`. */
  async below(path: string): Promise<NamedArtifact[]> {
    const names = path.split('/').filter((name) => name !== '');
    let at: NamedArtifact = { ...root, path: '' };
    for (const name of names) {
      const child = (await this.#childrenOf(at)).find((one) => one.path?.split('/').at(-1) === name);
      const why = this.#unreadable.get(at.artifactId);
      if (child === undefined && why !== undefined) throw why;
      if (child === undefined) throw new ArtifactError('NotFound', `there is no artifact ${path}`);
      at = child;
    }
    const found = new Map<string, NamedArtifact>();
    await this.#walk(at, found);
    return [...found.values()];
  }

  /** Every artifact of which the store has anything: those with a name, in tree order, then the others. */
  async all(): Promise<NamedArtifact[]> {
    const ids: string[] = [];
    await forEachOf(artifactIds(this.#workspace.store, this.#options), logsAtOnce, async (id) => {
      ids.push(id);
      await this.#stateOf(id);
    });
    const found = await this.below('');
    const named = new Set(found.map(({ artifactId }) => artifactId));
    for (const artifactId of ids.sort()) {
      if (named.has(artifactId)) continue;
      const removedMs = await this.#removedMs(artifactId);
      found.push({ artifactId, path: null, collections: [], removedMs });
    }
    return found;
  }

  /**
   * Whether still no name leads to it: somebody may have given it one again since. Nobody can tell where a log cannot be read.
   */
  async isStillRemoved(artifactId: string): Promise<boolean> {
    if (this.#unreadable.size > 0) return false;
    for (const [collectionId, state] of this.#states) {
      if (state.headSeq === 0 || state.children.size === 0) continue;
      const { headSeq, headHash } = state;
      const more = await this.#workspace.readLog(collectionId, headSeq, headHash, this.#options);
      for (const record of more) applyRecord(state, record);
      if ([...state.children.values()].includes(artifactId)) return false;
    }
    return true;
  }

  /** While it is moved an artifact has two names: the first counts. Moves that cross may even lead in a circle. */
  async #walk(at: NamedArtifact, found: Map<string, NamedArtifact>): Promise<void> {
    if (found.has(at.artifactId)) return;
    found.set(at.artifactId, at);
    const children = await this.#childrenOf(at);
    await forEachOf(children, logsAtOnce, async ({ artifactId }) => void (await this.#stateOf(artifactId)));
    for (const child of children) await this.#walk(child, found);
  }

  async #childrenOf({ artifactId, path, collections }: NamedArtifact): Promise<NamedArtifact[]> {
    const { children, manifest } = await this.#stateOf(artifactId);
    return [...children].sort().map(([name, id]) => ({
      artifactId: id,
      path: path === '' ? name : `${path}/${name}`,
      collections: [manifest, ...collections],
      removedMs: null,
    }));
  }

  async #stateOf(artifactId: string): Promise<ReplayState> {
    const known = this.#states.get(artifactId);
    if (known !== undefined) return known;
    const state = await this.#replay(artifactId).catch((error: unknown) => {
      if (!isCode(error, 'Corrupt', 'UnsupportedFormat')) throw error;
      // That is told when its artifact is collected, and keeps nobody else.
      this.#unreadable.set(artifactId, error);
      return emptyArtifactState();
    });
    this.#states.set(artifactId, state);
    return state;
  }

  async #replay(artifactId: string): Promise<ReplayState> {
    const state = emptyArtifactState();
    for (const stored of await this.#workspace.readLog(artifactId, 0, '', this.#options)) {
      applyRecord(state, stored);
      this.#noteUnlinked(artifactId, stored);
    }
    return state;
  }

  #noteUnlinked(collectionId: string, { record }: StoredRecord): void {
    if (record.type === 'unlink') this.#unlinked.set(record.artifactId, { collectionId, seq: record.seq });
  }

  async #removedMs(artifactId: string): Promise<number | null> {
    const unlinked = this.#unlinked.get(artifactId);
    if (unlinked === undefined) return null;
    const key = logKey(unlinked.collectionId, unlinked.seq);
    return (await this.#workspace.store.head(key, this.#options)).modifiedMs;
  }
}

const root: Omit<NamedArtifact, 'path'> = { artifactId: rootCollectionId, collections: [], removedMs: null };
