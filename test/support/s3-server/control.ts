import type { Operation } from './context.js';

/** How a test tells the server what to do wrong, and asks what it was asked: in its process, or over HTTP. */
export interface ServerControl {
  /** The first rule that matches a request is the one it gets. */
  addFault(rule: FaultRule): Promise<void>;
  clearFaults(): Promise<void>;
  /** Changes the settings named; the others stay. */
  set(settings: Partial<Settings>): Promise<void>;
  counters(): Promise<Counters>;
  resetCounters(): Promise<void>;
}

export interface FaultRule {
  /** Absent: any operation. */
  readonly on?: Operation | readonly Operation[];
  /** A regular expression for the key. Absent: any. */
  readonly key?: string;
  /** Matching requests that are let through first. Default 0. */
  readonly skip?: number;
  /** Requests it hits before it is used up. Default: no end. */
  readonly times?: number;
  /** Share of matching requests it hits, drawn from the seed. Default 1. */
  readonly probability?: number;
  readonly effect: FaultEffect;
}

export type FaultEffect =
  /** An error answer; nothing is done. */
  | { readonly kind: 'status'; readonly status: number; readonly code: string }
  /** The connection is reset; nothing is done. */
  | { readonly kind: 'reset' }
  | { readonly kind: 'delay'; readonly ms: number }
  /** The request is never answered; with `afterBytes`, the answer stops after so many bytes of its body. */
  | { readonly kind: 'stall'; readonly afterBytes?: number }
  /** The connection ends in the middle of the body. */
  | { readonly kind: 'truncate' }
  /** Half of the body, with a Content-Length that says so. */
  | { readonly kind: 'short' }
  /** One byte of the body of the answer is wrong. */
  | { readonly kind: 'corrupt' }
  /** One byte of the body of the request is changed before the server checks it. */
  | { readonly kind: 'corruptUpload' }
  /** Done, but the connection is reset instead of an answer. */
  | { readonly kind: 'loseAnswer' }
  /** The connection is reset at once; done later. */
  | { readonly kind: 'applyLate'; readonly ms: number };

export interface Settings {
  /** From the end of a request to the first byte of its answer. */
  readonly latencyMs: number;
  /** Added at random to `latencyMs`. */
  readonly latencyJitterMs: number;
  /** Of each connection, in each direction; 0: no bound. */
  readonly bytesPerSecond: number;
  /** Share of requests that are answered 503 SlowDown. */
  readonly errorRate: number;
  /** Of everything random; setting it starts the sequence again. */
  readonly seed: number;
}

export interface OperationCounters {
  requests: number;
  /** Bytes of request bodies, as content. */
  bytesIn: number;
  /** Bytes of answer bodies. */
  bytesOut: number;
  /** Answers with a status of 400 or more, and lost connections. */
  errors: number;
}

export interface Counters {
  readonly operations: Partial<Record<Operation, OperationCounters>>;
  /** Requests that were under way together, at most. */
  readonly inFlightMax: number;
  readonly connections: number;
}

export const controlPath = '/__control';

export type ControlMessage =
  | { readonly do: 'addFault'; readonly rule: FaultRule }
  | { readonly do: 'clearFaults' }
  | { readonly do: 'set'; readonly settings: Partial<Settings> }
  | { readonly do: 'counters' }
  | { readonly do: 'resetCounters' };

export async function obey(control: ServerControl, message: ControlMessage): Promise<unknown> {
  switch (message.do) {
    case 'addFault':
      return control.addFault(message.rule);
    case 'clearFaults':
      return control.clearFaults();
    case 'set':
      return control.set(message.settings);
    case 'counters':
      return control.counters();
    case 'resetCounters':
      return control.resetCounters();
  }
}

/** Controls a server in another process. */
export function remoteControl(endpoint: string): ServerControl {
  const send = async (message: ControlMessage): Promise<unknown> => {
    const answer = await fetch(endpoint + controlPath, { method: 'POST', body: JSON.stringify(message) });
    if (!answer.ok) throw new Error(`the S3 server answered ${answer.status}: ${await answer.text()}`);
    return answer.json();
  };
  return {
    addFault: async (rule) => void (await send({ do: 'addFault', rule })),
    clearFaults: async () => void (await send({ do: 'clearFaults' })),
    set: async (settings) => void (await send({ do: 'set', settings })),
    counters: async () => (await send({ do: 'counters' })) as Counters,
    resetCounters: async () => void (await send({ do: 'resetCounters' })),
  };
}
