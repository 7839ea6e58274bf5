import type { Artifact } from '../../artifacts/ports.js';
import type { Clock, Time } from '../../model/entry.js';
import { ArtifactError, toArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { Manifest } from '../../workspace/records.js';
import type { Attributes, RequestContext, SetAttributes } from '../file-system.js';
import type { FileHandle } from '../node.js';
import { O_TRUNC, wantsWrite } from '../open-flags.js';
import { type ControlHome, ControlNode, type ControlNumber } from './control.js';
import { TextHandle } from './control-files.js';

/** The draft being written, by artifact: it outlives the node, which the kernel may forget between truncate and open. */
const drafts = new WeakMap<Artifact, Draft>();
/** When its manifest was last staged here. */
const stagedTimes = new WeakMap<Artifact, Time>();

interface ManifestOptions {
  readonly artifact: Artifact;
  readonly clock: Clock;
}

/**
 * Answers the node of `manifest.json`: another one when its size or time is not what was last said of it, because a
 * kernel that keeps writes asks for these once and then believes itself.
 */
export function manifestFile(
  home: ControlHome,
  number: ControlNumber,
  options: ManifestOptions,
): () => ManifestFile {
  let file = new ManifestFile(home, number, options);
  return () => {
    if (!file.isAsSaid) file = new ManifestFile(home, number, options);
    return file;
  };
}

/**
 * The artifact's metadata as JSON. Writers share one draft, which begins as the present text (or empty, after
 * O_TRUNC); it is parsed and staged when a writer closes or syncs. Text that is no JSON object fails the close, and
 * the manifest stays as it was. An emptied draft that nobody wrote to changes nothing.
 */
class ManifestFile extends ControlNode {
  readonly kind = 'file';
  readonly #artifact: Artifact;
  readonly #clock: Clock;
  #shown: { manifest: Manifest; text: Buffer } | null = null;
  #said: Attributes | null = null;
  override readonly entrySeconds = 0;

  constructor(home: ControlHome, number: ControlNumber, options: ManifestOptions) {
    super(home, number, 0o666);
    this.#artifact = options.artifact;
    this.#clock = options.clock;
  }

  protected override get size(): number {
    return (drafts.get(this.#artifact)?.bytes ?? this.#text()).length;
  }
  protected override get time(): Time {
    return stagedTimes.get(this.#artifact) ?? super.time;
  }
  override attributes(): Attributes {
    this.#said = super.attributes();
    return this.#said;
  }
  get isAsSaid(): boolean {
    return this.#said === null || (this.#said.size === this.size && this.#said.mtime === this.time);
  }

  override setAttributes(context: RequestContext, changes: SetAttributes): void {
    super.setAttributes(context, changes);
    // truncate(2), or a driver that empties before it opens: the next writer finds the draft so.
    if (changes.size !== undefined) this.#openDraft().resize(changes.size);
  }

  override open(_context: RequestContext, flags: number): MaybePromise<FileHandle> {
    if (!wantsWrite(flags)) return new TextHandle(this.#text());
    return chain(this.#artifact.tree.admitChange(), () => this.#openToWrite(flags));
  }

  #openToWrite(flags: number): FileHandle {
    const draft = this.#openDraft();
    if ((flags & O_TRUNC) !== 0) draft.resize(0);
    draft.writers++;
    return new DraftHandle(draft, {
      stage: () => this.#stage(draft),
      closed: () => this.#closed(draft),
    });
  }

  #openDraft(): Draft {
    let draft = drafts.get(this.#artifact);
    if (draft === undefined) {
      draft = new Draft(this.#text());
      drafts.set(this.#artifact, draft);
    }
    return draft;
  }

  /** One text per manifest object: stat and read agree, and nothing is written twice. */
  #text(): Buffer {
    const manifest = this.#artifact.manifest();
    if (this.#shown?.manifest !== manifest) {
      this.#shown = { manifest, text: Buffer.from(`${JSON.stringify(manifest, null, 2)}\n`) };
    }
    return this.#shown.text;
  }

  #stage(draft: Draft): void {
    if (!draft.written) return;
    try {
      this.#artifact.setManifest(parseManifest(draft.bytes));
    } catch (error) {
      this.#artifact.refuseManifest(toArtifactError(error));
      throw error;
    }
    draft.written = false;
    stagedTimes.set(this.#artifact, this.#clock());
  }

  #closed(draft: Draft): void {
    draft.writers--;
    if (draft.writers === 0) drafts.delete(this.#artifact);
  }
}

class Draft {
  bytes: Buffer;
  /** There are bytes that were not staged yet. */
  written = false;
  writers = 0;

  constructor(bytes: Buffer) {
    this.bytes = bytes;
  }

  resize(size: number): void {
    this.#checkSize(size);
    if (size === this.bytes.length) return;
    this.bytes = size < this.bytes.length ? this.bytes.subarray(0, size) : this.#grown(size);
    // Emptying comes before the writing; by itself it is not a text that somebody wanted.
    this.written = size > 0;
  }

  write(offset: number, data: Buffer): void {
    const end = offset + data.length;
    this.#checkSize(end);
    // The bytes may be those a reader was given: never written in place.
    this.bytes = this.#grown(Math.max(end, this.bytes.length));
    data.copy(this.bytes, offset);
    this.written = true;
  }

  #grown(size: number): Buffer {
    const bytes = Buffer.alloc(size);
    this.bytes.copy(bytes);
    return bytes;
  }

  #checkSize(size: number): void {
    // Indented text is larger than what is stored of it.
    if (size > limits.manifestBytesMax * 4) {
      throw new ArtifactError('TooLarge', `the manifest is over ${limits.manifestBytesMax} bytes`);
    }
  }
}

class DraftHandle implements FileHandle {
  readonly reply = { directIo: true };
  readonly #draft: Draft;
  readonly #stage: () => void;
  readonly #closed: () => void;

  constructor(draft: Draft, events: { stage: () => void; closed: () => void }) {
    this.#draft = draft;
    this.#stage = events.stage;
    this.#closed = events.closed;
  }

  read(_context: RequestContext, offset: number, length: number): Buffer {
    return this.#draft.bytes.subarray(offset, offset + length);
  }
  write(_context: RequestContext, offset: number, data: Buffer): number {
    this.#draft.write(offset, data);
    return data.length;
  }
  flush(): void {
    this.#stage();
  }
  sync(): void {
    this.#stage();
  }
  release(): void {
    try {
      this.#stage();
    } catch {
      // Nobody hears what a close answers; the artifact has taken note.
    } finally {
      this.#closed();
    }
  }
}

function parseManifest(bytes: Buffer): Manifest {
  let value: unknown;
  try {
    value = JSON.parse(bytes.toString('utf8'));
  } catch (error) {
    const why = error instanceof Error ? error.message : String(error);
    throw new ArtifactError(
      'Invalid',
      `manifest.json is not JSON: ${why}`,
      { hint: 'the manifest is unchanged: write it again' },
      error,
    );
  }
  if (typeof value !== 'object' || value === null || Array.isArray(value)) {
    throw new ArtifactError('Invalid', 'manifest.json must be a JSON object');
  }
  return value as Manifest;
}
