import { expect, test } from 'vitest';
import { within, withinOwnTime } from '../../src/util/within.js';

const after = (ms: number): Promise<string> => new Promise((resolve) => setTimeout(resolve, ms, 'answer'));

/** As a machine does that has no time for this process. */
function holdTheLoop(ms: number): void {
  Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, ms);
}

test('gives up after its time, and not before', async () => {
  expect(await within(60_000, after(1))).toBe('answer');
  expect(await withinOwnTime(60_000, after(1))).toBe('answer');
  expect(await within(1, new Promise(() => {}))).toBeUndefined();
  expect(await withinOwnTime(20, new Promise(() => {}))).toBeUndefined();
  await expect(within(60_000, Promise.reject(new Error('no')))).rejects.toThrow('no');
});

test('a process that had no turn has not waited', async () => {
  const patient = withinOwnTime(100, after(150));
  const impatient = within(100, after(150));
  holdTheLoop(300);
  expect(await patient).toBe('answer');
  expect(await impatient).toBeUndefined();
});
