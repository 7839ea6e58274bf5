import { randomUUID } from 'node:crypto';
import { constants } from 'node:fs';
import {
  type FileHandle,
  mkdir,
  open,
  readdir,
  readFile,
  rm,
  stat,
  unlink,
  writeFile,
} from 'node:fs/promises';
import { join } from 'node:path';
import { crc32 } from 'node:zlib';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { partsSize, uploadNotFound } from '../keys.js';
import type { PartInfo, UnfinishedUpload } from '../object-store.js';
import { type DurableDir, dirMode, fileMode, writeChunks } from './durable.js';
import { isMissing } from './file-errors.js';

const copyChunkBytes = 4 << 20;
const uploadIdPattern = /^[0-9a-f-]{36}$/;

/** A finished part: `apart` in a file of its own, else in `data` at (part - 1) * grain. */
interface StoredPart extends PartInfo {
  readonly crc32: string;
  readonly apart: boolean;
}

interface Upload {
  readonly id: string;
  readonly key: string;
  readonly dir: string;
  /** Size of all parts but the last, guessed from the first that comes; 0 while unknown. */
  grain: number;
  grainSaved: Promise<void>;
  readonly parts: Map<number, StoredPart>;
}

/**
 * Unfinished multipart uploads, each a directory `.uploads/<id>/`:
 *
 *     key          the key it will have
 *     grain-N      (empty) parts have N bytes
 *     data         the parts at their final offsets: completing is a rename
 *     part-n       a part that does not fit the grain: completing copies
 *     done-n-size-crc-apart   (empty) part n is on the disk
 *
 * A `done` name is made after its bytes are durable and removed before they change, so after a crash what is listed
 * is there. One process works on one upload at a time.
 */
export class FileUploads {
  readonly #durable: DurableDir;
  readonly #dir: string;
  readonly #open = new Map<string, Upload>();

  constructor(durable: DurableDir) {
    this.#durable = durable;
    this.#dir = join(durable.root, '.uploads');
  }

