import { expect, test } from 'vitest';
import { PathMap } from '../../src/artifacts/commit/path-map.js';
import { compareEntries } from '../../src/model/entry.js';
import { LoopTurn } from '../../src/util/loop-turn.js';

test('many paths come out in tree order, with what was said of each last', async () => {
  const map = new PathMap<number>();
  const dirs = ['', 'a', 'a/b', 'a-b', 'a.c', 'é', '\u{1f600}', '\uffee'];
  const paths = dirs.flatMap((dir) =>
    Array.from({ length: 1100 }, (_, i) => ({ dir, name: `${(i * 7919) % 1100}${dir.at(-1) ?? ''}` })),
  );
  paths.sort((a, b) => (a.name < b.name ? -1 : a.name > b.name ? 1 : 0));
  for (const { dir, name } of paths) map.set(dir, name, 1);
  map.set('a-b', '7b', 2);
  expect([map.has('a', '7a'), map.has('a', '7b'), map.has('b', '7b'), map.has('', '7')]).toEqual([
    true,
    false,
    false,
    true,
  ]);
  const found: { dir: string; name: string; value: number }[] = [];
  for await (const page of map.pages(new LoopTurn())) found.push(...page);
  const value = ({ dir, name }: { dir: string; name: string }) => (dir === 'a-b' && name === '7b' ? 2 : 1);
  expect(found).toEqual(paths.toSorted(compareEntries).map((path) => ({ ...path, value: value(path) })));
});
