import type { Catalog } from '../catalog/ports.js';
import { joinPath } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import { chain, type MaybePromise } from '../util/maybe-promise.js';
import { transaction } from '../util/sqlite.js';
import { checkArtifactName } from '../workspace/names.js';
import type { StoredRecord } from '../workspace/records.js';
import type { Place, WorkspaceArtifact } from './artifact.js';
import { type CollectionLog, changedNames } from './collection-log.js';
import { type Moves, restoredByOthers } from './moves.js';
import type { RemovedArtifact } from './ports.js';
import type { ArtifactRegistry } from './registry.js';
import type { StageDatabase } from './stage-db/stage-database.js';

export interface NameChangesParts {
  readonly db: StageDatabase;
  readonly catalog: Catalog;
  readonly log: CollectionLog;
  readonly registry: ArtifactRegistry;
  readonly moves: Moves;
  readonly root: WorkspaceArtifact;
  readonly child: (
    collection: WorkspaceArtifact,
    name: string,
  ) => MaybePromise<WorkspaceArtifact | undefined>;
  readonly hasChildren: (collection: WorkspaceArtifact) => boolean;
  /** Removes a new artifact that is empty. */
  readonly remove: (collection: WorkspaceArtifact, name: string) => MaybePromise<void>;
  readonly staged: () => readonly WorkspaceArtifact[];
  /** The name may mean something else now, and the kernel does not know. */
  readonly changed: (collection: WorkspaceArtifact, name: string) => void;
}

/**
 * How artifacts get, change and lose their names: those of new ones are rows of stage.db, those of committed ones records of
 * their collections' logs.
 */
export class NameChanges {
  readonly #parts: NameChangesParts;

  constructor(parts: NameChangesParts) {
    this.#parts = parts;
  }

