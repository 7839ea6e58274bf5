import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { ContentReader } from '../ports.js';
import type { ByteSource } from './part-body.js';
import type { UploadPlan } from './upload-plan.js';

/** To be closed, when nothing is read of it any more. */
export interface SentSource extends ByteSource {
  close(): void;
}

/** What a plan sends, one byte after another, whether it is staged or in the store already. Gaps are zeros. */
export function sentSource(reader: ContentReader, artifactId: string, plan: UploadPlan): SentSource {
  const sent = plan.sent();
  const bytes = reader.open(artifactId, {
    size: () => plan.bytes,
    pieces: (offset, length) => sent.pieces(offset, length),
  });
  return {
    async readInto(offset, target) {
      for (let done = 0; done < target.length; ) {
        const read = await bytes.read(offset + done, target.length - done);
        if (read.length === 0) throw new ArtifactError('Corrupt', `${plan.request.path} ends early`);
        done += read.copy(target, done);
      }
    },
    close: () => bytes.close(),
  };
}

/** The bytes of files of which some are in the store, several on their way at a time. */
export class FetchedAhead {
  readonly #reader: ContentReader;
  readonly #artifactId: string;
  readonly #wanted: Iterator<UploadPlan>;
  readonly #coming = new Map<UploadPlan, Promise<Buffer>>();

  /** `plans`: in the order in which they will be taken; some may be left out. */
  constructor(reader: ContentReader, artifactId: string, plans: readonly UploadPlan[]) {
    this.#reader = reader;
    this.#artifactId = artifactId;
    this.#wanted = plans.filter(({ sendsStored }) => sendsStored)[Symbol.iterator]();
  }

  async take(plan: UploadPlan): Promise<Buffer> {
    this.#fill();
    const bytes = this.#coming.get(plan) ?? this.#fetch(plan);
    // Those before it were left out.
    for (const earlier of this.#coming.keys()) {
      this.#coming.delete(earlier);
      if (earlier === plan) break;
    }
    return bytes;
  }

  #fill(): void {
    while (this.#coming.size < limits.packReadsAhead) {
      const next = this.#wanted.next();
      if (next.done) return;
      const bytes = this.#fetch(next.value);
      // Who takes it is told of its failure.
      bytes.catch(() => {});
      this.#coming.set(next.value, bytes);
    }
  }

  async #fetch(plan: UploadPlan): Promise<Buffer> {
    const bytes = Buffer.allocUnsafe(plan.bytes);
    const source = sentSource(this.#reader, this.#artifactId, plan);
    try {
      await source.readInto(0, bytes);
    } finally {
      source.close();
    }
    return bytes;
  }
}
