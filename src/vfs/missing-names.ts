import { limits } from '../model/limits.js';
import type { Node } from './node.js';

const none: ReadonlySet<string> = new Set();

/**
 * Names that the kernel was told are missing, and believes so until it hears otherwise. When there are too many, those
 * of the directory that was asked first are given up: `onDropped` has to tell the kernel.
 */
export class MissingNames {
  readonly #names = new Map<Node, Set<string>>();
  readonly #countMax: number;
  readonly #onDropped: (directory: Node, names: ReadonlySet<string>) => void;
  #count = 0;

  constructor(
    onDropped: (directory: Node, names: ReadonlySet<string>) => void,
    countMax: number = limits.kernelMissingNamesMax,
  ) {
    this.#onDropped = onDropped;
    this.#countMax = countMax;
  }

  get count(): number {
    return this.#count;
  }

  of(directory: Node): ReadonlySet<string> {
    return this.#names.get(directory) ?? none;
  }

  remember(directory: Node, name: string): void {
    let names = this.#names.get(directory);
    if (names?.has(name)) return;
    if (this.#count >= this.#countMax) this.#dropOldest();
    names = this.#names.get(directory);
    if (names === undefined) {
      names = new Set();
      this.#names.set(directory, names);
    }
    names.add(name);
    this.#count++;
  }

  /** The name exists now, or the kernel has been told to ask for it. */
  forget(directory: Node, name: string): void {
    if (this.#count === 0) return;
    const names = this.#names.get(directory);
    if (names === undefined || !names.delete(name)) return;
    this.#count--;
    if (names.size === 0) this.#names.delete(directory);
  }

  /** The kernel has forgotten the directory. */
  forgetAll(directory: Node): void {
    const names = this.#names.get(directory);
    if (names === undefined) return;
    this.#names.delete(directory);
    this.#count -= names.size;
  }

  clear(): void {
    this.#names.clear();
    this.#count = 0;
  }

  /** Many at a time: the way to the oldest leads past all that were removed since the map was last rebuilt. */
  #dropOldest(): void {
    const kept = this.#countMax - 1 - (this.#countMax >> 4);
    for (const [directory, names] of this.#names) {
      if (this.#count <= kept) return;
      this.forgetAll(directory);
      this.#onDropped(directory, names);
    }
  }
}
