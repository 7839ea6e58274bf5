import { describe, expect, it } from 'vitest';
import { ReadAheadBudget, Stream } from '../../src/content/read/read-ahead.js';
import { StoreDistance } from '../../src/content/store-distance.js';
import { limits } from '../../src/model/limits.js';

const near = limits.nearStoreMsMax;
const far = near + 15;

/** Ranges that a reader of 1 MiB at a time has fetched ahead, until its window is full. */
function rangesAhead(isNear: boolean, budgetBytes: number): [number, number][] {
  const mebi = 1 << 20;
  const budget = new ReadAheadBudget(budgetBytes, () => isNear);
  const stream = new Stream(mebi);
  const ranges: [number, number][] = [];
  for (let at = mebi; at < 64 * mebi; at += mebi)
    ranges.push(...stream.advance(at, at + mebi, 1024 * mebi, budget));
  return ranges;
}

describe('the distance of a store', () => {
  it('is not short while nothing is known', () => {
    expect(new StoreDistance().isNear).toBe(false);
  });

  it('is told by its quickest answer lately, however busy it is', () => {
    const distance = new StoreDistance();
    for (let n = 0; n < limits.nearStoreSamples - 1; n++) distance.add(far);
    expect(distance.isNear).toBe(false);
    distance.add(near);
    for (let n = 0; n < limits.nearStoreSamples; n++) distance.add(far);
    expect(distance.isNear).toBe(true);
    for (let n = 0; n < limits.nearStoreSamples; n++) distance.add(far);
    expect(distance.isNear).toBe(false);
  });
});

describe('what is fetched ahead', () => {
  it('comes in small pieces from afar, and in large ones that end where requests of the kernel do from near', () => {
    const mebi = 1 << 20;
    const sizes = (ranges: [number, number][]) => new Set(ranges.slice(-10).map(([, length]) => length));
    expect(sizes(rangesAhead(false, 36 * mebi))).toEqual(new Set([limits.getBytesMin]));
    const ranges = rangesAhead(true, 36 * mebi);
    expect(sizes(ranges)).toEqual(new Set([2 * mebi]));
    expect(ranges.slice(-10).every(([at]) => at % mebi === 0)).toBe(true);
  });

  it('leaves nothing out and takes nothing twice', () => {
    for (const isNear of [false, true]) {
      // At the beginning the reader himself is faster.
      const ranges = rangesAhead(isNear, 36 << 20).slice(8);
      for (const [i, [at, length]] of ranges.entries()) {
        const next = ranges[i + 1];
        if (next !== undefined) expect(next[0]).toBe(at + length);
      }
    }
  });

  it('comes in small pieces from near, too, when there is little memory', () => {
    expect(Math.max(...rangesAhead(true, 8 << 20).map(([, length]) => length))).toBe(limits.getBytesMin);
  });
});
