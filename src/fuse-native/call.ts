import type { ArtifactError } from '../model/errors.js';
import type { RequestContext } from '../vfs/file-system.js';

const uid = process.geteuid?.() ?? 0;
const gid = process.getegid?.() ?? 0;

/**
 * One request. Its caller is not told to us: it counts as the user who mounted. The kernel has applied the caller's
 * umask, and has checked rights (`default_permissions`).
 */
export class Call implements RequestContext {
  readonly operation: string;
  readonly uid = uid;
  readonly gid = gid;
  readonly pid = 0;
  readonly umask = 0;
  readonly sinceMs = performance.now();
  #takesItsTime = false;
  #controller: AbortController | undefined;
  #reason: ArtifactError | undefined;

  constructor(operation: string) {
    this.operation = operation;
  }

  /** Made when somebody asks: almost no request is ever waited for. */
  get signal(): AbortSignal {
    if (this.#controller === undefined) {
      this.#controller = new AbortController();
      if (this.#reason !== undefined) this.#controller.abort(this.#reason);
    }
    return this.#controller.signal;
  }

  /** It has no deadline. */
  get takesItsTime(): boolean {
    return this.#takesItsTime;
  }

  takeTime(): void {
    this.#takesItsTime = true;
  }

  get isAborted(): boolean {
    return this.#reason !== undefined;
  }

  abort(reason: ArtifactError): void {
    this.#reason ??= reason;
    this.#controller?.abort(this.#reason);
  }
}