  rename(
    source: WorkspaceArtifact,
    fromName: string,
    target: WorkspaceArtifact,
    toName: string,
    options: { announce?: boolean },
  ): MaybePromise<void> {
    checkNewName(toName);
    return chain(this.#parts.child(source, fromName), (artifact) => {
      if (artifact === undefined)
        throw new ArtifactError('NotFound', `${joinPath(source.path, fromName)} does not exist`);
      if (source === target && fromName === toName) return undefined;
      return chain(this.#checkTarget(artifact, target, toName), () =>
        chain(this.#move(artifact, source, fromName, target, toName), () => {
          artifact.place = { collection: target, name: toName };
          if (options.announce !== true) return;
          this.#parts.changed(source, fromName);
          this.#parts.changed(target, toName);
        }),
      );
    });
  }

  /** See `Artifacts.unlink`. */
  async unlink(own: WorkspaceArtifact, options: { force: boolean; recursive: boolean }): Promise<void> {
    const { place } = own;
    if (place === null) throw new ArtifactError('NotPermitted', 'the root collection cannot be removed');
    if (own.isCollection && own.hasLog) await own.refresh();
    if (!options.recursive && this.#parts.hasChildren(own))
      throw new ArtifactError('NotEmpty', `${own.path} holds artifacts`, {
        hint: '--recursive removes them with it',
      });
    const staged = this.#parts.staged().filter((one) => one.isWithin(own));
    const lost = await Promise.all(staged.map((one) => one.hasStagedChanges()));
    const paths = staged.filter((_, i) => lost[i]).map(({ path }) => path);
    if (!options.force && paths.length > 0)
      throw new ArtifactError('NotEmpty', `${own.path} has staged changes that would be lost`, {
        paths,
        hint: 'commit or discard them first, or drop them with --force',
      });
    await own.committer.exclusive(() => this.#unlinkName(own, place));
    for (const one of staged) await this.#drop(one);
    if (own.isNew) this.#parts.changed(place.collection, place.name);
  }

  /** Gives a removed artifact a name again; answers its path. */
  async restore(
    { artifactId, path }: RemovedArtifact,
    collection: WorkspaceArtifact,
    name: string,
  ): Promise<string> {
    checkNewName(name);
    if (!collection.isCollection || collection.isNew)
      throw new ArtifactError('NotDirectory', `${collection.path} is no collection that was committed`);
    const hint = 'restore it under another name: --as NAME';
    const taken = () => new ArtifactError('Exists', `${joinPath(collection.path, name)} exists`, { hint });
    if (this.#parts.db.stages.newNamed(collection.id, name) !== undefined) throw taken();
    const restored = { artifactId, fromId: '', fromName: path, toId: collection.id, toName: name };
    await this.#parts.moves.move(restored, (names, since) => {
      const others = since.some(({ record }) => record.type === 'link' && record.artifactId === artifactId);
      if (others || names(name) === artifactId) throw restoredByOthers(path);
      if (names(name) !== undefined) throw taken();
      return { type: 'link', name, artifactId };
    });
    this.#parts.changed(collection, name);
    return joinPath(collection.path, name);
  }

  /** New artifacts that were published when the daemon was killed, but not yet linked; those above others first. */
  async linkPublished(onError: (error: unknown, doing: string) => void): Promise<void> {
    const depth = ({ path }: WorkspaceArtifact): number => path.split('/').length;
    for (const artifact of [...this.#parts.staged()].sort((a, b) => depth(a) - depth(b))) {
      if (!artifact.isNew || !artifact.hasLog || artifact.place?.collection.isNew !== false) continue;
      try {
        await artifact.committer.exclusive(() => this.link(artifact));
      } catch (error) {
        onError(error, `linking the name of ${artifact.path}`);
      }
    }
  }

  /** The first commit's second step: the name of a new artifact in its collection. */
  async link(artifact: WorkspaceArtifact): Promise<void> {
    const { collection, name } = artifact.place ?? { collection: this.#parts.root, name: artifact.id };
    if (collection.isNew) throw notCommitted(collection);
    const records = await this.#parts.log.changeNames(collection.id, (names) => {
      const owner = names(name);
      if (owner === artifact.id) return null;
      if (owner !== undefined)
        throw new ArtifactError(
          'Conflict',
          `the name ${joinPath(collection.path, name)} was taken by somebody else meanwhile`,
          { paths: [name], hint: 'rename the directory and commit again' },
        );
      return { type: 'link', name, artifactId: artifact.id };
    });
    this.#linked(artifact);
    this.changedBy(collection, records, new Set([name]));
  }

  /** These records of the collection are in the catalog. `own`: names that the caller, who came through the kernel, knows of. */
  changedBy(
    collection: WorkspaceArtifact,
    records: readonly StoredRecord[],
    own: ReadonlySet<string> = new Set(),
  ): void {
    for (const name of changedNames(records)) {
      const id = this.#parts.catalog.child(collection.id, name)?.artifactId;
      const artifact = id === undefined ? undefined : this.#parts.registry.get(id);
      if (artifact !== undefined && !artifact.isNew) artifact.place = { collection, name };
      if (!own.has(name)) this.#parts.changed(collection, name);
    }
  }

  /** A new artifact that is empty gives way, as an empty directory does. */
  #checkTarget(artifact: WorkspaceArtifact, target: WorkspaceArtifact, name: string): MaybePromise<void> {
    if (!target.isCollection)
      throw new ArtifactError('NotPermitted', `${target.path} is no collection: it cannot hold artifacts`);
    if (target.isWithin(artifact))
      throw new ArtifactError('Loop', `${artifact.path} cannot be moved into itself`);
    return chain(this.#parts.child(target, name), (existing) => {
      if (existing === undefined) return undefined;
      if (!existing.isNew) throw new ArtifactError('Exists', `${existing.path} exists`);
      return this.#parts.remove(target, name);
    });
  }

  #move(
    artifact: WorkspaceArtifact,
    from: WorkspaceArtifact,
    fromName: string,
    to: WorkspaceArtifact,
    toName: string,
  ): MaybePromise<void> {
    if (artifact.isNew) {
      const { stage } = artifact.tree.core;
      transaction(this.#parts.db.db, () => stage.update({ place: { collectionId: to.id, name: toName } }));
      return undefined;
    }
    if (to.isNew) throw notCommitted(to);
    if (from === to) return this.#renameLinked(artifact, from, fromName, toName);
    const { id: artifactId } = artifact;
    const move = { artifactId, fromId: from.id, fromName, toId: to.id, toName };
    return this.#parts.moves.move(move, (names) => {
      if (names(toName) === undefined) return { type: 'link', name: toName, artifactId };
      if (names(toName) !== artifactId)
        throw new ArtifactError('Exists', `${joinPath(to.path, toName)} exists`);
      throw new ArtifactError('Conflict', `${artifact.path} is moved there by somebody else already`, {
        hint: '"artifactfs refresh" and look where it is',
      });
    });
  }

  async #renameLinked(
    artifact: WorkspaceArtifact,
    collection: WorkspaceArtifact,
    from: string,
    to: string,
  ): Promise<void> {
    const records = await this.#parts.log.changeNames(collection.id, (names) => {
      if (names(from) !== artifact.id)
        throw new ArtifactError(
          'Conflict',
          `${joinPath(collection.path, from)} was renamed or removed by somebody else`,
          {
            paths: [from],
          },
        );
      if (names(to) !== undefined)
        throw new ArtifactError('Exists', `${joinPath(collection.path, to)} exists`);
      return { type: 'rename', from, to, artifactId: artifact.id };
    });
    this.changedBy(collection, records, new Set([from, to]));
  }

  async #unlinkName(artifact: WorkspaceArtifact, { collection, name }: Place): Promise<void> {
    if (artifact.isNew) return;
    const records = await this.#parts.log.changeNames(collection.id, (names) => {
      if (names(name) === artifact.id) return { type: 'unlink', name, artifactId: artifact.id };
      throw new ArtifactError('Conflict', `${artifact.path} was renamed, moved or removed by somebody else`, {
        hint: '"artifactfs refresh" and look where it is',
      });
    });
    this.changedBy(collection, records);
  }

  async #drop(artifact: WorkspaceArtifact): Promise<void> {
    if (!artifact.isNew) await artifact.discard();
    else await artifact.committer.exclusive(async () => this.#parts.registry.forget(artifact));
  }

  #linked(artifact: WorkspaceArtifact): void {
    const { core } = artifact.tree;
    const { stage } = core;
    const { row } = stage;
    if (row === null) return;
    transaction(this.#parts.db.db, () => {
      const isEmpty = row.manifest === null && this.#parts.db.inodes.isEmpty(row.s) && row.sealed === null;
      if (isEmpty) stage.remove(row.base);
      else stage.update({ isNew: false });
    });
  }
}

/** '@' in a name would read as NAME@VERSION. */
export function checkNewName(name: string): void {
  checkArtifactName(name);
  if (name.includes('@'))
    throw new ArtifactError('InvalidName', `the artifact name ${JSON.stringify(name)} holds an '@'`, {
      hint: 'NAME@VERSION names a version of an artifact',
    });
}

const notCommitted = (collection: WorkspaceArtifact) =>
  new ArtifactError('NotPermitted', `the collection ${collection.path} was not committed yet`, {
    hint: `commit ${collection.path} first`,
  });
