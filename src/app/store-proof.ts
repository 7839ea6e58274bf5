import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { ArtifactError, isCode } from '../model/errors.js';
import type { Workspace } from '../workspace/workspace.js';

/**
 * Whether the workspace can be committed to: no newer artifactfs may have forbidden it, and the store has to be writable, and
 * to create only what is absent. Each mount proves it before it writes anything. What an earlier one proved from this machine is
 * believed until then, so that a mount waits for no twenty requests; a command that lives for one call believes it altogether.
 */
export class StoreProof {
  /** An earlier proof is there. */
  readonly isRemembered: boolean;
  readonly #workspace: Workspace;
  readonly #path: string;
  #verdict: Promise<string | null> | undefined;
  #refusal: string | null = null;

  private constructor(workspace: Workspace, path: string, isRemembered: boolean) {
    this.#workspace = workspace;
    this.#path = path;
    this.isRemembered = isRemembered;
  }

  static async open(workspace: Workspace, stateDirectory: string): Promise<StoreProof> {
    const path = join(stateDirectory, 'store-proof.json');
    const isRemembered = (await readText(path)) === proofOf(workspace.store.url);
    return new StoreProof(workspace, path, isRemembered && whyNotOurs(workspace) === null);
  }

  /** Why nothing may be committed to the store, or null. Asked of the store once, again after a failure. */
  verdict(): Promise<string | null> {
    this.#verdict ??= this.#prove().catch((error: unknown) => {
      this.#verdict = undefined;
      throw error;
    });
    return this.#verdict;
  }

  /** Throws where nothing may be written. */
  async admitWrite(): Promise<void> {
    await this.verdict();
    this.admitChange();
  }

  /** Throws where it is known already that nothing may be committed: staging more would mislead. */
  admitChange(): void {
    if (this.#refusal === null) return;
    throw new ArtifactError('ReadOnly', `nothing can be written: ${this.#refusal}`, {
      hint: 'mount again when the store takes commits',
    });
  }

  async #prove(): Promise<string | null> {
    const { store } = this.#workspace;
    this.#refusal = whyNotOurs(this.#workspace);
    // Nor is it probed then.
    if (this.#refusal !== null) return this.#refusal;
    const { writable, createIfAbsent } = await store.probe({ copies: false });
    const reason = !writable
      ? `the credentials do not allow to write to ${store.url}`
      : !createIfAbsent
        ? `${store.url} overwrites what exists (no create-if-absent), so that two commits could destroy each other`
        : null;
    this.#refusal = reason;
    // A refusal is remembered as no proof: the next mount waits for what the store says then.
    await writeFile(this.#path, reason === null ? proofOf(store.url) : '', { mode: 0o600 });
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
