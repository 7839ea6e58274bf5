import type { JournaledPart, JournaledUpload, UploadJournal } from '../content/ports.js';
import { ArtifactError } from '../model/errors.js';

/**
 * The upload journal for content, which is made before stage.db is open and stops after it is closed: artifacts own
 * stage.db but need content to open. What finishes after the end is not journaled; the next start asks the store.
 */
export class LateJournal implements UploadJournal {
  #journal: UploadJournal | undefined;
  #closed = false;

  open(journal: UploadJournal): void {
    this.#journal = journal;
  }

  close(): void {
    this.#closed = true;
  }

  nextObjectNumber(stageId: string): number {
    return this.#opened().nextObjectNumber(stageId);
  }

  saveUpload(upload: JournaledUpload): void {
    this.#opened().saveUpload(upload);
  }

  savePart(file: number, part: JournaledPart): void {
    if (!this.#closed) this.#opened().savePart(file, part);
  }

  dropPart(file: number, part: number): void {
    this.#opened().dropPart(file, part);
  }

  complete(file: number, size: number, sha256: string | null): void {
    if (!this.#closed) this.#opened().complete(file, size, sha256);
  }

  remove(file: number): void {
    if (!this.#closed) this.#opened().remove(file);
  }

  all(): ReturnType<UploadJournal['all']> {
    return this.#opened().all();
  }

  noteBegun(prefix: string): void {
    this.#opened().noteBegun(prefix);
  }

  forgetBegun(prefix: string): void {
    if (!this.#closed) this.#opened().forgetBegun(prefix);
  }

  begun(): readonly string[] {
    return this.#opened().begun();
  }

  #opened(): UploadJournal {
    if (this.#closed) throw new ArtifactError('Interrupted', 'the daemon is closing');
    if (this.#journal === undefined)
      throw new ArtifactError('Internal', 'the upload journal is used before it is open');
    return this.#journal;
  }
}
