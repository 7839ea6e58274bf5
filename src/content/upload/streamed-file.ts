import type { Frontier } from './frontier.js';
import type { HashPool, HashSession } from './hash-pool.js';
import type { ObjectUpload, PartFollower } from './object-upload.js';
import type { PartBody } from './part-body.js';
import { partLength, partStart } from './part-plan.js';

/**
 * A staging file that becomes one object while it is written: parts that lie a whole part behind the frontier are
 * sent, and hashed in order by the way. What is written again after that is sent and hashed again when the upload is asked for.
 */
export class StreamedFile implements PartFollower {
  readonly frontier: Frontier;
  /** Set while `upload` works on the file: nothing is sent in the background then. */
  sealed = false;
  readonly #hashes: HashPool;
  readonly #path: string;
  upload: ObjectUpload;
  #next = 1;
  #session: HashSession | null = null;
  #hashedTo = 0;
  /** Until all bytes before that are hashed. */
  #fed = Promise.resolve();
  #hashFailed = false;
  #digest: { size: number; sha256: string } | null = null;

  constructor(upload: ObjectUpload, frontier: Frontier, hashes: HashPool, path: string) {
    this.upload = upload;
    upload.follower = this;
    this.frontier = frontier;
    this.#hashes = hashes;
    this.#path = path;
  }

  /**
   * The next part to send in the background, or null. Parts behind it that changed wait for `upload`: a part that is
   * written all the time would otherwise be sent all the time.
   */
  nextPart(): { part: number; length: number } | null {
    if (this.sealed || this.upload.completedSize !== null) return null;
    const base = this.upload.partBytes;
    for (; ; this.#next++) {
      const length = partLength(this.#next, base);
      if (partStart(this.#next, base) + 2 * length > this.frontier.end) return null;
      if (!this.upload.isSent(this.#next)) return { part: this.#next, length };
    }
  }

  /** Sending the part failed: it is the next again. */
  again(part: number): void {
    this.#next = Math.min(this.#next, part);
  }

  /** Everything is sent again, as another object. */
  restart(upload: ObjectUpload): void {
    this.upload = upload;
    upload.follower = this;
    this.#next = 1;
  }

  changed(offset: number): void {
    this.#digest = null;
    if (offset >= this.#hashedTo) return;
    this.#session?.drop();
    this.#forgetHash();
  }

  /** Hashes the part if all before it was hashed, or is being. */
  follow(offset: number, length: number, body: Promise<PartBody>): Promise<void> | undefined {
    if (this.#hashFailed || offset !== this.#hashedTo) return undefined;
    this.#hashedTo += length;
    this.#session ??= this.#hashes.session();
    this.#fed = this.#feed(this.#session, this.#fed, body);
    return this.#fed;
  }

  async #feed(session: HashSession, before: Promise<void>, body: Promise<PartBody>): Promise<void> {
    try {
      const [{ chunks }] = await Promise.all([body, before]);
      if (this.#session === session) await session.update(chunks);
    } catch {
      // The digest is asked for again from the beginning, and fails there if it must.
      if (this.#session === session) this.#hashFailed = true;
    }
  }

  /** SHA-256 of the first `size` bytes, which must not change any more. */
  async digest(size: number): Promise<string> {
    if (this.#digest?.size === size) return this.#digest.sha256;
    // A part that is read later would count as hashed before it is.
    await this.upload.settled();
    await this.#fed;
    const session = this.#session;
    const from = this.#hashedTo;
    const usable = session !== null && !this.#hashFailed && from <= size;
    this.#forgetHash();
    const rest = (offset: number) => [{ path: this.#path, offset, length: size - offset }];
    if (!usable) session?.drop();
    const sha256 = usable ? await session.finish(rest(from)) : await this.#hashes.hash(rest(0));
    this.#digest = { size, sha256 };
    return sha256;
  }

  close(): void {
    this.#session?.drop();
    this.#forgetHash();
  }

  #forgetHash(): void {
    this.#session = null;
    this.#hashedTo = 0;
    this.#hashFailed = false;
  }
}
