import { expect, test } from 'vitest';
import { limits } from '../../src/model/limits.js';
import { LoopTurn } from '../../src/util/loop-turn.js';

test('sorts as toSorted does, however many items there are', async () => {
  for (const count of [0, 1, 999, 1000, 1001, 2500, 7001]) {
    const items = Array.from({ length: count }, (_, i) => ({ key: (i * 7919) % 311, i }));
    const compare = (a: { key: number }, b: { key: number }) => a.key - b.key;
    expect(await new LoopTurn().sorted(items, compare)).toEqual([...items].sort(compare));
  }
});

test('lets others run between the steps of a long job', async () => {
  let others = 0;
  let isDone = false;
  const other = () => {
    others++;
    if (!isDone) setImmediate(other);
  };
  setImmediate(other);
  const seen: number[] = [];
  await new LoopTurn().each([1, 2, 3], (item) => {
    seen.push(item);
    const until = performance.now() + limits.loopHoldMsMax + 1;
    while (performance.now() < until);
  });
  isDone = true;
  expect(seen).toEqual([1, 2, 3]);
  expect(others).toBeGreaterThanOrEqual(3);
});
