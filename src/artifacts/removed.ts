import type { Catalog } from '../catalog/ports.js';
import { joinPath } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import type { Publisher } from '../workspace/commit-types.js';
import type { StoredRecord } from '../workspace/records.js';
import type { NameSearch } from './name-search.js';
import type { RemovedArtifact } from './ports.js';

export interface RemovedParts {
  readonly publisher: Publisher;
  readonly catalog: Catalog;
  /** Reads an artifact's new records into the catalog, and tells who has to know. */
  readonly refresh: (artifactId: string) => Promise<unknown>;
  readonly search: NameSearch;
}

interface Removal extends RemovedArtifact {
  readonly collectionId: string;
}

/** Artifacts whose names were removed, as the logs of all collections tell. */
export class RemovedArtifacts {
  readonly #parts: RemovedParts;

  constructor(parts: RemovedParts) {
    this.#parts = parts;
  }

  /** Those that still have a version, the last removed first. Reads the whole log of each collection. */
  async list(): Promise<readonly Removal[]> {
    const gone = new Map<string, Removal>();
    const collections = await this.#parts.search.collections();
    for (const [collectionId, path] of collections)
      for (const removal of await this.#removedFrom(collectionId, path)) {
        const known = gone.get(removal.artifactId);
        if (known === undefined || known.timeMs < removal.timeMs) gone.set(removal.artifactId, removal);
      }
    // Who moves an artifact links it before it is unlinked: read now, each of those seen above has its other name.
    for (const collectionId of collections.keys()) {
      await this.#parts.refresh(collectionId);
      for (const { artifactId } of this.#parts.catalog.children(collectionId)) gone.delete(artifactId);
    }
    const alive: Removal[] = [];
    for (const removal of gone.values()) {
      await this.#parts.refresh(removal.artifactId);
      const versions = this.#parts.catalog.versions(removal.artifactId).filter(({ expired }) => !expired);
      if (versions.length > 0) alive.push({ ...removal, versions: versions.length });
    }
    return alive.sort((a, b) => b.timeMs - a.timeMs);
  }

  /** By its id, or the path that it had: the last removed there. */
  async find(what: string): Promise<Removal> {
    const all = await this.list();
    const found = all.find(({ artifactId }) => artifactId === what) ?? all.find(({ path }) => path === what);
    if (found !== undefined) return found;
    throw new ArtifactError('NotFound', `nothing removed as ${what} can come back`, {
      hint: '"artifactfs restore" lists what can',
    });
  }

  async #removedFrom(collectionId: string, path: string): Promise<Removal[]> {
    const records = await this.#parts.publisher.readLog(collectionId, 0, '');
    return records.flatMap(({ record }: StoredRecord) =>
      record.type === 'unlink'
        ? [
            {
              artifactId: record.artifactId,
              collectionId,
              path: joinPath(path, record.name),
              versions: 0,
              timeMs: record.time,
              host: record.host,
              user: record.user,
            },
          ]
        : [],
    );
  }
}
