import type { Catalog } from '../catalog/ports.js';
import { joinPath } from '../model/entry.js';
import { rootCollectionId } from '../model/ids.js';
import { forEachOf } from '../util/for-each-of.js';

export interface NameSearchParts {
  readonly catalog: Catalog;
  /** Reads an artifact's new records into the catalog, and tells who has to know. */
  readonly refresh: (artifactId: string) => Promise<unknown>;
}

/** What the logs of all collections say of names, read anew. */
export class NameSearch {
  readonly #parts: NameSearchParts;

  constructor(parts: NameSearchParts) {
    this.#parts = parts;
  }

  /** Every collection that has a name, and its path. */
  async collections(): Promise<ReadonlyMap<string, string>> {
    const { catalog, refresh } = this.#parts;
    const paths = new Map([[rootCollectionId, '']]);
    for (const [id, path] of paths) {
      await refresh(id);
      for (const { name, artifactId } of catalog.children(id)) {
        if (catalog.artifact(artifactId) === undefined) await refresh(artifactId);
        const isCollection = catalog.artifact(artifactId)?.manifest['type'] === 'collection';
        // A map goes on with what was added while it is walked.
        if (isCollection && !paths.has(artifactId)) paths.set(artifactId, joinPath(path, name));
      }
    }
    return paths;
  }

  /** Whether any other name than `name` in `collectionId` means the artifact. */
  async hasOtherName(artifactId: string, collectionId: string, name: string): Promise<boolean> {
    const collections = await this.collections();
    return [...collections.keys()].some((id) =>
      this.#parts.catalog
        .children(id)
        .some((child) => child.artifactId === artifactId && (id !== collectionId || child.name !== name)),
    );
  }

  /** Whether `wanted` is below `top`, or is it. Asks for the log of everything below. */
  async holds(top: string, wanted: string): Promise<boolean> {
    const { catalog, refresh } = this.#parts;
    const seen = new Set([top]);
    for (let level = [top]; level.length > 0 && !seen.has(wanted); ) {
      const next: string[] = [];
      await forEachOf(level, logsAtOnce, async (id) => {
        await refresh(id);
        for (const { artifactId } of catalog.children(id)) {
          if (seen.has(artifactId)) continue;
          seen.add(artifactId);
          next.push(artifactId);
        }
      });
      level = next;
    }
    return seen.has(wanted);
  }
}

const logsAtOnce = 8;
