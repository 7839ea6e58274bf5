import type { UploadRequest } from '../../content/ports.js';
import { compareEntries, type Ino } from '../../model/entry.js';
import { limits } from '../../model/limits.js';
import { LoopTurn } from '../../util/loop-turn.js';
import type { Node } from './node.js';
import type { TreeCore } from './tree-core.js';

interface Waiting {
  readonly closedMs: number;
  readonly bytes: number;
}

interface Offer {
  readonly dir: string;
  readonly name: string;
  readonly request: UploadRequest;
}

/**
 * Small new files that programs are done with, offered to the uploader while others are still made, so that a commit finds most
 * packs in the store. A hint only: what is not offered goes with the commit. Content of which a commit may find out that the base
 * has it is left to it.
 */
export class SettledFiles {
  readonly #core: TreeCore;
  /** In the order in which they were closed. */
  readonly #waiting = new Map<Ino, Waiting>();
  #waitingBytes = 0;
  #timer: NodeJS.Timeout | null = null;

  constructor(core: TreeCore) {
    this.#core = core;
  }

  /** Nobody has it open for writing any more. */
  closed(node: Node): void {
    if (node.kind !== 'file' || !node.staged || node.contentGen === 0) return;
    if (node.size === 0 || node.size >= limits.packFileBytesMax) return;
    if (this.#waiting.size >= limits.packedAheadFilesMax) return;
    this.#drop(node.ino);
    this.#waiting.set(node.ino, { closedMs: performance.now(), bytes: node.size });
    this.#waitingBytes += node.size;
    this.#lookLater();
  }

  /** Its bytes are others now, or it is gone. */
  changed(node: Node): void {
    this.#drop(node.ino);
    this.#core.uploader.changedAhead(this.#core.stage.artifactId, node.ino);
  }

  /** What was sent was of another stage. */
  forget(): void {
    this.#core.uploader.forgetAhead(this.#core.stage.artifactId);
  }

  #drop(ino: Ino): void {
    const waiting = this.#waiting.get(ino);
    if (waiting === undefined) return;
    this.#waiting.delete(ino);
    this.#waitingBytes -= waiting.bytes;
  }

  /** The stage that they were in is over: nobody looks again because of them. */
  #dropAll(): void {
    this.#waiting.clear();
    this.#waitingBytes = 0;
  }

  get #isEnough(): boolean {
    return this.#waitingBytes >= limits.packAheadBytesMin || this.#waiting.size >= limits.packEntriesMax;
  }

  #lookLater(): void {
    if (this.#timer !== null || !this.#isEnough) return;
    this.#timer = setTimeout(() => {
      // Of a tree that is closing, too.
      this.offer()
        .catch(() => {})
        .finally(() => {
          this.#timer = null;
          this.#lookLater();
        });
    }, limits.packAheadMs);
    this.#timer.unref();
  }

  /** Sends a pack of what was closed `settledMs` ago or before, if it is enough. Not while a commit sends: it takes what it needs. */
  async offer(
    settledMs: number = limits.packAheadMs,
    bytesMin: number = limits.packAheadBytesMin,
  ): Promise<void> {
    const { stage, uploader } = this.#core;
    const { artifactId, stageId } = stage;
    if (!stage.exists) this.#dropAll();
    if (stage.sealed !== null || !uploader.takesAhead) return;
    const requests = await this.#requests(this.#take(settledMs, bytesMin));
    if (requests.length > 0 && stage.sealed === null && stage.stageId === stageId)
      await uploader.sendAhead(artifactId, stageId, requests);
  }

  /** As many as a pack has, if there are enough that were closed long enough ago. */
  #take(settledMs: number, bytesMin: number): Ino[] {
    const closedBefore = performance.now() - settledMs;
    const taken: Ino[] = [];
    let bytes = 0;
    for (const [ino, waiting] of this.#waiting) {
      if (waiting.closedMs > closedBefore || taken.length >= limits.packEntriesMax) break;
      if (bytes + waiting.bytes > limits.packBytesTarget) break;
      bytes += waiting.bytes;
      taken.push(ino);
    }
    if (bytes < bytesMin && taken.length < limits.packEntriesMax) return [];
    for (const ino of taken) this.#drop(ino);
    return taken;
  }

  async #requests(inos: readonly Ino[]): Promise<UploadRequest[]> {
    const { table } = this.#core;
    const turn = new LoopTurn();
    const offers: Offer[] = [];
    await turn.each(inos, (ino) => {
      const node = table.get(ino);
      const offer = node === undefined ? null : this.#offerOf(node);
      if (offer !== null) offers.push(offer);
    });
    return (await turn.sorted(offers, compareEntries)).map(({ request }) => request);
  }

  #offerOf(node: Node): Offer | null {
    const { parent, name, size, ino } = node;
    if (!node.staged || !node.hasName || node.contentGen === 0 || node.openForWriting > 0 || parent === null)
      return null;
    if (this.#core.mayBeInBase(parent, name)) return null;
    const path = this.#core.pathOf(node);
    const dir = path.slice(0, Math.max(0, path.length - name.length - 1));
    return { dir, name, request: { ino, path, size, extents: node.map.pieces(0, size) } };
  }
}
