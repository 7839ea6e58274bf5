import { expect, test } from 'vitest';
import { Slabs } from '../../src/artifacts/tree/slabs.js';
import { ExtentMap } from '../../src/content/extent-map.js';

test('a shared staging file goes with its last inode, also of those that got other numbers after they left it', () => {
  const removed: number[] = [];
  const slabs = new Slabs(
    () => 77,
    (file) => removed.push(file),
  );
  const places = [5, 6].map((ino) => slabs.place(ino, new ExtentMap(), 1, 0, 10));
  expect(places.map(({ file }) => file)).toEqual([77, 77]);
  slabs.close();
  slabs.renumbered(new Map([[5, 105]]));
  slabs.release(77, 105);
  expect(removed).toEqual([]);
  slabs.release(77, 6);
  expect(removed).toEqual([77]);
});
