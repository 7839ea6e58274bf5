import type { JournaledPart, JournaledUpload, UploadJournal } from '../../content/ports.js';
import { type Database, type Statement, transaction } from '../../util/sqlite.js';
import { prepareAdvance } from './counters.js';

interface UploadRow {
  file: number;
  artifact_id: string;
  stage_id: string;
  path: string;
  object: string;
  upload_id: string;
  part_bytes: number;
  completed_size: number | null;
  sha256: string | null;
}

/** Unfinished uploads in stage.db. */
export class StageUploadJournal implements UploadJournal {
  readonly #db: Database;
  readonly #advance: Statement<[string, number], { value: number }>;
  readonly #saveUpload: Statement<[number, string, string, string, string, string, number]>;
  readonly #savePart: Statement<[number, number, number, string, string | null]>;
  readonly #dropPart: Statement<[number, number]>;
  readonly #dropParts: Statement<[number]>;
  readonly #complete: Statement<[number, string | null, number]>;
  readonly #remove: Statement<[number]>;
  readonly #uploads: Statement<[], UploadRow>;
  readonly #parts: Statement<[number], JournaledPart>;

  readonly #noteBegun: Statement<[string]>;
  readonly #forgetBegun: Statement<[string]>;
  readonly #begun: Statement<[], { prefix: string }>;

  constructor(db: Database) {
    this.#db = db;
    this.#advance = prepareAdvance(db);
    this.#saveUpload = db.prepare(
      `INSERT OR REPLACE INTO upload (file, artifact_id, stage_id, path, object, upload_id, part_bytes)
       VALUES (?, ?, ?, ?, ?, ?, ?)`,
    );
    this.#savePart = db.prepare(
      'INSERT OR REPLACE INTO upload_part (file, part, size, etag, crc32) VALUES (?, ?, ?, ?, ?)',
    );
    this.#dropPart = db.prepare('DELETE FROM upload_part WHERE file = ? AND part = ?');
    this.#dropParts = db.prepare('DELETE FROM upload_part WHERE file = ?');
    this.#complete = db.prepare('UPDATE upload SET completed_size = ?, sha256 = ? WHERE file = ?');
    this.#remove = db.prepare('DELETE FROM upload WHERE file = ?');
    this.#uploads = db.prepare('SELECT * FROM upload ORDER BY file');
    this.#noteBegun = db.prepare('INSERT OR IGNORE INTO begun_upload (prefix) VALUES (?)');
    this.#forgetBegun = db.prepare('DELETE FROM begun_upload WHERE prefix = ?');
    this.#begun = db.prepare('SELECT prefix FROM begun_upload');
    this.#parts = db.prepare('SELECT part, size, etag, crc32 FROM upload_part WHERE file = ? ORDER BY part');
  }

  nextObjectNumber(stageId: string): number {
    return transaction(this.#db, () => this.#advance.get(`object:${stageId}`, 1)?.value ?? 0);
  }

  /** A new upload of the file takes the place of the old one and its parts. */
  saveUpload(upload: JournaledUpload): void {
    transaction(this.#db, () => {
      this.#dropParts.run(upload.file);
      const { file, artifactId, stageId, path, object, uploadId, partBytes } = upload;
      this.#saveUpload.run(file, artifactId, stageId, path, object, uploadId, partBytes);
    });
  }

  savePart(file: number, part: JournaledPart): void {
    transaction(this.#db, () => {
      this.#savePart.run(file, part.part, part.size, part.etag, part.crc32);
    });
  }

  dropPart(file: number, part: number): void {
    transaction(this.#db, () => {
      this.#dropPart.run(file, part);
    });
  }

  complete(file: number, size: number, sha256: string | null): void {
    transaction(this.#db, () => {
      this.#complete.run(size, sha256, file);
    });
  }

  remove(file: number): void {
    transaction(this.#db, () => {
      this.#remove.run(file);
      this.#dropParts.run(file);
    });
  }

  noteBegun(prefix: string): void {
    transaction(this.#db, () => {
      this.#noteBegun.run(prefix);
    });
  }

  forgetBegun(prefix: string): void {
    transaction(this.#db, () => {
      this.#forgetBegun.run(prefix);
    });
  }

  begun(): readonly string[] {
    return this.#begun.all().map(({ prefix }) => prefix);
  }

  all(): readonly (JournaledUpload & {
    parts: readonly JournaledPart[];
    completedSize: number | null;
    sha256: string | null;
  })[] {
    return this.#uploads.all().map((row) => ({
      file: row.file,
      artifactId: row.artifact_id,
      stageId: row.stage_id,
      path: row.path,
      object: row.object,
      uploadId: row.upload_id,
      partBytes: row.part_bytes,
      completedSize: row.completed_size,
      sha256: row.sha256,
      parts: this.#parts.all(row.file),
    }));
  }
}
