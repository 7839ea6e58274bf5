import { Driver, type DriverOptions, type RequestFailure, type Wire } from '../../src/fuse/driver.js';
import { RequestMemory } from '../../src/fuse/protocol/request.js';
import type { Attributes, FileSystem, NodeEntry } from '../../src/vfs/file-system.js';
import { requests } from './protocol-bytes.js';

/** The attributes that the replies of protocol-bytes.ts carry. */
export const attributes: Attributes = {
  ino: 0x1122334455667788n,
  kind: 'file',
  mode: 0o644,
  nlink: 2,
  uid: 1000,
  gid: 1001,
  rdev: 0x801,
  size: 0x123456789a,
  blocks: 0x1f,
  atime: { s: -5, ns: 1 },
  mtime: { s: 0x100000002, ns: 999_999_999 },
  ctime: { s: 1_700_000_000, ns: 3 },
};

export const entry: NodeEntry = {
  nodeId: 0x100000007,
  generation: 2,
  attributes,
  entrySeconds: 3.5,
  attrSeconds: 0.25,
};

export const initOptions = {
  requestBytesMax: 1 << 20,
  readAheadBytesMax: 4 << 20,
  backgroundMax: 64,
  writebackCache: false,
  passthrough: false,
};

/** Answers of a file system by method name; each call is written down with its arguments, less the context. */
export type Answers = { readonly [K in keyof FileSystem]?: unknown };

/** A driver between a scripted file system and a wire that keeps what is sent. No kernel. */
export class Recorder {
  readonly calls: { method: string; arguments: readonly unknown[]; context: unknown }[] = [];
  readonly sent: string[] = [];
  readonly failures: RequestFailure[] = [];
  readonly driver: Driver;
  readonly memory = new RequestMemory(1 << 16);
  /** What the wire answers to the next replies; 0 when empty. */
  readonly wireAnswers: number[] = [];

  /** What the kernel was told. */
  readonly told: string[] = [];

  /** `options` false: not initialised. `more`: what else the wire can do. */
  constructor(answers: Answers = {}, options: Partial<DriverOptions> | false = {}, more: Partial<Wire> = {}) {
    this.driver = new Driver(this.#fileSystem(answers), {
      init: initOptions,
      isToldToEnd: () => undefined, // there is no such thread
      ...options,
      onError: (failure) => this.failures.push(failure),
    });
    this.driver.connect(
      {
        reply: (bytes) => this.#send(this.driver.replyMemory.subarray(0, bytes)),
        replyWith: (bytes, payload) =>
          this.#send(Buffer.concat([this.driver.replyMemory.subarray(0, bytes), payload])),
        ...more,
      },
      {
        invalidateEntry: (parent, name) => this.told.push(`entry ${parent} ${name}`),
        invalidateInode: (node) => this.told.push(`inode ${node}`),
      },
    );
    if (options !== false) {
      this.request(requests.init);
      this.sent.length = 0;
      this.calls.length = 0;
    }
  }

  /** Hands one request to the driver, in hexadecimal. */
  request(hex: string): void {
    const length = this.memory.bytes.write(hex, 0, 'hex');
    this.driver.handle(this.memory, 0, length);
    if (this.memory.loans === 0) this.memory.bytes.fill(0xee); // whoever still looks there sees it
  }

  /** Arguments of the only call of `method`. */
  argumentsOf(method: keyof FileSystem): readonly unknown[] {
    const calls = this.calls.filter((call) => call.method === method);
    if (calls.length !== 1) throw new Error(`${calls.length} calls of ${method}`);
    return calls[0]?.arguments ?? [];
  }

  #send(bytes: Buffer): number {
    this.sent.push(bytes.toString('hex'));
    return this.wireAnswers.shift() ?? 0;
  }

  #fileSystem(answers: Answers): FileSystem {
    return new Proxy({} as FileSystem, {
      get: (_, method: keyof FileSystem) => {
        if (method === 'accesses') return undefined;
        if (method === 'negativeSeconds') return answers.negativeSeconds ?? 0;
        return (...given: unknown[]) => {
          const [context, ...rest] = withContext(method) ? given : [undefined, ...given];
          const kept = rest.map((value) => (value instanceof Uint8Array ? Buffer.from(value) : value));
          this.calls.push({ method, arguments: kept, context });
          const answer = answers[method];
          return typeof answer === 'function' ? (answer as (...a: unknown[]) => unknown)(...given) : answer;
        };
      },
    });
  }
}

const withContext = (method: string): boolean =>
  !['attach', 'noteFailure', 'pathOf', 'forget', 'release', 'releaseDirectory'].includes(method);

export const errnoReply = (errno: number): string => {
  const bytes = Buffer.alloc(16);
  bytes.writeUInt32LE(16, 0);
  bytes.writeInt32LE(-errno, 4);
  bytes.writeBigUInt64LE(0x500000006n, 8);
  return bytes.toString('hex');
};
