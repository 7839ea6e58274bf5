import type { Catalog, VersionTree } from '../catalog/ports.js';
import type { ContentReader, Staging, Uploader, UploadJournal } from '../content/ports.js';
import { type Clock, systemClock } from '../model/entry.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { newArtifactId } from '../model/ids.js';
import type { ObjectStore } from '../store/object-store.js';
import { isPromise, type MaybePromise } from '../util/maybe-promise.js';
import { SharedWork } from '../util/shared-work.js';
import { transaction } from '../util/sqlite.js';
import type { Publisher } from '../workspace/commit-types.js';
import type { Manifest, StoredRecord } from '../workspace/records.js';
import { type Place, WorkspaceArtifact } from './artifact.js';
import type { CollectionLog } from './collection-log.js';
import { latestBase } from './drop-stage.js';
import type { CreateInit, NewArtifactOptions } from './ports.js';
import type { StageDatabase } from './stage-db/stage-database.js';
import type { NamePlace, StageRow } from './stage-db/stage-rows.js';
import { inherit } from './tree/inherit.js';
import { loseAllNames } from './tree/rebase-nodes.js';
import { Stage } from './tree/stage.js';
import { ArtifactTree } from './tree/working-tree.js';

export interface ArtifactsOptions {
  readonly workspace: Publisher & { readonly workspaceId: string; readonly store: ObjectStore };
  readonly catalog: Catalog;
  readonly reader: ContentReader;
  readonly staging: Staging;
  /** Called once, with the journal in stage.db. */
  readonly createUploader: (journal: UploadJournal) => Uploader;
  readonly store: ObjectStore;
  /** Holds stage.db; one daemon at a time. */
  readonly stateDir: string;
  /** Do not wait for it when the catalog knows the root collection. */
  readonly storeIsAway?: boolean;
  /** Read the log of an artifact that the catalog knows when it is first looked up, beside what asks for it. */
  readonly readsOpenedLogs?: boolean;
  readonly clock?: Clock;
  /**
   * Throws `ReadOnly` when nothing may be staged any more; asked before every change. A promise while it is not known whether
   * anything may: the change waits for it.
   */
  readonly admitChange?: () => MaybePromise<void>;
  /**
   * Throws `Invalid` when a collection whose manifest is `collection` does not take an artifact with `manifest`
   * (its JSON Schema). Asked before every record that holds a manifest.
   */
  readonly checkManifest?: (collection: Manifest, manifest: Manifest) => void;
  /** Failures in the background, which no caller is told. */
  readonly onError?: (error: unknown, doing: string) => void;
  /** Tests: called at each named step of a commit; may throw. */
  readonly onStep?: (step: string) => void;
}

export interface ContentParts {
  readonly reader: ContentReader;
  readonly staging: Staging;
  readonly uploader: Uploader;
}

export interface RegistryParts {
  readonly options: ArtifactsOptions;
  readonly db: StageDatabase;
  readonly content: ContentParts;
  readonly log: CollectionLog;
  readonly closing: AbortSignal;
  /** Links the name of a new artifact in its collection. */
  readonly link: (artifact: WorkspaceArtifact) => Promise<void>;
  /** The names in a collection may mean something else by these records, which the catalog knows. */
  readonly namesChanged: (collection: WorkspaceArtifact, records: readonly StoredRecord[]) => void;
  /** An artifact was opened as the catalog knows it; nobody sees it before the answer resolves. */
  readonly opened: (artifact: WorkspaceArtifact) => MaybePromise<void>;
}

/** The artifacts that are open, each once, and how they are opened and made. They stay open. */
export class ArtifactRegistry {
  readonly #parts: RegistryParts;
  readonly #clock: Clock;
  readonly #open = new Map<string, WorkspaceArtifact>();
  readonly #opening = new SharedWork<WorkspaceArtifact>();

  constructor(parts: RegistryParts) {
    this.#parts = parts;
    this.#clock = parts.options.clock ?? systemClock;
  }

