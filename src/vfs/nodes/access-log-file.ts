import type { Time } from '../../model/entry.js';
import type { AccessLog } from '../access-log.js';
import type { RequestContext } from '../file-system.js';
import type { FileHandle } from '../node.js';
import { wantsChange } from '../open-flags.js';
import { type ControlHome, ControlNode, type ControlNumber } from './control.js';

/** `.artifactfs/accesslog`. Size and time are those of the log, so that `tail -f` sees it grow. */
export class AccessLogFile extends ControlNode {
  readonly kind = 'file';
  readonly #log: AccessLog;

  constructor(home: ControlHome, number: ControlNumber, log: AccessLog) {
    super(home, number, 0o400);
    this.#log = log;
  }

  protected override get size(): number {
    return this.#log.size;
  }
  protected override get time(): Time {
    const { timeMs } = this.#log;
    return { s: Math.floor(timeMs / 1000), ns: (timeMs % 1000) * 1_000_000 };
  }

  override open(_context: RequestContext, flags: number): FileHandle {
    if (wantsChange(flags)) throw this.refusal('writing to accesslog');
    this.#log.ownNode = this.id;
    return this.#log.open();
  }
}
