import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { openCatalog, type SqliteCatalog } from '../../src/catalog/open-catalog.js';
import type { VersionTree } from '../../src/catalog/ports.js';
import { compareNames, type Entry } from '../../src/model/entry.js';
import { limits } from '../../src/model/limits.js';
import { deferred } from '../../src/util/deferred.js';
import type { TreeChange } from '../../src/workspace/trees.js';
import { runs } from '../support/seed.js';
import { anyTree, directoryPath, FakeTrees, imageEntries, plainEntry, rootEntry } from './fake-trees.js';

const artifactId = '01890000-0000-7000-8000-000000000001';
const catalogs: SqliteCatalog[] = [];

function inMemory(trees: FakeTrees, entriesMax?: number): SqliteCatalog {
  const catalog = openCatalog(':memory:', trees, entriesMax === undefined ? {} : { entriesMax });
  catalogs.push(catalog);
  return catalog;
}

afterEach(() => {
  for (const catalog of catalogs.splice(0)) catalog[Symbol.dispose]();
});

async function collect(walk: AsyncIterable<Entry>): Promise<Entry[]> {
  const entries: Entry[] = [];
  for await (const entry of walk) entries.push(entry);
  return entries;
}

const isBelow = (entry: Entry, dir: string): boolean =>
  dir === '' || entry.dir === dir || entry.dir.startsWith(`${dir}/`);

/** Each question is answered by filtering the array of entries. */
async function compareWithModel(tree: VersionTree, entries: readonly Entry[], dirs: readonly string[]) {
  expect(await collect(tree.walk(''))).toEqual(entries);
  for (const dir of [...dirs, ...new Set(entries.map((entry) => entry.dir))]) {
    const inside = entries.filter((entry) => entry.dir === dir);
    expect(await tree.list(dir, null, 1000)).toEqual(inside);
    expect(await tree.list(dir, null, 2)).toEqual(inside.slice(0, 2));
    for (const after of ['a', '', inside[0]?.name ?? 'b']) {
      const rest = inside.filter((entry) => compareNames(entry.name, after) > 0);
      expect(await tree.list(dir, after, 3)).toEqual(rest.slice(0, 3));
    }
    expect(await collect(tree.walk(dir))).toEqual(entries.filter((entry) => isBelow(entry, dir)));
    expect(await tree.lookup(dir, 'nothing')).toBeUndefined();
  }
  for (const entry of entries) expect(await tree.lookup(entry.dir, entry.name)).toEqual(entry);
}

describe('a tree that is made from the one before it', () => {
  const oneDirectory = (count: number, size: number) =>
    Array.from({ length: count }, (_, i) =>
      plainEntry(`d${Math.floor(i / 900)}`, `f${String(i).padStart(5, '0')}`, { ino: i + 2, size }),
    );
  const directory = plainEntry('', 'd0', { kind: 'dir', ino: 1_000_000, mode: 0o755, nlink: 2 });

  async function inherited(
    before: Entry[],
    after: Entry[],
    changes: readonly TreeChange[],
    cuts: readonly number[],
  ) {
    const trees = new FakeTrees();
    const catalog = inMemory(trees);
    const base = await catalog.tree(artifactId, trees.publish(before, cuts));
    await compareWithModel(base, before, []);
    await catalog.settled();
    const tree = await catalog.tree(artifactId, trees.publish(after, cuts));
    const fetched = trees.fetched.length;
    await tree.inherit(base, changes);
    catalog.checkInvariants();
    await compareWithModel(tree, after, []);
    await compareWithModel(base, before, []);
    await catalog.settled();
    catalog.checkInvariants();
    return trees.fetched.length - fetched;
  }

  test('has the changes, and fetches nothing of what was loaded', async () => {
    const before = [directory, ...oneDirectory(2500, 1)];
    const [gone, changed] = [before[7], before[2001]];
    if (gone === undefined || changed === undefined) throw new Error('unreachable: there are as many');
    const more = { ...changed, size: 9 };
    const added = plainEntry('d0', 'f00001a', { ino: 77_777 });
    const after = before.filter((entry) => entry !== gone).map((entry) => (entry === changed ? more : entry));
    after.splice(3, 0, added);
    const changes = [
      { dir: 'd0', name: added.name, before: null, after: added },
      { dir: 'd0', name: gone.name, after: null },
      { dir: more.dir, name: more.name, before: changed, after: more },
    ];
    expect(await inherited(before, after, changes, [2000])).toBe(0);
  });

  test('is fetched where directories came or went, or where what it was told is not all', async () => {
    const before = [directory, ...oneDirectory(3, 1)];
    const withMore = [directory, plainEntry('c', 'f', { ino: 5 }), ...oneDirectory(3, 1)];
    const came = { dir: 'c', name: 'f', before: null, after: withMore[1] ?? null };
    expect(await inherited(before, withMore, [came], [])).toBe(1);
    const left = oneDirectory(3, 1).map(({ dir, name }) => ({ dir, name, after: null }));
    expect(
      await inherited(
        [directory, ...oneDirectory(3, 1), plainEntry('e', 'f', { ino: 6 })],
        [directory, plainEntry('e', 'f', { ino: 6 })],
        left,
        [],
      ),
    ).toBe(1);
    expect(await inherited(before, [directory, ...oneDirectory(2, 1)], [], [])).toBe(1);
  });
});

