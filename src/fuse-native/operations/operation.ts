import type { MaybePromise } from '../../util/maybe-promise.js';
import type { Handler, Signal } from '../binding.js';
import type { Call } from '../call.js';
import type { Session } from '../session.js';

/** What makes handlers: the mount's session, and how each operation is answered. */
export interface Workbench {
  readonly session: Session;
  signal(operation: string): Signal;
}

/** Handlers by the operation's name in libfuse. */
export type Handlers = Readonly<Record<string, Handler>>;

/** The native part passes each operation the values it declares; nothing checks them. */
const typed = <A extends unknown[]>(values: readonly unknown[]): A => values as A;

/** The handler of an operation that is answered by its result alone. */
export function simple<A extends unknown[]>(
  { session, signal }: Workbench,
  operation: string,
  work: (call: Call, ...values: A) => MaybePromise<unknown>,
): Handler {
  const answer = signal(operation);
  return (task, _opcode, ...values) =>
    session.run({
      operation,
      work: (call) => work(call, ...typed<A>(values)),
      done: () => answer(task, 0),
      failed: (result) => answer(task, result),
    });
}

/** The handler of an operation that is answered by one value, which is `none` when it fails. */
export function valued<A extends unknown[], T>(
  { session, signal }: Workbench,
  operation: string,
  none: T,
  work: (call: Call, ...values: A) => MaybePromise<T>,
  undo?: (value: T) => void,
): Handler {
  const answer = signal(operation);
  return (task, _opcode, ...values) =>
    session.run({
      operation,
      work: (call) => work(call, ...typed<A>(values)),
      done: (value) => answer(task, 0, value),
      failed: (result) => answer(task, result, none),
      ...(undo === undefined ? {} : { undo }),
    });
}

/**
 * The handler of an operation that fills or takes libfuse's memory, and is answered by a count. The memory is given
 * back with the answer: JavaScript sees none of it after that.
 */
export function buffered<A extends unknown[]>(
  { session, signal }: Workbench,
  operation: string,
  memoryOf: (...values: A) => Buffer,
  work: (call: Call, ...values: A) => MaybePromise<number>,
): Handler {
  const answer = signal(operation);
  const isTransfer = operation === 'read' || operation === 'write';
  return (task, _opcode, ...values) => {
    const known = typed<A>(values);
    const { buffer } = memoryOf(...known);
    const give = (result: number): void => {
      if (isTransfer) answer(task, result, Math.max(0, result), buffer);
      else answer(task, result, buffer);
    };
    session.run({
      operation,
      work: (call) => work(call, ...known),
      done: give,
      failed: give,
      lendsMemory: operation === 'write',
    });
  };
}
