import { splitPath } from '../../model/entry.js';
import type { ObjectStore } from '../../store/object-store.js';
import type { ContentReader, UploadJournal, UploadResult } from '../ports.js';
import type { StoreDistance } from '../store-distance.js';
import type { TransferQueue } from '../transfer-queue.js';
import { ObjectUpload } from './object-upload.js';
import type { PartBuffers } from './part-body.js';
import { partBase } from './part-plan.js';
import { type SentSource, sentSource } from './sent-source.js';
import type { ContentKeys, StreamUploads } from './stream-uploads.js';
import type { UploadPlan } from './upload-plan.js';

export interface UploadOwner {
  readonly artifactId: string;
  readonly stageId: string;
}

export interface UploadAttemptsParts {
  readonly store: ObjectStore;
  readonly keys: ContentKeys;
  readonly journal: UploadJournal;
  readonly reader: ContentReader;
  readonly queue: TransferQueue;
  readonly buffers: PartBuffers;
  readonly distance: StoreDistance;
  readonly streams: StreamUploads;
}

/**
 * What earlier calls of `upload` achieved, so that a commit that failed (in the store, or by a conflict) sends nothing
 * twice when it is tried again. In memory only; whole large files are remembered by the journal.
 */
export class UploadAttempts {
  readonly #parts: UploadAttemptsParts;
  /** By staging file; only files that are made of one. */
  readonly #results = new Map<number, { layout: string; result: UploadResult }>();
  /** Uploads of pieces that are not finished, by plan. */
  readonly #pieces = new Map<string, PiecesUpload>();

  constructor(parts: UploadAttemptsParts) {
    this.#parts = parts;
  }

  recall(owner: UploadOwner, plan: UploadPlan): UploadResult | undefined {
    const file = onlyFile(plan);
    const known = file === null ? undefined : this.#results.get(file);
    if (known?.layout !== layoutOf(owner, plan)) return undefined;
    return { ...known.result, ino: plan.request.ino };
  }

  remember(owner: UploadOwner, plan: UploadPlan, result: UploadResult): void {
    const file = onlyFile(plan);
    if (file !== null) this.#results.set(file, { layout: layoutOf(owner, plan), result });
  }

  /** The staging file has other bytes now, or is gone. */
  changed(file: number): void {
    this.#results.delete(file);
    for (const [layout, pieces] of this.#pieces) {
      if (pieces.upload.target.file === file) this.#drop(layout, pieces);
    }
  }

  /** The upload of what a file holds in pieces; the unfinished one of an earlier call, if the pieces are the same. */
  pieces(owner: UploadOwner, plan: UploadPlan): ObjectUpload {
    const layout = layoutOf(owner, plan);
    const before = this.#pieces.get(layout);
    if (before !== undefined) return before.upload;
    const { keys, journal, reader, streams } = this.#parts;
    const n = journal.nextObjectNumber(owner.stageId);
    const object = keys.dataObject(owner.stageId, n, splitPath(plan.request.path).name);
    const file = plan.local()[0]?.file ?? -1;
    // The journal has one row for a file; without one, a crash leaves the parts to the store's own cleaning.
    const taken = file < 0 || streams.has(file) || this.#hasPieces(file);
    const source = sentSource(reader, owner.artifactId, plan);
    const upload = new ObjectUpload(
      { ...this.#parts, journal: taken ? null : journal },
      {
        target: { ...owner, file, path: plan.request.path },
        object,
        key: keys.objectKey(owner.artifactId, object),
        partBytes: partBase(plan.bytes),
        source,
      },
    );
    this.#pieces.set(layout, { upload, source });
    return upload;
  }

  /** Finished, or of no use any more. */
  forgetPieces(owner: UploadOwner, plan: UploadPlan): void {
    const layout = layoutOf(owner, plan);
    const pieces = this.#pieces.get(layout);
    if (pieces !== undefined) this.#drop(layout, pieces);
  }

  #hasPieces(file: number): boolean {
    return [...this.#pieces.values()].some(({ upload }) => upload.target.file === file);
  }

  #drop(layout: string, { upload, source }: PiecesUpload): void {
    this.#pieces.delete(layout);
    // If the store is away its row stays in the journal, and the next start tries again.
    upload
      .abandon()
      .finally(() => source.close())
      .then(
        () => upload.forgetRow(),
        () => {},
      );
  }
}

interface PiecesUpload {
  readonly upload: ObjectUpload;
  readonly source: SentSource;
}

const layoutOf = ({ artifactId, stageId }: UploadOwner, plan: UploadPlan) =>
  `${artifactId}/${stageId} ${plan.layout()}`;

/** The one staging file a plan reads; null when there are none or several. */
function onlyFile(plan: UploadPlan): number | null {
  const local = plan.local();
  const first = local[0]?.file ?? null;
  return local.every(({ file }) => file === first) ? first : null;
}
