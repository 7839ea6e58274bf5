import type { CallOptions, ObjectInfo, ObjectStore } from '../object-store.js';
import { type StoreCall, WrappedStore } from './wrapped-store.js';

/** What the wrapper needs of a logger. */
export interface StoreLogger {
  debug(fields: Record<string, unknown>, message: string): void;
}

/** One debug line per request: operation, key, bytes, duration, and the error's code. Nothing secret is in them. */
export class LogStore extends WrappedStore {
  readonly #logger: StoreLogger;

  constructor(inner: ObjectStore, logger: StoreLogger) {
    super(inner);
    this.#logger = logger;
  }

  protected override async around<T>(call: StoreCall, run: () => Promise<T>): Promise<T> {
    const started = performance.now();
    try {
      const answer = await run();
      const bytes = Buffer.isBuffer(answer) ? answer.length : call.bytes;
      this.#line(call, started, bytes === undefined ? {} : { bytes });
      return answer;
    } catch (error) {
      this.#line(call, started, { error: codeOf(error) });
      throw error;
    }
  }

  override async *list(
    prefix: string,
    options?: CallOptions & { startAfter?: string },
  ): AsyncIterable<ObjectInfo> {
    const call: StoreCall = { operation: 'list', key: prefix };
    const started = performance.now();
    let keys = 0;
    try {
      for await (const info of this.inner.list(prefix, options)) {
        keys++;
        yield info;
      }
      this.#line(call, started, { keys });
    } catch (error) {
      this.#line(call, started, { keys, error: codeOf(error) });
      throw error;
    }
  }

  #line({ operation, key }: StoreCall, started: number, more: Record<string, unknown>): void {
    const ms = Math.round((performance.now() - started) * 10) / 10;
    this.#logger.debug({ store: this.url, operation, ...(key === '' ? {} : { key }), ...more, ms }, 'store');
  }
}

const codeOf = (error: unknown): string => {
  const code = (error as { code?: unknown } | null)?.code;
  return typeof code === 'string' ? code : 'Internal';
};
