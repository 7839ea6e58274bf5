import { isCode } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { LoopTurn } from '../../util/loop-turn.js';
import type { StagingFiles } from '../local/staging.js';
import type { UploadRequest, UploadResult } from '../ports.js';
import { PackWriter, packedExtents } from './pack-writer.js';
import { type PlacePackParts, placePack } from './place-pack.js';
import type { UploadOwner } from './upload-attempts.js';
import { type LocalPiece, UploadPlan } from './upload-plan.js';

export interface PacksAheadParts extends PlacePackParts {
  readonly staging: StagingFiles;
  /** For a pack being filled and sent. */
  readonly packBytesMax: number;
}

/** A pack that is in the store before a commit asks for it. */
export interface PackAhead {
  readonly object: string;
  readonly bytes: number;
}

export interface FileAhead {
  readonly result: UploadResult;
  readonly pack: PackAhead;
}

/** `ahead` null: on its way. */
interface Sent {
  readonly piece: LocalPiece;
  ahead: FileAhead | null;
}

interface Chosen {
  readonly plan: UploadPlan;
  readonly piece: LocalPiece;
}

/** INVARIANT: `files` are of this stage only. */
interface StageAhead {
  readonly stageId: string;
  readonly files: Map<number, Sent>;
}

/**
 * Packs of small files that were sent before a commit, and what of them it may use: files whose staged bytes have not been
 * written to since. Known in memory only. What nobody uses, because the file changed or the daemon was killed, lies in the
 * store as other objects of the stage that no version has, and goes with those.
 */
export class PacksAhead {
  readonly #parts: PacksAheadParts;
  /** By artifact. */
  readonly #stages = new Map<string, StageAhead>();
  #sending: { readonly artifactId: string; readonly done: Promise<void> } | null = null;
  #pausedUntilMs = Number.NEGATIVE_INFINITY;

  constructor(parts: PacksAheadParts) {
    this.#parts = parts;
  }

  /** False while another pack is on its way, since one is enough to hold in memory, and for a while after the store refused one. */
  get isFree(): boolean {
    return this.#sending === null && performance.now() >= this.#pausedUntilMs;
  }

  /** Does nothing unless it `isFree`. Never fails: what cannot be sent goes with the commit. */
  send(owner: UploadOwner, requests: readonly UploadRequest[], signal: AbortSignal): Promise<void> {
    if (!this.isFree) return Promise.resolve();
    const done = this.#send(owner, requests, signal)
      .catch(() => {})
      .finally(() => {
        this.#sending = null;
      });
    this.#sending = { artifactId: owner.artifactId, done };
    return done;
  }

  /** Resolves when nothing of the artifact is on its way. */
  async idle(artifactId: string): Promise<void> {
    if (this.#sending?.artifactId === artifactId) await this.#sending.done;
  }

  recall(owner: UploadOwner, plan: UploadPlan): FileAhead | undefined {
    // What the base has at its place may be equal: that is told when the bytes are read.
    if (plan.request.base !== undefined) return undefined;
    const sent = this.#of(owner)?.files.get(plan.request.ino);
    if (sent === undefined || sent.ahead === null) return undefined;
    return isSamePiece(sent.piece, onlyPiece(plan)) ? sent.ahead : undefined;
  }

  /** Bytes of the file were written, maybe over those that were sent; or it is gone. */
  changed(artifactId: string, ino: number): void {
    this.#stages.get(artifactId)?.files.delete(ino);
  }

  /** The stage is over, or its store has lost what it took. */
  forget(artifactId: string): void {
    this.#stages.delete(artifactId);
  }

  async #send(owner: UploadOwner, requests: readonly UploadRequest[], signal: AbortSignal): Promise<void> {
    const files = this.#filesOf(owner);
    const chosen = await this.#choose(files, requests);
    if (chosen.length === 0) return;
    const sent = new Map<number, Sent>();
    try {
      const pack = await this.#fill(chosen, files, sent, signal);
      if (!pack.isEmpty) await this.#place(owner, pack, sent, signal);
    } finally {
      for (const [ino, one] of sent) if (one.ahead === null && files.get(ino) === one) files.delete(ino);
    }
  }

