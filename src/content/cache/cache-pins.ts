import { readFileSync } from 'node:fs';
import { rename, writeFile } from 'node:fs/promises';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { Mutex } from '../../util/semaphore.js';
import type { CacheHolds } from './cache-holds.js';

/** What a user pinned: a file, a directory or all ('') of one version. */
export interface PinTarget {
  readonly artifactId: string;
  readonly version: number;
  readonly path: string;
}

interface Pin extends PinTarget {
  /** The artifact's path when it was pinned, for people. */
  readonly artifact: string;
  /** Names of its objects in the cache. */
  readonly names: readonly string[];
}

interface PinsFile {
  readonly formatVersion: 1;
  readonly pins: readonly Pin[];
}

/** The pins of this machine, in a file beside the cache. They hold their objects from the start of the daemon on. */
export class CachePins {
  readonly #file: string;
  readonly #holds: CacheHolds;
  readonly #pins = new Map<string, { pin: Pin; release: () => void }>();
  readonly #saving = new Mutex();

  /** A file that cannot be read, or is another program's, means no pins: the cache is no place for anything lasting. */
  constructor(file: string, holds: CacheHolds) {
    this.#file = file;
    this.#holds = holds;
    for (const pin of readPins(file)) this.#add(pin);
  }

  get all(): readonly (PinTarget & { readonly artifact: string })[] {
    return [...this.#pins.values()].map(({ pin }) => pin);
  }

  has(target: PinTarget): boolean {
    return this.#pins.has(keyOf(target));
  }

  /** Again: with the objects it has now. On disk when it resolves. `NoSpace` when there are too many objects. */
  async pin(target: PinTarget, artifact: string, names: readonly string[]): Promise<void> {
    const key = keyOf(target);
    let others = 0;
    for (const [otherKey, { pin }] of this.#pins) if (otherKey !== key) others += pin.names.length;
    if (others + names.length > limits.pinnedObjectsMax) {
      throw new ArtifactError(
        'NoSpace',
        `${names.length} objects more would be pinned, with ${others} that are; ${limits.pinnedObjectsMax} can be`,
        { hint: 'unpin what is not needed: artifactfs cache lists it' },
      );
    }
    const { artifactId, version, path } = target;
    const before = this.#pins.get(key);
    this.#add({ artifactId, version, path, artifact, names });
    before?.release();
    await this.#save();
  }

  /** False when it was not pinned. */
  async unpin(target: PinTarget): Promise<boolean> {
    const key = keyOf(target);
    const found = this.#pins.get(key);
    if (found === undefined) return false;
    this.#pins.delete(key);
    found.release();
    await this.#save();
    return true;
  }

  #add(pin: Pin): void {
    this.#pins.set(keyOf(pin), { pin, release: this.#holds.hold(pin.names) });
  }

  async #save(): Promise<void> {
    await this.#saving.run(async () => {
      const content: PinsFile = { formatVersion: 1, pins: [...this.#pins.values()].map(({ pin }) => pin) };
      const temporary = `${this.#file}.tmp`;
      await writeFile(temporary, JSON.stringify(content), { mode: 0o600, flush: true });
      await rename(temporary, this.#file);
    });
  }
}

function readPins(file: string): readonly Pin[] {
  try {
    const content = JSON.parse(readFileSync(file, 'utf8')) as PinsFile;
    return content.formatVersion === 1 ? content.pins : [];
  } catch {
    return [];
  }
}

const keyOf = ({ artifactId, version, path }: PinTarget): string => `${artifactId} ${version} ${path}`;
