import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ArtifactError, isCode } from '../model/errors.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import type { Workspace } from '../workspace/workspace.js';
import type { WriterLease } from '../workspace/writer-lease.js';

interface ProofParts {
  readonly workspace: Workspace;
  /** Of the file that remembers it. */
  readonly path: string;
  /** With which a store may be written to that cannot do with several writers; null: not at all. */
  readonly lease: WriterLease | null;
  /** Nothing can be written from now on. */
  readonly onRefused: (reason: string) => void;
}

/**
 * Whether the workspace can be committed to: no newer artifactfs may have forbidden it, and the store has to be writable, and
 * to create only what is absent. Each mount proves it before it writes anything. What an earlier one proved from this machine is
 * believed until then, so that a mount waits for no twenty requests; a command that lives for one call believes it altogether.
 * Where nothing was proved before, a workspace that was there already is shown at once, and its first change waits.
 */
export class StoreProof {
  /** An earlier proof is there. */
  readonly isRemembered: boolean;
  /** Whoever only looks need not know whether something can be written. */
  readonly mayBeLate: boolean;
  readonly #parts: ProofParts;
  #verdict: Promise<string | null> | undefined;
  #isAdmitted: boolean;
  #needsLease = false;
  #refusal: string | null = null;

  private constructor(parts: ProofParts, remembered: string | undefined) {
    const { workspace, lease } = parts;
    const isOurs = whyNotOurs(workspace) === null;
    this.#parts = parts;
    this.isRemembered = isOurs && remembered === proofOf(workspace.store.url);
    this.#isAdmitted = this.isRemembered;
    // Who has just made a workspace is told at once when it is of no use, and so is who was told before, or who may have to be
    // the one writer.
    const isUnknown = isOurs && remembered === undefined && !workspace.isNew && lease === null;
    this.mayBeLate = this.isRemembered || isUnknown;
  }

  static async open(options: Omit<ProofParts, 'path'> & { stateDirectory: string }): Promise<StoreProof> {
    const path = join(options.stateDirectory, 'store-proof.json');
    return new StoreProof({ ...options, path }, await readText(path));
  }

  /** Why nothing may be committed to the store, or null. Asked of the store once, again after a failure. */
  verdict(): Promise<string | null> {
    this.#verdict ??= this.#prove().catch((error: unknown) => {
      this.#verdict = undefined;
      throw error;
    });
    return this.#verdict;
  }

  /** Only one machine may write to the store at a time. Known when there is a verdict. */
  get needsLease(): boolean {
    return this.#needsLease;
  }

  /** Throws where nothing may be written. Becomes the one writer where there can be only one. */
  async admitWrite(): Promise<void> {
    await this.verdict();
    if (this.#needsLease) await this.#parts.lease?.take();
    await this.admitChange();
  }

  /**
   * Throws where it is known that nothing may be committed: staging more would mislead. A promise where nothing is known: nothing
   * may be staged before it resolves. It rejects also when the store does not tell now, and the next change asks again.
   */
  admitChange(): MaybePromise<void> {
    const refusal = this.#refusal ?? this.#parts.lease?.refusal() ?? null;
    if (refusal !== null)
      throw new ArtifactError('ReadOnly', `nothing can be written: ${refusal}`, {
        hint: 'mount again when the store takes commits',
      });
    if (!this.#isAdmitted) return this.verdict().then(() => this.admitChange());
  }

  async #prove(): Promise<string | null> {
    const { workspace, path, lease } = this.#parts;
    const { store } = workspace;
    const notOurs = whyNotOurs(workspace);
    // Nor is it probed then.
    if (notOurs !== null) return this.#decide(notOurs);
    const { writable, createIfAbsent } = await store.probe({ copies: false });
    this.#needsLease = writable && !createIfAbsent && lease !== null;
    const reason = !writable
      ? `the credentials do not allow to write to ${store.url}`
      : !createIfAbsent && lease === null
        ? `${store.url} overwrites what exists (no create-if-absent), so that two commits could destroy each other (--single-writer lets one machine write)`
        : null;
    this.#decide(reason);
    // A refusal is remembered as no proof: the next mount waits for what the store says then. So it does where nothing can be kept.
    await writeFile(path, reason === null && createIfAbsent ? proofOf(store.url) : '', { mode: 0o600 }).catch(
      () => undefined,
    );
    return reason;
  }

  #decide(reason: string | null): string | null {
    this.#refusal = reason;
    if (reason === null) this.#isAdmitted = true;
    else this.#parts.onRefused(reason);
    return reason;
  }
}

/** A newer artifactfs made it for others of its kind to change. */
function whyNotOurs(workspace: Workspace): string | null {
  try {
    workspace.requireWritable();
    return null;
  } catch (error) {
    if (isCode(error, 'UnsupportedFormat')) return error.message;
    throw error;
  }
}

const proofOf = (url: string) => `${JSON.stringify({ proved: 'create-if-absent', url })}\n`;

async function readText(path: string): Promise<string | undefined> {
  try {
    return await readFile(path, 'utf8');
  } catch (error) {
    if ((error as NodeJS.ErrnoException).code === 'ENOENT') return undefined;
    throw error;
  }
}
