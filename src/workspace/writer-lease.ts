import { randomUUID } from 'node:crypto';
import { uptime } from 'node:os';
import { ArtifactError, isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { pause } from '../store/backoff.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { type AnySignal, anySignal } from '../util/shared-signal.js';
import { Fields, parseJson } from './fields.js';
import { writerKey } from './keys.js';
import { storedJson, storedJsonIfThere } from './stored-json.js';

/** Who is, or was last, the one writer of a store that has no create-if-absent. */
export interface Writer {
  /** Random, of one process. */
  readonly holder: string;
  readonly host: string;
  readonly user: string;
  /** Where it is mounted; null where it is not. */
  readonly mount: string | null;
  /** It has let go: another may write at once. */
  readonly released: boolean;
}

export interface WriterLeaseParts extends Pick<Writer, 'host' | 'user' | 'mount'> {
  /** Below whatever asks for the lease. */
  readonly store: ObjectStore;
  /** Of this machine, going on while it sleeps. Only differences are used. */
  readonly nowMs?: () => number;
  /** Rejects at the signal. */
  readonly sleep?: (ms: number, signal: AbortSignal | undefined) => Promise<unknown>;
}

/**
 * The right to be the one writer, held by an object that its holder writes again and again (doc/FORMAT.md "One writer" says
 * why that is safe, and how far). It is taken when it is asked for, and kept until disposal, which lets it go. When it could not
 * be renewed in time it is over at once here, and taken anew if nobody else has taken it.
 */
export class WriterLease implements AsyncDisposable {
  readonly #parts: WriterLeaseParts;
  readonly #holder = randomUUID();
  readonly #closing = new AbortController();
  #taken: Promise<void> | undefined;
  #keeping: Promise<void> | undefined;
  /** By the clock of this machine: until then nobody else writes. */
  #untilMs = Number.NEGATIVE_INFINITY;
  #refusal: string | null = null;

  constructor(parts: WriterLeaseParts) {
    this.#parts = parts;
  }

  /** Resolves when this process is the one writer. `Busy` names another that is. */
  take(): Promise<void> {
    this.#taken ??= this.#take().catch((error: unknown) => {
      this.#taken = undefined;
      throw error;
    });
    return this.#taken;
  }

  /** Why the lease that was taken is not held at the moment; null where it is held, or was never asked for. */
  refusal(): string | null {
    return this.#refusal;
  }

  /** How long nobody else will write, whatever happens; 0 or less where somebody may. */
  leftMs(): number {
    return this.#untilMs - this.#nowMs();
  }

  /** Asked before each write that nobody else may do meanwhile: the signal that ends it with the lease. The caller disposes it. */
  async claim(): Promise<AnySignal> {
    await this.take();
    const leftMs = this.leftMs();
    if (this.#refusal === null && leftMs >= limits.writerWriteMsMin)
      return anySignal(this.#closing.signal, AbortSignal.timeout(leftMs));
    throw new ArtifactError('ReadOnly', this.#refusal ?? notRenewed, {
      hint: 'it is tried again for as long as the mount is there',
    });
  }

  /** Lets go, so that another need not wait until the lease is over. */
  async [Symbol.asyncDispose](): Promise<void> {
    this.#closing.abort();
    await this.#taken?.catch(() => undefined);
    await this.#keeping;
    if (this.leftMs() < limits.writerWriteMsMin) return;
    const signal = AbortSignal.timeout(limits.writerAnswerMsMax);
    // Who does not hear of it waits until the lease is over.
    await this.#put({ released: true }, { signal }).catch(() => undefined);
  }

  async #take(): Promise<void> {
    await this.#acquire();
    this.#keeping = this.#keep();
  }

  async #acquire(): Promise<void> {
    const { signal } = this.#closing;
    for (let attempt = 1; attempt <= attemptsMax; attempt++) {
      const lookedMs = await this.#untilFree({ signal });
      const sentMs = this.#nowMs();
      const written = await this.#put({ released: false }, { signal });
      // Who looked when we did has written by the end of the pause, or gives up: the last one to write has the lease.
      if (this.#nowMs() - lookedMs > limits.writerAnswerMsMax) continue;
      await this.#sleep(limits.writerSettleMs);
      if ((await this.#read({ signal }))?.text !== written) continue;
      if (this.#nowMs() >= sentMs + limits.writerLeaseMs) continue;
      this.#untilMs = sentMs + limits.writerLeaseMs;
      this.#refusal = null;
      return;
    }
    throw new ArtifactError(
      'StoreUnavailable',
      `${this.#parts.store.url} does not answer fast enough, or several machines try to become its one writer`,
      { hint: 'try again' },
    );
  }

  /** When the look began that showed that nobody is the writer now. `Busy` when somebody is. */
  async #untilFree(options: CallOptions): Promise<number> {
    let firstMs = this.#nowMs();
    let first = await this.#read(options);
    if (first === null || first.writer.released) return firstMs;
    for (;;) {
      await this.#sleep(limits.writerPollMs);
      const lookedMs = this.#nowMs();
      const now = await this.#read(options);
      if (now === null || now.writer.released) return lookedMs;
      if (now.mark !== first.mark) {
        if (now.writer.holder !== this.#holder) throw taken(this.#parts.store.url, now.writer);
        // Ours, sent when we had it: others see it, too, and wait from now on.
        first = now;
        firstMs = lookedMs;
      }
      if (lookedMs - firstMs >= limits.writerLeaseMs + limits.writerMarginMs) return lookedMs;
    }
  }

  /** Renews the lease until disposal, or until it is another's. Never fails. */
  async #keep(): Promise<void> {
    const { signal } = this.#closing;
    let waitMs: number = limits.writerRenewMs;
    while (!signal.aborted) {
      try {
        await this.#sleep(waitMs);
        if (this.leftMs() > 0) await this.#renew();
        else await this.#acquire();
        waitMs = limits.writerRenewMs;
      } catch (error) {
        if (signal.aborted) return;
        waitMs = limits.writerPollMs;
        // A store may be busy, too.
        if (isCode(error, 'Busy') && error.details['holder'] !== undefined) {
          this.#untilMs = Number.NEGATIVE_INFINITY;
          this.#refusal = error.message;
          return;
        }
        if (this.leftMs() <= 0) this.#refusal = notRenewed;
      }
    }
  }

  async #renew(): Promise<void> {
    const inTime = AbortSignal.timeout(Math.min(this.leftMs(), limits.writerRenewMs));
    using ends = anySignal(this.#closing.signal, inTime);
    const { signal } = ends;
    const found = await this.#read({ signal });
    if (found !== null && found.writer.holder !== this.#holder)
      throw taken(this.#parts.store.url, found.writer);
    const sentMs = this.#nowMs();
    await this.#put({ released: false }, { signal });
    // An answer after the end of the lease tells nothing: others may have looked before this was written.
    if (this.leftMs() > 0) this.#untilMs = sentMs + limits.writerLeaseMs;
  }

  async #put({ released }: { released: boolean }, options: CallOptions): Promise<string> {
    const { store, host, user, mount } = this.#parts;
    const json = {
      kind: writerKind,
      formatVersion: 1,
      ...{ holder: this.#holder, host, user, mount, released },
      // No two are equal: who looks twice sees whether it was written in between.
      mark: randomUUID(),
    };
    const text = `${JSON.stringify(json, null, 2)}\n`;
    await store.put(writerKey, Buffer.from(text), options);
    return text;
  }

  async #read(options: CallOptions): Promise<{ writer: Writer; text: string; mark: string } | null> {
    const { store } = this.#parts;
    try {
      const text = (await storedJson(store, writerKey, options)).toString();
      // The same bytes may arrive twice, when a request was repeated.
      const { modifiedMs } = await store.head(writerKey, options);
      return { writer: decodeWriter(text), text, mark: `${modifiedMs} ${text}` };
    } catch (error) {
      if (isCode(error, 'NotFound')) return null;
      throw error;
    }
  }

  async #sleep(ms: number): Promise<void> {
    await (this.#parts.sleep ?? pause)(ms, this.#closing.signal);
  }

  #nowMs(): number {
    return (this.#parts.nowMs ?? uptimeMs)();
  }
}

/** Who has, or had, the lease of a store; null where nobody ever had. */
export async function readWriter(store: ObjectStore, options: CallOptions = {}): Promise<Writer | null> {
  const bytes = await storedJsonIfThere(store, writerKey, options);
  return bytes === null ? null : decodeWriter(bytes.toString());
}

export const shownWriter = ({ user, host, mount }: Writer): string =>
  `${user}@${host}${mount === null ? '' : ` (mounted at ${mount})`}`;

const writerKind = 'artifactfs.writer';
/** A busy machine may be late several times in a row. */
const attemptsMax = 10;
const notRenewed = 'the lease of the one writer could not be renewed in time';

/** Goes on while the machine sleeps, as no clock of Node does. */
const uptimeMs = () => uptime() * 1000;

function decodeWriter(text: string): Writer {
  const fields = new Fields(writerKey, parseJson(writerKey, text));
  fields.literal('kind', writerKind);
  fields.formatVersion(1);
  return {
    holder: fields.string('holder'),
    host: fields.string('host'),
    user: fields.string('user'),
    mount: fields.get('mount') === null ? null : fields.string('mount'),
    released: fields.get('released') === true,
  };
}

const taken = (url: string, writer: Writer): ArtifactError =>
  new ArtifactError('Busy', `${shownWriter(writer)} is the one writer of ${url}`, {
    hint: 'unmount it there, or end that command; a machine that died is waited for; without --single-writer it can be read',
    holder: writer.holder,
  });
