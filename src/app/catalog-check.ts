import { existsSync } from 'node:fs';
import { join } from 'node:path';
import { type ArtifactFacts, CatalogFacts, metarangeDigest, rangeDigest } from '../catalog/catalog-facts.js';
import { differences } from '../catalog/differences.js';
import { ControlClient } from '../http/client.js';
import type { Entry } from '../model/entry.js';
import { isCode } from '../model/errors.js';
import type { ObjectStore } from '../store/object-store.js';
import { type Finding, finding, type Place } from '../workspace/fsck/findings.js';
import type { LocalCheck } from '../workspace/fsck/fsck.js';
import type { CheckedLog } from '../workspace/fsck/log-check.js';
import { logKey, objectKey } from '../workspace/keys.js';
import { readSlot } from '../workspace/log.js';
import type { TreeRef } from '../workspace/records.js';
import type { Metarange, RangeRef } from '../workspace/trees.js';
import { StateDirectory } from './state-directory.js';

/** What this machine has noted of a workspace. */
export interface LocalCatalog extends AsyncDisposable {
  artifact(artifactId: string): Promise<ArtifactFacts | null>;
  treeDigest(sha256: string): Promise<string | null>;
}

/**
 * The catalog of a workspace: through the daemon that has it open, else from its file. A text: it cannot be read, and why.
 * Null when this machine has none.
 */
export async function openLocalCatalog(
  stateDir: string,
  workspaceId: string,
  socketPath: string | null,
): Promise<LocalCatalog | string | null> {
  if (socketPath !== null) return catalogOfDaemon(socketPath);
  const file = join(stateDir, workspaceId, 'catalog.db');
  if (!existsSync(file)) return null;
  let state: StateDirectory;
  try {
    state = await StateDirectory.open(stateDir, workspaceId);
  } catch (error) {
    // A daemon has this workspace under another spelling of its URL.
    const socket = isCode(error, 'Busy') ? error.details['socketPath'] : undefined;
    if (typeof socket !== 'string') throw error;
    return catalogOfDaemon(socket);
  }
  try {
    const facts = CatalogFacts.open(file);
    if (facts !== null) return catalogOfFile(facts, state);
    await state[Symbol.asyncDispose]();
    return null;
  } catch (error) {
    await state[Symbol.asyncDispose]();
    if (isCode(error, 'Corrupt', 'UnsupportedFormat')) return error.message;
    throw error;
  }
}

function catalogOfDaemon(socketPath: string): LocalCatalog {
  const client = new ControlClient(socketPath);
  return {
    artifact: async (artifactId) => (await client.catalogFacts(artifactId)).facts,
    treeDigest: async (sha256) => (await client.treeDigest(sha256)).digest,
    [Symbol.asyncDispose]: async () => client[Symbol.dispose](),
  };
}

const catalogOfFile = (facts: CatalogFacts, state: StateDirectory): LocalCatalog => ({
  artifact: async (artifactId) => facts.artifact(artifactId),
  treeDigest: (sha256) => facts.treeDigest(sha256),
  [Symbol.asyncDispose]: async () => {
    facts[Symbol.dispose]();
    await state[Symbol.asyncDispose]();
  },
});

/** Compares a catalog with what `fsck` reads from the store. */
export class CatalogCheck implements LocalCheck {
  readonly #catalog: LocalCatalog;
  readonly #store: ObjectStore;
  #found: { object: string; offset: number; length: number; what: string }[] = [];

  constructor(catalog: LocalCatalog, store: ObjectStore) {
    this.#catalog = catalog;
    this.#store = store;
  }

  async log({ place, state, isWhole }: CheckedLog): Promise<Finding[]> {
    const facts = await this.#catalog.artifact(place.artifactId);
    if (facts === null) return [];
    const found = differences(facts, state).map((what) => catalogDiffers(place, what));
    // It may be ahead by what was written since; but what it has read does not go away.
    const isCut = isWhole && facts.headSeq > state.headSeq;
    if (isCut && (await readSlot(this.#store, place.artifactId, facts.headSeq)) === null)
      found.push(logCut(place, state.headSeq, facts.headSeq));
    return found;
  }

  async metarange({ object, offset, length, sha256 }: TreeRef, metarange: Metarange): Promise<void> {
    await this.#compare({ object, offset, length, what: 'a metarange' }, sha256, () =>
      metarangeDigest(metarange),
    );
  }

  async range(range: RangeRef, entries: readonly Entry[]): Promise<void> {
    const { object, offset, length, sha256 } = range;
    await this.#compare({ object, offset, length, what: 'a range' }, sha256, () => rangeDigest(entries));
  }

  taken(place: Place): Finding[] {
    const found = this.#found;
    this.#found = [];
    return found.map(({ object, what, ...where }) => ({
      ...catalogDiffers(place, `${what} is not what the store has`),
      ...where,
      key: objectKey(place.artifactId, object),
    }));
  }

  async #compare(
    where: { object: string; offset: number; length: number; what: string },
    sha256: string,
    digest: () => string,
  ): Promise<void> {
    const known = await this.#catalog.treeDigest(sha256);
    if (known !== null && known !== digest()) this.#found.push(where);
  }
}

export const catalogDiffers = (place: Place | null, what: string): Finding =>
  finding(place, {
    severity: 'damage',
    code: 'catalog-differs',
    what: `the catalog of this machine: ${what}`,
    means:
      'this machine alone may show something wrong; artifactfs fsck --rebuild-catalog makes its catalog anew',
  });

const logCut = (place: Place, head: number, known: number): Finding =>
  finding(place, {
    severity: 'damage',
    code: 'log-cut',
    key: logKey(place.artifactId, head + 1),
    what: `the log ends with record ${head}, but this machine has read record ${known}`,
    means: `what the records ${head + 1} to ${known} said is lost for machines that have not read them; restore the objects before anybody commits`,
  });
