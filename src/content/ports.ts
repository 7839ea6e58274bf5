import type { Entry, Extent } from '../model/entry.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { MapExtent } from './extent-map.js';
import type { Borrower } from './lent-memory.js';

/** Reads bytes of published objects through memory cache, disk cache and store. One per daemon. */
export interface ContentReader {
  /**
   * A reader for one open file: it keeps the read-ahead state of its streams. `pieces` is asked at each read, so a
   * staged file may change under it. Returns fewer bytes only at the end of the file. The buffer may be shared
   * with the cache: the caller must not write to it. Where `place` is given, files that follow it may be fetched ahead.
   */
  open(artifactId: string, content: FileContent, place?: WalkPlace): FileReader;
  /** `object` as an extent names it, as a local file if it has exactly `size` bytes. */
  local(artifactId: string, object: string, size: number): LocalObject;
}

/** Files in an order in which programs read many of them: that of a version's tree. */
export interface FileOrder {
  /** What comes after `path`, directories included, as far as it is known without waiting. */
  following(path: string, limit: number): readonly Entry[];
}

/** One file among others. */
export interface WalkPlace {
  readonly order: FileOrder;
  readonly path: string;
}

/** An object as a local file, for who reads it without asking us. */
export interface LocalObject {
  /**
   * A descriptor for reading, which the caller closes: the file has exactly the object's bytes, all of them were verified since
   * the daemon started, and it never changes. It may be unlinked while it is open. undefined: there is none now.
   */
  open(): number | undefined;
  /**
   * Right after `open`: somebody reads the file also when the descriptor is closed, until what is answered is called. Its room
   * counts as taken until then, though the cache may have removed it.
   */
  hold(): () => void;
  /**
   * Reads and verifies the file in the background, if all of the object is in the disk cache, so that `open` may find it later. What
   * is not as it was stored is dropped, and fetched again by who reads it. Failures are nobody's.
   */
  verify(): void;
}

export interface FileContent {
  size(): number;
  /** The extents that cover [offset, offset + length), in order; gaps are holes. */
  pieces(offset: number, length: number): readonly MapExtent[];
}

export interface FileReader {
  /** Where a borrower says when he is done with the bytes, their memory is used again after that. */
  read(offset: number, length: number, signal?: AbortSignal, borrower?: Borrower): MaybePromise<Buffer>;
  /**
   * The same bytes for who reads local files himself; undefined when they are not in one of these: `read` has them then. Who
   * cannot read them, or finds that they are not what was stored, calls `read`, which says or mends what is wrong.
   */
  local(offset: number, length: number): LocalRange | undefined;
  close(): void;
}

/** Bytes that lie one after the other in a local file. */
export interface LocalRange {
  /** Good until `release`. */
  readonly descriptor: number;
  readonly offset: number;
  readonly length: number;
  /** CRC32 of each `limits.checkBytes` of the file from its start; null: nobody has checksums of these bytes. */
  readonly crcs: Uint32Array | null;
  /** Where the last piece that has a checksum ends, if not at a multiple of `limits.checkBytes`. */
  readonly checkedEnd: number;
  /** To be called once, when the file is no longer used. */
  release(wasRead: boolean): void;
}

/** The sparse local files that hold staged bytes, by number, each at the same offsets as the file it belongs to. */
export interface Staging {
  /** `file` is a number that was never used before (the stage database hands them out). */
  write(file: number, offset: number, data: Uint8Array): MaybePromise<void>;
  read(file: number, offset: number, length: number): MaybePromise<Buffer>;
  /** Throws `NoSpace` when the disk has no room for more rows in stage.db but those that free some. */
  admitRows(): void;
  /** True when `reclaimRows` may find room. */
  readonly reclaimable: boolean;
  /** Answers `retry` when cached blocks and removed files have given up room for rows. */
  reclaimRows<T>(retry: () => MaybePromise<T>): Promise<T>;
  /** On stable storage when it resolves. `NotFound` when it was removed. */
  sync(file: number): Promise<void>;
  remove(file: number): void;
  /** Numbers of the files that exist: at start, those no inode names are removed. */
  files(): Promise<number[]>;
  /** Bytes really used on disk. */
  usedBytes(): number;
}

