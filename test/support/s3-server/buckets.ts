import { randomUUID } from 'node:crypto';
import type { Blob, BlobStorage } from './blob.js';
import { S3Error } from './s3-error.js';

export interface StoredObject {
  readonly blob: Blob;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly crc32?: string;
  /** Whether `crc32` covers the object, or is made of those of its parts. */
  readonly crc32Type?: 'FULL_OBJECT' | 'COMPOSITE';
}

export interface StoredPart {
  readonly blob: Blob;
  readonly etag: string;
  readonly modifiedMs: number;
  readonly crc32?: string;
}

export interface MultipartUpload {
  readonly id: string;
  readonly key: string;
  readonly startedMs: number;
  readonly metadata: Readonly<Record<string, string>>;
  readonly contentType: string;
  readonly crc32: boolean;
  readonly parts: Map<number, StoredPart>;
}

/** Objects in byte order of their keys, and unfinished uploads. */
export class Bucket {
  readonly name: string;
  readonly createdMs = Date.now();
  /** Contents of the document as it was put; it is never acted upon. */
  lifecycle: string | null = null;
  readonly uploads = new Map<string, MultipartUpload>();
  readonly #objects = new Map<string, StoredObject>();
  readonly #keys: string[] = [];
  readonly #storage: BlobStorage;

  constructor(name: string, storage: BlobStorage) {
    this.name = name;
    this.#storage = storage;
  }

  get size(): number {
    return this.#keys.length;
  }

  get(key: string): StoredObject | undefined {
    return this.#objects.get(key);
  }

  put(key: string, object: StoredObject): void {
    const old = this.#objects.get(key);
    if (old === undefined) this.#keys.splice(this.#indexOf(key), 0, key);
    this.#objects.set(key, object);
    this.#storage.release(old?.blob);
  }

  delete(key: string): void {
    const old = this.#objects.get(key);
    if (old === undefined) return;
    this.#objects.delete(key);
    this.#keys.splice(this.#indexOf(key), 1);
    this.#storage.release(old.blob);
  }

  /** Keys from `first` on, in order. */
  *keysFrom(first: string): Iterable<string> {
    for (let i = this.#indexOf(first); i < this.#keys.length; i++) {
      const key = this.#keys[i];
      if (key !== undefined) yield key;
    }
  }

  startUpload(upload: Omit<MultipartUpload, 'id' | 'startedMs' | 'parts'>): string {
    const id = randomUUID();
    this.uploads.set(id, { ...upload, id, startedMs: Date.now(), parts: new Map() });
    return id;
  }

  upload(key: string, id: string): MultipartUpload {
    const upload = this.uploads.get(id);
    if (upload === undefined || upload.key !== key)
      throw new S3Error(404, 'NoSuchUpload', 'The upload does not exist');
    return upload;
  }

  putPart(upload: MultipartUpload, number: number, part: StoredPart): void {
    this.#storage.release(upload.parts.get(number)?.blob);
    upload.parts.set(number, part);
  }

  /** Forgets an upload and the parts that did not go into an object. */
  endUpload(upload: MultipartUpload, used: ReadonlySet<number> = new Set()): void {
    this.uploads.delete(upload.id);
    for (const [number, { blob }] of upload.parts) if (!used.has(number)) this.#storage.release(blob);
  }

  /** Where `key` is or would be. */
  #indexOf(key: string): number {
    let low = 0;
    let high = this.#keys.length;
    while (low < high) {
      const middle = (low + high) >>> 1;
      if (compareKeys(this.#keys[middle] ?? '', key) < 0) low = middle + 1;
      else high = middle;
    }
    return low;
  }
}

/** The order of UTF-8 bytes. UTF-16 order differs only where surrogates are, which belong after everything else. */
export function compareKeys(a: string, b: string): number {
  const length = Math.min(a.length, b.length);
  for (let i = 0; i < length; i++) {
    const x = a.charCodeAt(i);
    const y = b.charCodeAt(i);
    if (x !== y) return rank(x) - rank(y);
  }
  return a.length - b.length;
}

const rank = (unit: number): number => (unit >= 0xd800 && unit <= 0xdfff ? unit + 0x10000 : unit);