  /** What is not in the store yet and has its bytes in one place, as much as one pack takes. */
  async #choose(files: ReadonlyMap<number, Sent>, requests: readonly UploadRequest[]): Promise<Chosen[]> {
    const chosen: Chosen[] = [];
    let bytes = 0;
    let room = limits.packedAheadFilesMax;
    for (const stage of this.#stages.values()) room -= stage.files.size;
    await new LoopTurn().each(requests, (request) => {
      const plan = new UploadPlan(request);
      const piece = onlyPiece(plan);
      if (piece === null || isSamePiece(files.get(request.ino)?.piece, piece)) return;
      if (bytes + plan.bytes > this.#parts.packBytesMax) return;
      if (chosen.length >= room) return;
      bytes += plan.bytes;
      chosen.push({ plan, piece });
    });
    return chosen;
  }

  async #fill(
    chosen: readonly Chosen[],
    files: Map<number, Sent>,
    sent: Map<number, Sent>,
    signal: AbortSignal,
  ): Promise<PackWriter> {
    const bytes = chosen.reduce((sum, { plan }) => sum + plan.bytes, 0);
    const pack = new PackWriter(chosen.length, bytes);
    const turn = new LoopTurn();
    for (const { plan, piece } of chosen) {
      if (turn.isOver) await turn.next();
      signal.throwIfAborted();
      if (!pack.fits(plan.bytes)) break;
      const { ino } = plan.request;
      const one: Sent = { piece, ahead: null };
      sent.set(ino, one);
      // Before the bytes are read: what is written from now on takes it away.
      files.set(ino, one);
      try {
        await pack.add(plan, this.#parts.staging);
      } catch (error) {
        // Removed since.
        if (!isCode(error, 'NotFound')) throw error;
      }
    }
    return pack;
  }

  /** A store that does not take it is left alone for a while. */
  async #place(
    owner: UploadOwner,
    pack: PackWriter,
    sent: ReadonlyMap<number, Sent>,
    signal: AbortSignal,
  ): Promise<void> {
    try {
      const { object, bytes, verify } = await placePack(this.#parts, owner, pack, false, signal);
      await verify();
      const known: PackAhead = { object, bytes };
      await new LoopTurn().each(pack.files, (file) => {
        const { ino } = file.plan.request;
        const one = sent.get(ino);
        if (one === undefined || file.sha256 === null) return;
        one.ahead = {
          result: { ino, extents: packedExtents(file, object), sha256: file.sha256 },
          pack: known,
        };
      });
    } catch (error) {
      this.#pausedUntilMs = performance.now() + limits.uploadRetryDelayMsMax;
      throw error;
    }
  }

  #of({ artifactId, stageId }: UploadOwner): StageAhead | undefined {
    const stage = this.#stages.get(artifactId);
    return stage?.stageId === stageId ? stage : undefined;
  }

  #filesOf(owner: UploadOwner): Map<number, Sent> {
    const known = this.#of(owner);
    if (known !== undefined) return known.files;
    this.forget(owner.artifactId);
    const stage = { stageId: owner.stageId, files: new Map<number, Sent>() };
    this.#stages.set(owner.artifactId, stage);
    return stage.files;
  }
}

/** Where all bytes of the file are, if that is one place. */
function onlyPiece(plan: UploadPlan): LocalPiece | null {
  const [piece, second] = plan.local();
  const isWhole = plan.kind === 'pack' && plan.wholeIsLocal && piece?.length === plan.request.size;
  return isWhole && piece !== undefined && second === undefined ? piece : null;
}

function isSamePiece(a: LocalPiece | undefined, b: LocalPiece | null): boolean {
  return a !== undefined && a.file === b?.file && a.offset === b.offset && a.length === b.length;
}
