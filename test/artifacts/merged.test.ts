import { expect, test } from 'vitest';
import { merged, type Placed, type Source } from '../../src/artifacts/commit/merged.js';
import { compareEntries } from '../../src/model/entry.js';

/** Below `from`, in tree order, a few at a time. */
function sourceOf(from: string, places: readonly Placed<string>[], pageMax = 3) {
  const sorted = places.toSorted(compareEntries);
  const opened: string[] = [];
  const source: Source<string> = {
    from,
    async *pages() {
      opened.push(from);
      for (let at = 0; at < sorted.length; at += pageMax) yield sorted.slice(at, at + pageMax);
    },
  };
  return { source, opened };
}

const placed = (value: string, ...paths: string[]): Placed<string>[] =>
  paths.map((path) => {
    const slash = path.lastIndexOf('/');
    return { dir: path.slice(0, Math.max(0, slash)), name: path.slice(slash + 1), value };
  });

async function all(sources: readonly Source<string>[]): Promise<string[]> {
  const found: string[] = [];
  for await (const page of merged(sources))
    for (const { dir, name, value } of page) found.push(`${dir}/${name} ${value}`);
  return found;
}

test('several sources come out as one in tree order, of one path what the first says', async () => {
  const staged = sourceOf('', placed('staged', 'a', 'a/2', 'a/b/1', 'z', 'a.c/1'));
  const moved = sourceOf('a', placed('moved', 'a/1', 'a/3', 'a/b/1', 'a/b/2', 'a/b/c/1'));
  const beside = sourceOf('a-b', placed('beside', 'a-b/1', 'a-b/2', 'a-b/3', 'a-b/4'));
  const gone = sourceOf('a', placed('gone', 'a/0', 'a/1', 'a/2', 'a/b/1', 'a/d/1'));
  const empty = sourceOf('b', []);
  const sources = [staged.source, moved.source, beside.source, gone.source, empty.source];
  const expected = [
    '/a staged',
    '/z staged',
    'a/0 gone',
    'a/1 moved',
    'a/2 staged',
    'a/3 moved',
    'a-b/1 beside',
    'a-b/2 beside',
    'a-b/3 beside',
    'a-b/4 beside',
    'a.c/1 staged',
    'a/b/1 staged',
    'a/b/2 moved',
    'a/b/c/1 moved',
    'a/d/1 gone',
  ];
  expect(await all(sources)).toEqual(expected);
  expect(await all(sources), 'again').toEqual(expected);
  expect(await all([])).toEqual([]);
});

test('a source is begun when its directory comes', async () => {
  const sources = Array.from({ length: 50 }, (_, i) => {
    const name = `d${String(i).padStart(2, '0')}`;
    return sourceOf(name, placed(name, ...Array.from({ length: 30 }, (_, n) => `${name}/${100 + n}`)));
  });
  const reading = merged(sources.map(({ source }) => source));
  const { value: first } = await reading.next();
  expect(first?.length).toBe(500);
  expect(sources.filter(({ opened }) => opened.length > 0).length).toBe(17);
});