/** What a commit wants in the store for one file. Its local extents must not change until the upload is done. */
export interface UploadRequest {
  readonly ino: number;
  /** Path inside the artifact: names the object, and orders files inside packs. */
  readonly path: string;
  readonly size: number;
  readonly extents: readonly MapExtent[];
  /** The base version's entry at the same place: when the content turns out equal, its extents are used. */
  readonly base?: { readonly size: number; readonly sha256?: string; readonly extents: readonly Extent[] };
}

export interface UploadResult {
  readonly ino: number;
  /** All in the store now. */
  readonly extents: readonly Extent[];
  readonly sha256?: string;
}

export interface UploadProgress {
  readonly filesDone: number;
  readonly filesTotal: number;
  readonly bytesDone: number;
  readonly bytesTotal: number;
}

export interface UploadOptions {
  readonly signal?: AbortSignal;
  readonly onProgress?: (progress: UploadProgress) => void;
  /**
   * Told the results when the store has taken all bytes, and their sizes are still to be verified: what names them may be made,
   * but must not be published before `upload` resolves.
   */
  readonly onPlaced?: (results: readonly UploadResult[]) => void;
}

/** Sends staged bytes to the store: large files while they are written, small ones in packs, at commit or ahead of it. */
export interface Uploader {
  /** New bytes lie in [offset, offset + length) of a staging file. Cheap; may start or repeat parts in the background. */
  written(target: UploadTarget, offset: number, length: number): void;
  /** The staging file is gone (unlinked, truncated to nothing, discarded): its upload is aborted. */
  forget(file: number): void;
  /** False when `sendAhead` would do nothing now. */
  readonly takesAhead: boolean;
  /**
   * Sends small files, in the order of a tree, as one pack before a commit asks for them: `upload` of the same stage sends
   * no bytes of those that have not changed. Never fails: what was not sent goes with the commit.
   */
  sendAhead(artifactId: string, stageId: string, requests: readonly UploadRequest[]): Promise<void>;
  /** To be told of each write to a small file, once it is in the staging file: it may lie where bytes were sent from. */
  changedAhead(artifactId: string, ino: number): void;
  /** The stage is over. */
  forgetAhead(artifactId: string): void;
  /** Uploads all of `requests` and verifies sizes; resolves when every byte is in the store. */
  upload(
    artifactId: string,
    stageId: string,
    requests: readonly UploadRequest[],
    options?: UploadOptions,
  ): Promise<UploadResult[]>;
  /** Continues what a killed daemon had begun, by ListParts. */
  resume(): Promise<void>;
  status(): UploaderStatus;
}

export interface UploadTarget {
  readonly artifactId: string;
  readonly stageId: string;
  readonly file: number;
  readonly path: string;
}

export interface UploaderStatus {
  /** Bytes staged in large files that are not in the store yet. */
  readonly backlogBytes: number;
  readonly activeParts: number;
  /** The last failure that is not resolved yet, in words. */
  readonly lastError: string | null;
}

/** Durable memory of where uploads were begun that may be left behind (in stage.db). */
export interface BegunJournal {
  /** Before the first one under this prefix of keys, under which nobody but this machine writes. */
  noteBegun(prefix: string): void;
  /** All uploads there have ended. */
  forgetBegun(prefix: string): void;
  begun(): readonly string[];
}

/** Durable memory of unfinished uploads (in stage.db). */
export interface UploadJournal extends BegunJournal {
  /** A number never used before, for object keys `d/<stageId>/<n>-...`. */
  nextObjectNumber(stageId: string): number;
  saveUpload(upload: JournaledUpload): void;
  savePart(file: number, part: JournaledPart): void;
  /** A part was overwritten locally after it was sent. */
  dropPart(file: number, part: number): void;
  /** Finished as one object: `upload` of the same file again costs nothing. */
  complete(file: number, size: number, sha256: string | null): void;
  remove(file: number): void;
  all(): readonly (JournaledUpload & {
    parts: readonly JournaledPart[];
    completedSize: number | null;
    sha256: string | null;
  })[];
}

export interface JournaledUpload extends UploadTarget {
  /** Relative to the artifact's prefix. */
  readonly object: string;
  readonly uploadId: string;
  readonly partBytes: number;
}

export interface JournaledPart {
  readonly part: number;
  readonly size: number;
  readonly etag: string;
  readonly crc32: string | null;
}
