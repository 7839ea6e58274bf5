import { expect, test } from 'vitest';
import { patiently } from '../../src/util/patience.js';

const failing = (times: number, message: string) => {
  let calls = 0;
  const operation = async (): Promise<number> => {
    calls += 1;
    if (calls <= times) throw new Error(message);
    return calls;
  };
  return { operation, calls: () => calls };
};
const isBusy = (error: unknown): boolean => (error as Error).message === 'busy';

test('what passes is tried again, until it is over', async () => {
  expect(await patiently(600_000, isBusy, failing(2, 'busy').operation)).toBe(3);
});

test('what does not pass is told at once', async () => {
  const { operation, calls } = failing(2, 'broken');
  await expect(patiently(600_000, isBusy, operation)).rejects.toThrow('broken');
  expect(calls()).toBe(1);
});

test('what lasts longer is told in the end', async () => {
  const { operation, calls } = failing(Number.POSITIVE_INFINITY, 'busy');
  await expect(patiently(60, isBusy, operation)).rejects.toThrow('busy');
  expect(calls()).toBeGreaterThan(1);
});
