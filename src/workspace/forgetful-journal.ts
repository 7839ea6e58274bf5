import type { Intent, IntentJournal } from './commit-types.js';

/**
 * Keeps intents for as long as the process lives: for records that may turn up late, or not at all, without harm, because who
 * wants them asks again and reads the log anew.
 */
export class ForgetfulJournal implements IntentJournal {
  readonly #intents = new Map<string, Intent>();

  save(intent: Intent): void {
    this.#intents.set(intent.commitId, intent);
  }

  pending(): Intent[] {
    return [...this.#intents.values()];
  }

  remove(commitId: string): void {
    this.#intents.delete(commitId);
  }
}
