import { readFileSync } from 'node:fs';

/** HUP, INT, QUIT, ABRT, KILL and TERM, as bits of a signal set. KILL stands for every signal that ends its receiver. */
const endSignals = (1 << 0) | (1 << 1) | (1 << 2) | (1 << 5) | (1 << 8) | (1 << 14);

/**
 * Whether the thread waits with a signal by which somebody wants it to end: it may die of it, or catch it (a shell, an
 * interpreter) and wants to hear of it now. Other signals (a timer, a child, a window's size) interrupt no call on a
 * local disk, and programs do not expect it. Undefined when there is no such thread, or this process may not know.
 *
 * /proc answers from memory: this never waits for a disk, nor for the lock of a process that hangs.
 */
export function isToldToEnd(thread: number): boolean | undefined {
  if (thread === 0) return undefined;
  let status: string;
  try {
    status = readFileSync(`/proc/${thread}/status`, 'latin1');
  } catch {
    return undefined;
  }
  const pending = signalSet(status, 'SigPnd') | signalSet(status, 'ShdPnd');
  return (pending & ~signalSet(status, 'SigBlk') & endSignals) !== 0;
}

/** Signals 1 to 32 of a line of 16 hexadecimal digits. */
function signalSet(status: string, name: string): number {
  const at = status.indexOf(`\n${name}:\t`);
  if (at < 0) return 0;
  const digits = at + name.length + 3;
  return Number.parseInt(status.slice(digits + 8, digits + 16), 16) | 0;
}