describe('a version tree against an array of entries', () => {
  test('answers the same for any tree, cut anywhere, before and after its ranges are loaded', async () => {
    const cuts = fc.array(fc.nat(60), { maxLength: 12 });
    await fc.assert(
      fc.asyncProperty(
        anyTree,
        cuts,
        fc.array(directoryPath, { maxLength: 5 }),
        async (entries, at, dirs) => {
          const trees = new FakeTrees();
          using catalog = openCatalog(':memory:', trees);
          const tree = await catalog.tree(artifactId, trees.publish(entries, at));
          await compareWithModel(tree, entries, dirs);
          await compareWithModel(tree, entries, dirs);
          await catalog.settled();
          catalog.checkInvariants();
          expect(new Set(trees.fetched).size).toBe(trees.fetched.length);
        },
      ),
      { numRuns: runs(60) },
    );
  });

  test('answers the same while ranges are pushed out all the time', async () => {
    const cuts = fc.array(fc.nat(60), { minLength: 3, maxLength: 20 });
    await fc.assert(
      fc.asyncProperty(anyTree, cuts, fc.nat(30), async (entries, at, entriesMax) => {
        const trees = new FakeTrees();
        using catalog = openCatalog(':memory:', trees, { entriesMax });
        const tree = await catalog.tree(artifactId, trees.publish(entries, at));
        await compareWithModel(tree, entries, []);
        await catalog.settled();
        catalog.checkInvariants();
        const { ranges, entries: kept } = catalog.stats();
        expect(ranges <= 1 || kept <= entriesMax).toBe(true);
      }),
      { numRuns: runs(40) },
    );
  });

  test('lists a directory that spans ranges, page by page', async () => {
    const trees = new FakeTrees();
    const entries = Array.from({ length: 50 }, (_, i) => plainEntry('d', `f${String(i).padStart(2, '0')}`));
    const tree = await inMemory(trees).tree(artifactId, trees.publish(entries, [3, 10, 11, 40]));
    const seen: string[] = [];
    for (let after: string | null = null; ; after = seen.at(-1) ?? null) {
      const page: Entry[] = await tree.list('d', after, 7);
      seen.push(...page.map((entry) => entry.name));
      if (page.length < 7) break;
    }
    expect(seen).toEqual(entries.map((entry) => entry.name));
  });

  test.each([1, 2, 7])('walks directories of %i files over many pages', async (files) => {
    const trees = new FakeTrees();
    const entries = Array.from({ length: 1700 }, (_, i) => {
      const dir = `d/${String(Math.floor(i / files)).padStart(5, '0')}`;
      return plainEntry(dir, `f${i % files}`);
    });
    const tree = await inMemory(trees).tree(artifactId, trees.publish(entries, [1100]));
    expect(await collect(tree.walk(''))).toEqual(entries);
    expect(await collect(tree.walk('d'))).toEqual(entries);
    expect(await collect(tree.walk('d/00001'))).toEqual(entries.slice(files, 2 * files));
  });

  test('goes on after the last name of a range without fetching that range', async () => {
    const trees = new FakeTrees();
    const entries = [plainEntry('', 'a'), plainEntry('', 'b'), plainEntry('', 'c')];
    const ref = trees.publish(entries, [2]);
    const tree = await inMemory(trees).tree(artifactId, ref);
    expect(await tree.list('', 'b', 10)).toEqual(entries.slice(2));
    expect(trees.fetched).toEqual([trees.rangesOf(ref)[1]?.sha256]);
  });

  test('walks a subtree without loading the siblings that sort in between', async () => {
    const trees = new FakeTrees();
    const entries = [
      plainEntry('a', '1'),
      plainEntry('a-b', '2'),
      plainEntry('a.c', '3'),
      plainEntry('a/b', '4'),
      plainEntry('a0', '5'),
    ];
    const ref = trees.publish(entries, [1, 2, 3, 4]);
    const tree = await inMemory(trees).tree(artifactId, ref);
    expect((await collect(tree.walk('a'))).map((entry) => entry.name)).toEqual(['1', '4']);
    const wanted = [0, 3].map((index) => trees.rangesOf(ref)[index]?.sha256);
    expect(trees.fetched).toEqual(wanted);
  });
});