  open(): WorkspaceArtifact[] {
    return [...this.#open.values()];
  }

  get(id: string): WorkspaceArtifact | undefined {
    return this.#open.get(id);
  }

  /** The artifact of a name: a new one first, which hides a linked one until its commit is refused. */
  idOf(collectionId: string, name: string): string | undefined {
    return (
      this.#parts.db.stages.newNamed(collectionId, name) ??
      this.#parts.options.catalog.child(collectionId, name)?.artifactId
    );
  }

  load(id: string, place: Place | null): MaybePromise<WorkspaceArtifact> {
    const known = this.#open.get(id);
    if (known !== undefined) {
      if (place !== null && !known.isNew) known.place = place;
      return known;
    }
    // One that began anew after a failure may have opened it just now.
    return this.#opening.run(id, async () => this.#open.get(id) ?? this.openArtifact(id, place));
  }

  /** The root has a place of none; others are opened where their name was looked up. */
  async openArtifact(id: string, place: Place | null): Promise<WorkspaceArtifact> {
    const { catalog } = this.#parts.options;
    const { db, log } = this.#parts;
    const staged = db.stages.byArtifact(id);
    const isKnown = catalog.artifact(id) !== undefined;
    // What it is built on was read by a newer build, or the catalog was lost since.
    const isBehind = (): boolean => (catalog.artifact(id)?.headSeq ?? 0) < (staged?.base?.seq ?? 0);
    let damage: ArtifactError | null = null;
    if (isBehind() || (!isKnown && staged === undefined && place !== null)) {
      const read = await log.advance(id);
      damage = read.damage;
      if (isCode(damage, 'UnsupportedFormat') && isBehind()) throw damage;
      if (read.records.length === 0 && staged === undefined && place !== null)
        throw (
          damage ?? new ArtifactError('Corrupt', `artifact ${place.name} (${id}) is linked but has no log`)
        );
    }
    const stage = new Stage(db, id, latestBase(catalog, id), namePlace(place));
    const base = stage.base === null ? null : await catalog.tree(id, stage.base.tree);
    const artifact = this.#artifact(id, place, this.#tree(stage, base));
    if (damage !== null) {
      artifact.noteDamage(damage);
      this.#parts.options.onError?.(damage, `reading the log of ${artifact.path}`);
    }
    const read = isKnown && place !== null ? this.#parts.opened(artifact) : undefined;
    if (isPromise(read)) await read;
    this.#open.set(id, artifact);
    return artifact;
  }

  #artifact(id: string, place: Place | null, tree: ArtifactTree): WorkspaceArtifact {
    const { workspace, catalog, onStep } = this.#parts.options;
    return new WorkspaceArtifact({
      id,
      tree,
      catalog,
      publisher: workspace,
      store: workspace.store,
      reader: this.#parts.content.reader,
      log: this.#parts.log,
      place,
      link: (made) => this.#parts.link(made),
      namesChanged: (collection, records) => this.#parts.namesChanged(collection, records),
      closing: this.#parts.closing,
      checkManifest: ({ place }, manifest) => {
        if (place !== null) this.#parts.options.checkManifest?.(place.collection.manifest(), manifest);
      },
      ...(onStep === undefined ? {} : { onStep }),
    });
  }

  #tree(stage: Stage, base: VersionTree | null, newRoot?: CreateInit): ArtifactTree {
    return new ArtifactTree({
      db: this.#parts.db,
      stage,
      base,
      ...this.#parts.content,
      clock: this.#clock,
      ...(newRoot === undefined ? {} : { newRoot }),
    });
  }

  makeNew(parent: WorkspaceArtifact, name: string, options: NewArtifactOptions): WorkspaceArtifact {
    const id = newArtifactId();
    const stage = new Stage(this.#parts.db, id, null, { collectionId: parent.id, name });
    const { mode = 0o755, umask = 0, uid = process.getuid?.() ?? 0, gid = process.getgid?.() ?? 0 } = options;
    const init = inherit(parent.tree.core.root, { kind: 'dir', mode, umask, uid, gid });
    const tree = this.#tree(stage, null, init);
    const { root } = tree.core;
    transaction(this.#parts.db.db, () => {
      const { s } = stage.ensure([], true);
      if (options.type !== undefined)
        stage.update({ manifest: { type: options.type }, manifestGen: stage.gen });
      root.staged = true;
      root.gen = stage.gen;
      this.#parts.db.inodes.put(s, root);
    });
    const artifact = this.#artifact(id, { collection: parent, name }, tree);
    this.#open.set(id, artifact);
    return artifact;
  }

  /** Drops an artifact that was never committed, with all that is staged. */
  forget(artifact: WorkspaceArtifact): void {
    const { core } = artifact.tree;
    const { stage } = core;
    const { db } = this.#parts;
    loseAllNames(core, () =>
      transaction(db.db, () => {
        db.inodes.deleteAll(stage.s);
        db.dirents.deleteAll(stage.s);
        db.sealed.deleteAll(stage.s);
        stage.remove(null);
      }),
    );
    this.#open.delete(artifact.id);
  }

  /** A stage's artifact wherever its name is now; also one that was removed meanwhile, so that nothing staged is lost. */
  async openStaged(row: StageRow): Promise<WorkspaceArtifact> {
    const known = this.#open.get(row.artifactId);
    if (known !== undefined) return known;
    return await this.load(row.artifactId, await this.#placeOf(row));
  }

  /** As it was when the stage began, or was linked since under that name. */
  async #placeOf({ place }: StageRow): Promise<Place | null> {
    if (place === null) return null;
    const { collectionId, name } = place;
    const known = this.#open.get(collectionId);
    if (known !== undefined) return { collection: known, name };
    const row = this.#parts.db.stages.byArtifact(collectionId);
    const collection = row === undefined ? await this.load(collectionId, null) : await this.openStaged(row);
    return { collection, name };
  }
}

const namePlace = (place: Place | null): NamePlace | null =>
  place === null ? null : { collectionId: place.collection.id, name: place.name };
