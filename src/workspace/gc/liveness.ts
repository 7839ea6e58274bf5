import { ArtifactError, isCode } from '../../model/errors.js';
import type { CallOptions } from '../../store/object-store.js';
import { ReadAhead } from '../read-ahead.js';
import type { ReplayedVersion } from '../replay.js';
import { Slices } from '../slices.js';
import type { TreeReader } from '../trees.js';

/**
 * Objects that versions of one artifact reach: where their metaranges and ranges lie, and the bytes of their files.
 * Versions share most of it, and each range is read once.
 */
export class Liveness {
  /** Relative to the artifact. */
  readonly objects = new Set<string>();
  readonly #trees: TreeReader;
  readonly #artifactId: string;
  readonly #options: CallOptions;
  /** Ranges and metaranges, by hash: equal bytes name equal objects, wherever they lie. */
  readonly #seen = new Set<string>();
  readonly #slices = new Slices();

  constructor(trees: TreeReader, artifactId: string, options: CallOptions = {}) {
    this.#trees = trees;
    this.#artifactId = artifactId;
    this.#options = options;
  }

  /** Throws when anything of its tree cannot be read: what it reaches is not known then. */
  async add({ tree }: ReplayedVersion): Promise<void> {
    this.objects.add(tree.object);
    if (this.#seen.has(tree.sha256)) return;
    const { ranges } = await this.#trees.metarange(this.#artifactId, tree, this.#options);
    for (const { object } of ranges) this.objects.add(object);
    const unread = ranges.filter(({ sha256 }) => !this.#seen.has(sha256));
    const reads = new ReadAhead((range) => this.#trees.range(this.#artifactId, range, this.#options), unread);
    for (const [index, range] of unread.entries()) {
      for (const { extents } of await reads.get(index)) {
        for (const { object } of extents ?? []) if (object !== null) this.objects.add(object);
        if (this.#slices.due()) await this.#slices.turn();
      }
      this.#seen.add(range.sha256);
    }
    this.#seen.add(tree.sha256);
  }

  /** The same for a version that has expired: parts of it may have been deleted by somebody with a shorter grace. */
  async addWhatIsThere(version: ReplayedVersion): Promise<void> {
    try {
      await this.add(version);
    } catch (error) {
      if (!isCode(error, 'NotFound')) throw error;
    }
  }
}

/** A live version of which something is missing: nothing is deleted beside such damage. */
export const damaged = (version: number, cause: unknown): ArtifactError =>
  new ArtifactError(
    'Corrupt',
    `version v${version} cannot be read in full, so it is not known what it needs`,
    { hint: 'nothing was deleted in this artifact; run "artifactfs fsck"' },
    cause,
  );