describe('look-ups and fetching', () => {
  test('in loaded ranges answer at once, not by a promise', async () => {
    const trees = new FakeTrees();
    const entries = imageEntries(300);
    const tree = await inMemory(trees).tree(artifactId, trees.publish(entries, [150]));
    const dir = entries[0]?.dir ?? '';
    expect(tree.lookup(dir, 'nothing')).toBeInstanceOf(Promise);
    await collect(tree.walk(''));
    expect(tree.lookup(dir, entries[5]?.name ?? '')).toEqual(entries[5]);
    expect(tree.lookup(dir, 'nothing')).toBeUndefined();
    expect(tree.list(dir, null, 1000)).toEqual(entries.slice(0, 100));
    expect(tree.list('no/such', null, 10)).toEqual([]);
  });

  test('between ranges and in an empty tree need no fetch', async () => {
    const trees = new FakeTrees();
    const catalog = inMemory(trees);
    const entries = [plainEntry('', 'b'), plainEntry('', 'd')];
    const tree = await catalog.tree(artifactId, trees.publish(entries, [1]));
    expect(tree.lookup('', 'a')).toBeUndefined();
    expect(tree.lookup('', 'c')).toBeUndefined();
    expect(tree.lookup('z', 'a')).toBeUndefined();
    expect(tree.lookup('', '')).toEqual(rootEntry);
    const empty = await catalog.tree(artifactId, trees.publish([]));
    expect(empty.lookup('', 'a')).toBeUndefined();
    expect(empty.list('', null, 10)).toEqual([]);
    expect(await collect(empty.walk(''))).toEqual([]);
    expect(trees.fetched).toEqual([]);
  });

  test('wanted by many at the same time fetch a range once, and a metarange once', async () => {
    const trees = new FakeTrees();
    const catalog = inMemory(trees);
    const entries = imageEntries(200);
    const ref = trees.publish(entries);
    const opened = await Promise.all(Array.from({ length: 5 }, () => catalog.tree(artifactId, ref)));
    const found = await Promise.all(
      opened.flatMap((tree) => entries.map((entry) => tree.lookup(entry.dir, entry.name))),
    );
    expect(found).toHaveLength(1000);
    expect(found.slice(0, 200)).toEqual(entries);
    expect(trees.metarangesFetched).toBe(1);
    expect(trees.fetched).toHaveLength(1);
  });

  test('of another version fetch only the ranges it does not share', async () => {
    const trees = new FakeTrees();
    const catalog = inMemory(trees);
    const entries = imageEntries(300);
    await collect((await catalog.tree(artifactId, trees.publish(entries, [100, 200]))).walk(''));
    const changed = entries.map((entry, i) => (i === 150 ? { ...entry, size: 1 } : entry));
    const next = await catalog.tree(artifactId, trees.publish(changed, [100, 200]));
    expect(await collect(next.walk(''))).toEqual(changed);
    expect(trees.fetched).toHaveLength(4);
  });

  test('in order fetch the next range ahead', async () => {
    const trees = new FakeTrees();
    const catalog = inMemory(trees);
    const entries = imageEntries(400);
    const ref = trees.publish(entries, [100, 200, 300]);
    const tree = await catalog.tree(artifactId, ref);
    await tree.list(entries[0]?.dir ?? '', null, 1000);
    await catalog.settled();
    expect(trees.fetched).toHaveLength(1);
    await tree.list(entries[100]?.dir ?? '', null, 1000);
    await catalog.settled();
    expect(trees.fetched).toEqual(
      trees
        .rangesOf(ref)
        .slice(0, 3)
        .map((range) => range.sha256),
    );
  });

  test('leave the event loop to others while a large range is written', async () => {
    const trees = new FakeTrees();
    const entries = imageEntries(limits.rangeEntriesMax);
    const tree = await inMemory(trees).tree(artifactId, trees.publish(entries));
    let turns = 0;
    let loading = true;
    const count = () => {
      turns++;
      if (loading) setImmediate(count);
    };
    setImmediate(count);
    const first = await tree.lookup(entries[0]?.dir ?? '', entries[0]?.name ?? '');
    loading = false;
    expect(first).toEqual(entries[0]);
    expect(turns).toBeGreaterThan(2);
  });
});