  async create(key: string): Promise<string> {
    const id = randomUUID();
    const dir = join(this.#dir, id);
    await this.#durable.makeDir(this.#dir);
    await mkdir(dir, { mode: dirMode });
    for (const [name, content] of [
      ['data', ''],
      ['key', key],
    ] as const)
      await writeFile(join(dir, name), content, { mode: fileMode, flush: true });
    await this.#durable.syncDir(dir);
    await this.#durable.syncDir(this.#dir);
    this.#open.set(id, { id, key, dir, grain: 0, grainSaved: Promise.resolve(), parts: new Map() });
    return id;
  }

  /** `chunks` are written one after another and must have `size` bytes in all. */
  async writePart(
    key: string,
    id: string,
    part: number,
    size: number,
    chunks: Iterable<Buffer> | AsyncIterable<Buffer>,
  ): Promise<PartInfo> {
    const upload = await this.#find(key, id);
    const apart = !(await this.#fitsGrain(upload, part, size));
    await this.#forgetPart(upload, part);
    const name = apart ? `part-${part}` : 'data';
    const flags = constants.O_WRONLY | (apart ? constants.O_CREAT | constants.O_TRUNC : 0);
    const file = await this.#openFile(upload, name, flags);
    let crc = 0;
    try {
      let position = apart ? 0 : (part - 1) * upload.grain;
      for await (const chunk of chunks) {
        crc = crc32(chunk, crc);
        await writeChunks(file, [chunk], position);
        position += chunk.length;
      }
      await file.datasync();
    } finally {
      await file.close();
    }
    if (apart) await this.#durable.syncDir(upload.dir);
    return this.#finishPart(upload, part, size, crc, apart);
  }

  async list(key: string, id: string): Promise<PartInfo[]> {
    const upload = await this.#find(key, id, true);
    return [...upload.parts.values()]
      .sort((a, b) => a.part - b.part)
      .map(({ part, etag, size, crc32 }) => ({ part, etag, size, crc32 }));
  }

  /** Of all processes. */
  async unfinished(prefix: string): Promise<UnfinishedUpload[]> {
    const found: UnfinishedUpload[] = [];
    for (const uploadId of await namesIn(this.#dir)) {
      const key = await savedKey(join(this.#dir, uploadId));
      if (key?.startsWith(prefix)) found.push({ key, uploadId });
    }
    return found;
  }

  /** Makes `parts` the file at `path`. */
  async complete(key: string, id: string, parts: readonly PartInfo[], path: string): Promise<void> {
    const upload = await this.#find(key, id, true);
    const stored = parts.map(({ part, etag }) => {
      const found = upload.parts.get(part);
      if (found?.etag !== etag)
        throw new ArtifactError('Invalid', `object ${key}: part ${part} is not the one that was uploaded`);
      return found;
    });
    if (isInPlace(stored, upload.grain)) await this.#finishInPlace(upload, stored, path);
    else await this.#assemble(upload, stored, path);
    await this.abort(id);
  }

  async abort(id: string): Promise<void> {
    this.#open.delete(id);
    if (uploadIdPattern.test(id)) await rm(join(this.#dir, id), { recursive: true, force: true });
  }

  /** Removes uploads that nothing was added to since `beforeMs`. */
  async sweep(beforeMs: number): Promise<void> {
    for (const id of await namesIn(this.#dir)) {
      const { mtimeMs } = await stat(join(this.#dir, id));
      if (mtimeMs < beforeMs) await this.abort(id);
    }
  }

  async #find(key: string, id: string, fromDisk = false): Promise<Upload> {
    const open = this.#open.get(id);
    if (open !== undefined && open.key === key && !fromDisk) return open;
    if (!uploadIdPattern.test(id)) throw uploadNotFound(key, id);
    const upload = await load(id, join(this.#dir, id), key);
    if (open === undefined) this.#open.set(id, upload);
    return upload;
  }

  async #fitsGrain(upload: Upload, part: number, size: number): Promise<boolean> {
    if (upload.grain === 0 && (part === 1 || size >= limits.storePartBytesMin)) {
      upload.grain = size;
      upload.grainSaved = this.#saveName(upload, `grain-${size}`).then(() =>
        this.#durable.syncDir(upload.dir),
      );
    }
    await upload.grainSaved;
    return size <= upload.grain;
  }

  async #forgetPart(upload: Upload, part: number): Promise<void> {
    const old = upload.parts.get(part);
    if (old === undefined) return;
    upload.parts.delete(part);
    await unlink(join(upload.dir, doneName(old)));
    await this.#durable.syncDir(upload.dir);
  }

  async #finishPart(
    upload: Upload,
    part: number,
    size: number,
    crc: number,
    apart: boolean,
  ): Promise<PartInfo> {
    const done = storedPart(part, size, crc, apart);
    await this.#saveName(upload, doneName(done));
    upload.parts.set(part, done);
    return { part, etag: done.etag, size, crc32: done.crc32 };
  }

  async #finishInPlace(upload: Upload, parts: readonly StoredPart[], path: string): Promise<void> {
    const data = await this.#openFile(upload, 'data', constants.O_WRONLY);
    try {
      await data.truncate(partsSize(parts));
      await data.sync();
    } finally {
      await data.close();
    }
    await this.#durable.place(join(upload.dir, 'data'), path);
  }

  async #assemble(upload: Upload, parts: readonly StoredPart[], path: string): Promise<void> {
    await this.#durable.write(
      async (target) => {
        let position = 0;
        for (const { part, size, apart } of parts) {
          const source = await this.#openFile(upload, apart ? `part-${part}` : 'data', constants.O_RDONLY);
          try {
            const offset = apart ? 0 : (part - 1) * upload.grain;
            for await (const chunk of readChunks(source, offset, size)) {
              await writeChunks(target, [chunk], position);
              position += chunk.length;
            }
          } finally {
            await source.close();
          }
        }
      },
      (tmp) => this.#durable.place(tmp, path),
    );
  }

  async #openFile(upload: Upload, name: string, flags: number): Promise<FileHandle> {
    try {
      return await open(join(upload.dir, name), flags, fileMode);
    } catch (error) {
      if (isMissing(error)) throw this.#gone(upload, error);
      throw error;
    }
  }

  async #saveName(upload: Upload, name: string): Promise<void> {
    try {
      await writeFile(join(upload.dir, name), '', { mode: fileMode });
    } catch (error) {
      if (isMissing(error)) throw this.#gone(upload, error);
      throw error;
    }
  }

  #gone(upload: Upload, cause: unknown): ArtifactError {
    this.#open.delete(upload.id);
    return uploadNotFound(upload.key, upload.id, cause);
  }
}

/** The upload as its directory tells it. */
async function load(id: string, dir: string, key: string): Promise<Upload> {
  let names: string[];
  try {
    const savedKey = await readFile(join(dir, 'key'), 'utf8');
    if (savedKey !== key) throw uploadNotFound(key, id);
    names = await readdir(dir);
  } catch (error) {
    if (isMissing(error)) throw uploadNotFound(key, id, error);
    throw error;
  }
  const upload: Upload = { id, key, dir, grain: 0, grainSaved: Promise.resolve(), parts: new Map() };
  for (const name of names) {
    const [kind, ...numbers] = name.split('-');
    const [first = 0, size = 0, crc = 0, apart = 0] = numbers.map(Number);
    if (kind === 'grain') upload.grain = first;
    if (kind === 'done') upload.parts.set(first, storedPart(first, size, crc, apart === 1));
  }
  return upload;
}

const doneName = ({ part, size, crc32, apart }: StoredPart): string =>
  `done-${part}-${size}-${Buffer.from(crc32, 'base64').readUInt32BE()}-${apart ? 1 : 0}`;

function storedPart(part: number, size: number, crc: number, apart: boolean): StoredPart {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32BE(crc);
  return { part, size, apart, crc32: bytes.toString('base64'), etag: `${bytes.toString('hex')}-${size}` };
}

function isInPlace(parts: readonly StoredPart[], grain: number): boolean {
  let position = 0;
  for (const { part, size, apart } of parts) {
    if (apart || (part - 1) * grain !== position) return false;
    position += size;
  }
  return true;
}

/** Exactly `length` bytes from `offset`, or `Corrupt`. */
export async function* readChunks(file: FileHandle, offset: number, length: number): AsyncIterable<Buffer> {
  for (let done = 0; done < length; ) {
    const chunk = Buffer.allocUnsafeSlow(Math.min(copyChunkBytes, length - done));
    const { bytesRead } = await file.read(chunk, 0, chunk.length, offset + done);
    if (bytesRead === 0)
      throw new ArtifactError('Corrupt', `a file of the store ends ${length - done} bytes too early`);
    done += bytesRead;
    yield chunk.subarray(0, bytesRead);
  }
}

/** null: it is gone, or only beginning. */
async function savedKey(dir: string): Promise<string | null> {
  try {
    return await readFile(join(dir, 'key'), 'utf8');
  } catch (error) {
    if (isMissing(error)) return null;
    throw error;
  }
}

async function namesIn(dir: string): Promise<string[]> {
  try {
    return await readdir(dir);
  } catch (error) {
    if (isMissing(error)) return [];
    throw error;
  }
}
