import { ArtifactError } from '../model/errors.js';
import type { NodeId } from '../vfs/file-system.js';
import type { HeldNode } from './path-table.js';

export interface OpenFile {
  /** The file system's own. */
  readonly handle: number;
  readonly node: HeldNode;
  /** Size of the text that this handle reads, where the file has no size to show; else undefined. */
  readonly textBytes: number | undefined;
}

/** libfuse keeps 32 bits of a descriptor for us, with a sign, and takes 0 for none. */
const descriptorMax = 0x7fff_ffff;

/** Open files by descriptor. */
export class OpenFiles {
  readonly #files = new Map<number, OpenFile>();
  readonly #byNode = new Map<NodeId, { files: number; textBytes: number | undefined }>();
  #next = 1;

  get size(): number {
    return this.#files.size;
  }

  add(file: OpenFile): number {
    while (this.#files.has(this.#next)) this.#next = following(this.#next);
    const descriptor = this.#next;
    this.#next = following(descriptor);
    this.#files.set(descriptor, file);
    const { nodeId } = file.node;
    const known = this.#byNode.get(nodeId);
    this.#byNode.set(nodeId, {
      files: (known?.files ?? 0) + 1,
      textBytes: file.textBytes ?? known?.textBytes,
    });
    return descriptor;
  }

  get(descriptor: number): OpenFile {
    const file = this.#files.get(descriptor);
    if (file === undefined) throw new ArtifactError('BadHandle', `no open file ${descriptor}`);
    return file;
  }

  remove(descriptor: number): OpenFile {
    const file = this.get(descriptor);
    this.#files.delete(descriptor);
    const { nodeId } = file.node;
    const known = this.#byNode.get(nodeId);
    if (known !== undefined && known.files > 1) known.files -= 1;
    else this.#byNode.delete(nodeId);
    return file;
  }

  isOpen(node: NodeId): boolean {
    return this.#byNode.has(node);
  }

  /** Of the text opened last; undefined when the node shows its own size. */
  textBytesOf(node: NodeId): number | undefined {
    return this.#byNode.get(node)?.textBytes;
  }
}

const following = (descriptor: number): number => (descriptor === descriptorMax ? 1 : descriptor + 1);