describe('failures', () => {
  test('of the store are passed on, and the next look-up tries again', async () => {
    const trees = new FakeTrees();
    const catalog = inMemory(trees);
    const tree = await catalog.tree(artifactId, trees.publish([plainEntry('', 'a')]));
    trees.gate = async () => {
      throw new Error('store away');
    };
    await expect(tree.lookup('', 'a')).rejects.toThrow('store away');
    await expect(tree.list('', null, 5)).rejects.toThrow('store away');
    await expect(collect(tree.walk(''))).rejects.toThrow('store away');
    trees.gate = async () => {};
    expect(await tree.lookup('', 'a')).toEqual(plainEntry('', 'a'));
  });

  test('of a prefetch are told to nobody but who wants that range', async () => {
    const trees = new FakeTrees();
    const catalog = inMemory(trees);
    const entries = [plainEntry('', 'a'), plainEntry('', 'b'), plainEntry('', 'c')];
    const ref = trees.publish(entries, [1, 2]);
    const tree = await catalog.tree(artifactId, ref);
    trees.gate = async (range) => {
      if (range.first.name === 'c') throw new Error('store away');
    };
    await tree.lookup('', 'a');
    expect(await tree.lookup('', 'b')).toEqual(entries[1]);
    await catalog.settled();
    expect(trees.fetched).toHaveLength(3);
    await expect(tree.lookup('', 'c')).rejects.toThrow('store away');
  });

  test.each([
    ['too few', (entries: readonly Entry[]) => entries.slice(1)],
    ['unsorted', (entries: readonly Entry[]) => entries.toReversed()],
    ['one twice', (entries: readonly Entry[]) => entries.map((entry) => entries[0] ?? entry)],
  ])('a range with %s entries is Corrupt, names the object and leaves nothing behind', async (_, change) => {
    const trees = new FakeTrees();
    const catalog = inMemory(trees);
    const ref = trees.publish(imageEntries(250));
    const [range] = trees.rangesOf(ref);
    trees.spoil(range?.sha256 ?? '', change);
    const tree = await catalog.tree(artifactId, ref);
    await expect(collect(tree.walk(''))).rejects.toMatchObject({
      code: 'Corrupt',
      message: expect.stringContaining(range?.object ?? '?'),
    });
    await catalog.settled();
    catalog.checkInvariants();
    expect(catalog.stats()).toMatchObject({ ranges: 0, entries: 0 });
  });

  test('closing rejects the loads in flight', async () => {
    const trees = new FakeTrees();
    const catalog = openCatalog(':memory:', trees);
    const tree = await catalog.tree(artifactId, trees.publish([plainEntry('', 'a')]));
    const arrived = deferred();
    const gate = deferred();
    trees.gate = async () => {
      arrived.resolve();
      await gate.promise;
    };
    const found = tree.lookup('', 'a');
    await arrived.promise;
    catalog[Symbol.dispose]();
    gate.resolve();
    await expect(found).rejects.toMatchObject({ code: 'Interrupted' });
  });
});

describe('eviction', () => {
  test('drops the range used longest ago, and only its rows', async () => {
    const trees = new FakeTrees();
    const catalog = inMemory(trees, 250);
    const entries = imageEntries(300);
    const ref = trees.publish(entries, [100, 200]);
    const tree = await catalog.tree(artifactId, ref);
    const at = (i: number) => tree.lookup(entries[i]?.dir ?? '', entries[i]?.name ?? '');
    await at(0);
    await at(299);
    expect(at(0)).toEqual(entries[0]);
    await at(150);
    await catalog.settled();
    expect(catalog.stats()).toMatchObject({ ranges: 2, entries: 200 });
    expect(at(0)).toEqual(entries[0]);
    expect(at(150)).toEqual(entries[150]);
    const again = at(299);
    expect(again).toBeInstanceOf(Promise);
    expect(await again).toEqual(entries[299]);
    await catalog.settled();
    catalog.checkInvariants();
  });
});
