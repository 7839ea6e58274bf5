import type { FaultRule, ServerControl } from '../../test/support/s3-server/control.js';

/** What goes wrong at a store now and then: about one request in thirty. */
const profile: readonly FaultRule[] = [
  {
    on: 'PutObject',
    key: '/log/',
    probability: 0.05,
    effect: { kind: 'status', status: 409, code: 'ConditionalRequestConflict' },
  },
  { on: 'PutObject', key: '/log/', probability: 0.04, effect: { kind: 'loseAnswer' } },
  { on: 'PutObject', key: '/log/', probability: 0.02, effect: { kind: 'applyLate', ms: 300 } },
  {
    on: ['PutObject', 'UploadPart', 'CompleteMultipartUpload', 'CreateMultipartUpload'],
    probability: 0.01,
    effect: { kind: 'loseAnswer' },
  },
  { on: ['PutObject', 'UploadPart'], probability: 0.005, effect: { kind: 'corruptUpload' } },
  { on: 'GetObject', probability: 0.01, effect: { kind: 'truncate' } },
  { on: 'GetObject', probability: 0.01, effect: { kind: 'short' } },
  // Ranges of data have no checksum of their own: what changes them on their way is for TLS to find.
  { on: 'GetObject', key: '/(t|log)/|/\\.probe/', probability: 0.01, effect: { kind: 'corrupt' } },
  { on: 'GetObject', probability: 0.004, effect: { kind: 'stall', afterBytes: 1000 } },
  { on: 'GetObject', probability: 0.002, effect: { kind: 'stall' } },
  { on: ['PutObject', 'UploadPart'], probability: 0.001, effect: { kind: 'stall' } },
  { probability: 0.01, effect: { kind: 'reset' } },
  { probability: 0.01, effect: { kind: 'delay', ms: 400 } },
];

/** The weather of the store. */
export class Faults {
  readonly #control: ServerControl;
  #profile = profile;
  #outages: { readonly from: number; to: number }[] = [];

  constructor(control: ServerControl) {
    this.#control = control;
  }

  /** `isCalm`: without what only takes long. */
  async on(seed: number, isCalm = false): Promise<void> {
    await this.#control.set({ latencyMs: 3, latencyJitterMs: 20, errorRate: 0.01, seed });
    if (isCalm) this.#profile = profile.filter(({ effect }) => effect.kind !== 'stall');
    await this.#usual();
  }

  async off(): Promise<void> {
    await this.#control.clearFaults();
    await this.#control.set({ latencyMs: 0, latencyJitterMs: 0, errorRate: 0 });
  }

  /** Nothing is answered for a while: connections are reset, refused with 503, or nothing comes. */
  async outage(ms: number, kind: 'reset' | 'status' | 'stall'): Promise<void> {
    const outage = { from: Date.now(), to: Number.POSITIVE_INFINITY };
    this.#outages.push(outage);
    await this.#control.clearFaults();
    const effect = kind === 'status' ? { kind, status: 503, code: 'SlowDown' } : { kind };
    await this.#control.addFault({ effect });
    await new Promise((resolve) => setTimeout(resolve, ms));
    await this.#control.clearFaults();
    await this.#usual();
    outage.to = Date.now();
  }

  /** Work that began then and failed now may blame the store. */
  excuses(began: number): boolean {
    return this.#outages.some(({ from, to }) => began <= to && from <= Date.now());
  }

  async #usual(): Promise<void> {
    for (const rule of this.#profile) await this.#control.addFault(rule);
  }
}
