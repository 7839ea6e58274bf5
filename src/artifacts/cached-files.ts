import type { PinTarget } from '../content/cache/cache-pins.js';
import { ObjectRanges } from '../content/cache/object-ranges.js';
import type { CacheControl, CacheFigures, Coverage, WarmResult } from '../content/read/cache-control.js';
import { compareEntries, type Entry, entryPath, splitPath } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import { LoopTurn } from '../util/loop-turn.js';
import { isSameExtents } from '../workspace/entry-compare.js';
import { checkPath } from './path-views.js';
import type { Artifact } from './ports.js';

export interface FilesCoverage extends Coverage {
  readonly version: number;
  readonly files: number;
  readonly pinned: boolean;
}

export interface FilesWarmed extends WarmResult {
  readonly version: number;
  readonly files: number;
}

export interface WarmFilesOptions {
  /** Only what is in other places of the store than in this version. */
  readonly from?: string | undefined;
  readonly signal: AbortSignal;
  readonly onProgress: (bytesDone: number, bytesTotal: number) => void;
}

interface Selected {
  readonly target: PinTarget;
  readonly files: number;
  readonly ranges: ObjectRanges;
}

/**
 * The disk cache by files: `ref` names a version ('' and 'stage': the latest), `path` a file or directory in it ('': all).
 * `NotFound` when they do not exist.
 */
export class CachedFiles {
  readonly #cache: CacheControl;

  constructor(cache: CacheControl) {
    this.#cache = cache;
  }

  figures(): CacheFigures {
    return this.#cache.figures();
  }

  pins(): { artifact: string; version: number; path: string }[] {
    return this.#cache.pins().map(({ artifact, version, path }) => ({ artifact, version, path }));
  }

  /** Of everything that is not pinned. Answers how many bytes left the disk. */
  evictAll(): Promise<number> {
    return this.#cache.evictAll();
  }

  async coverage(artifact: Artifact, ref: string, path: string): Promise<FilesCoverage> {
    const { target, files, ranges } = await select(artifact, ref, path);
    const pinned = this.#cache
      .pins()
      .some(
        (pin) =>
          pin.artifactId === target.artifactId && pin.version === target.version && holds(pin.path, path),
      );
    const coverage = await this.#cache.coverage(artifact.id, ranges);
    return { version: target.version, files, pinned, ...coverage };
  }

  async warm(
    artifact: Artifact,
    ref: string,
    path: string,
    { from, ...options }: WarmFilesOptions,
  ): Promise<FilesWarmed> {
    const { target, files, ranges } = await select(artifact, ref, path, from, options.signal);
    return { version: target.version, files, ...(await this.#cache.warm(artifact.id, ranges, options)) };
  }

  async pin(artifact: Artifact, ref: string, path: string): Promise<FilesCoverage> {
    const { target, files, ranges } = await select(artifact, ref, path);
    const coverage = await this.#cache.pin(target, artifact.path, ranges);
    return { version: target.version, files, pinned: true, ...coverage };
  }

  /** False when this was not pinned. A version that has expired may still be named by its number. */
  async unpin(artifact: Artifact, ref: string, path: string): Promise<boolean> {
    const number = /^v?(\d{1,15})$/.exec(ref)?.[1];
    const version = number === undefined ? artifact.resolveVersion(versionName(ref)).version : Number(number);
    return this.#cache.unpin({ artifactId: artifact.id, version, path });
  }

  async evict(artifact: Artifact, ref: string, path: string): Promise<number> {
    const { ranges } = await select(artifact, ref, path);
    return this.#cache.evict(artifact.id, ranges);
  }
}

const versionName = (ref: string): string => (ref === '' || ref === 'stage' ? 'latest' : ref);

const holds = (directory: string, path: string): boolean =>
  directory === '' || directory === path || path.startsWith(`${directory}/`);

async function select(
  artifact: Artifact,
  ref: string,
  path: string,
  from?: string,
  signal?: AbortSignal,
): Promise<Selected> {
  checkPath(path);
  const version = artifact.resolveVersion(versionName(ref));
  const base = from === undefined ? undefined : artifact.resolveVersion(from);
  const tree = await artifact.versionTree(version);
  const { dir, name } = splitPath(path);
  const entry = path === '' ? tree.root : await tree.lookup(dir, name);
  if (entry === undefined)
    throw new ArtifactError('NotFound', `v${version.version} of ${artifact.path} has no ${path}`);
  const before = base === undefined ? undefined : await artifact.versionTree(base);
  const isDirectory = entry.kind === 'dir';
  const entries = isDirectory ? tree.walk(path) : [entry];
  const old = before === undefined ? [] : isDirectory ? before.walk(path) : [await before.lookup(dir, name)];
  const ranges = new ObjectRanges();
  let files = 0;
  const turn = new LoopTurn();
  for await (const found of changed(entries, old)) {
    if (found.kind === 'file') {
      files++;
      ranges.add(found.extents ?? []);
    }
    if (!turn.isOver) continue;
    signal?.throwIfAborted();
    await turn.next();
  }
  return { target: { artifactId: artifact.id, version: version.version, path }, files, ranges };
}

type Entries = AsyncIterable<Entry> | Iterable<Entry | undefined>;

/** Of `entries`, those whose bytes are not where those of the same path in `old` are. Both are in tree order. */
async function* changed(entries: Entries, old: Entries): AsyncGenerator<Entry, void> {
  const before = iterate(old);
  let other = await before.next();
  for await (const entry of entries) {
    if (entry === undefined) continue;
    while (!other.done && compareEntries(other.value, entry) < 0) other = await before.next();
    const isSame =
      !other.done &&
      entryPath(other.value) === entryPath(entry) &&
      isSameExtents(other.value.extents ?? [], entry.extents ?? []);
    if (!isSame) yield entry;
  }
}

async function* iterate(entries: Entries): AsyncGenerator<Entry, void> {
  for await (const entry of entries) if (entry !== undefined) yield entry;
}
