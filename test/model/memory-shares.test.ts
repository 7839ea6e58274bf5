import { expect, test } from 'vitest';
import { limits } from '../../src/model/limits.js';
import { kernelNodesMax, memoryShares } from '../../src/model/memory-shares.js';

const MiB = 1 << 20;

test('shares of the memory budget stay below it', () => {
  for (const budget of [64 * MiB, 192 * MiB, 2 ** 30]) {
    const shares = Object.values(memoryShares(budget));
    expect(shares.reduce((sum, bytes) => sum + bytes, 0)).toBeLessThan(budget);
  }
});

test('the kernel may know as many files as ever with the default budget and more, and fewer with less', () => {
  expect(kernelNodesMax(192 * MiB)).toBe(limits.kernelNodesMax);
  expect(kernelNodesMax(2 ** 40)).toBe(limits.kernelNodesMax);
  expect(kernelNodesMax(64 * MiB)).toBe(Math.floor(limits.kernelNodesMax / 3));
  expect(kernelNodesMax(32 * MiB)).toBeGreaterThan(10_000);
});
