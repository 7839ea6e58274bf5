import fc from 'fast-check';
import { describe, expect, it } from 'vitest';
import type { Entry } from '../../src/model/entry.js';
import { isCode } from '../../src/model/errors.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { PublishRequest, PublishResult } from '../../src/workspace/commit-types.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { runs } from '../support/seed.js';
import { checkTree, MemoryJournal, publishRequest, readTree } from './helpers.js';
import { contentOf, contentsOf, ModelTree } from './model-tree.js';

type Policy = PublishRequest['onConflict'];
type Edit = (tree: ModelTree) => void;

interface Outcome {
  /** null: refused as a conflict. */
  readonly tree: ReadonlyMap<string, Entry> | null;
  readonly conflicts: readonly string[];
}

/** Two stages on one base: `first` is published, then `second`. */
async function commitBoth(
  base: ModelTree,
  first: ModelTree,
  second: ModelTree,
  policy: Policy,
): Promise<Outcome> {
  const workspace = await Workspace.open(new MemoryStore());
  const publish = (tree: ModelTree, from: ModelTree | null, on: PublishResult | null, onConflict: Policy) => {
    const { changes, root } = tree.changesFrom(from ?? emptyTree);
    const record = on?.records.at(-1);
    const at =
      on === null || record === undefined ? null : { ...on, seq: record.record.seq, hash: record.hash };
    const request = publishRequest(changes, {
      base: at,
      inoPrefixes: [tree.prefix],
      onConflict,
      ...(root === undefined ? {} : { root }),
    });
    return workspace.publish(request, new MemoryJournal());
  };
  const version0 = await publish(base, null, null, 'fail');
  await publish(first, base, version0, 'fail');
  try {
    const version2 = await publish(second, base, version0, policy);
    const { entries, metarange } = await readTree(workspace, version2.tree);
    checkTree(entries, metarange);
    return { tree: entries, conflicts: [] };
  } catch (error) {
    if (!isCode(error, 'Conflict')) throw error;
    return { tree: null, conflicts: error.details['paths'] as string[] };
  }
}

const emptyTree = new ModelTree(0, new Map());

function stages(setUp: Edit, theirs: Edit, mine: Edit): [ModelTree, ModelTree, ModelTree] {
  const base = new ModelTree(10);
  setUp(base);
  const first = new ModelTree(11, base.entries);
  theirs(first);
  const second = new ModelTree(12, base.entries);
  mine(second);
  return [base, first, second];
}

const name = fc.constantFrom('a', 'b', 'c', 'd');
const dirs = ['a', 'b', 'a/a', 'a/b', 'b/a'];
const files = ['c', 'a/c', 'a/d', 'a/a/c', 'a/b/c', 'b/a/c', 'b/c'];
const path = fc.constantFrom(...dirs, ...files, 'd', 'e', 'a/e', 'a/b/d', 'b/d', 'd/c', 'b/a/b');
const content = fc.constantFrom('1', '2', '3', '');
/** As data, so that a failure prints what was done. */
type Step =
  | readonly ['write' | 'rename' | 'replace' | 'exchange' | 'link' | 'symlink', string, string]
  | readonly ['mkdir', string]
  | readonly ['remove', string]
  | readonly ['chmod', string, number];

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 2, arbitrary: fc.tuple(fc.constant('write' as const), path, content) },
  { weight: 4, arbitrary: fc.tuple(fc.constantFrom('rename' as const, 'link' as const), path, path) },
  { weight: 2, arbitrary: fc.tuple(fc.constantFrom('replace' as const, 'exchange' as const), path, path) },
  {
    weight: 4,
    arbitrary: fc.oneof(
      fc.tuple(fc.constant('mkdir' as const), path),
      fc.tuple(fc.constant('remove' as const), path),
    ),
  },
  fc.tuple(fc.constant('chmod' as const), path, fc.constantFrom(0o600, 0o755)),
  fc.tuple(fc.constant('symlink' as const), path, name),
);
const steps = (maxLength: number) => fc.array(step, { minLength: 1, maxLength, size: 'max' });

function take(tree: ModelTree, list: readonly Step[]): void {
  for (const one of list) {
    if (one[0] === 'chmod') tree.chmod(one[1], one[2]);
    else if (one[0] === 'mkdir') tree.mkdir(one[1]);
    else if (one[0] === 'remove') tree.remove(one[1]);
    else tree[one[0]](one[1], one[2]);
  }
}

function randomStages(
  prepare: readonly Step[],
  theirs: readonly Step[],
  mine: readonly Step[],
): [ModelTree, ModelTree, ModelTree] {
  const setUp: Edit = (tree) => {
    for (const dir of dirs) tree.mkdir(dir);
    for (const file of files) tree.write(file, file);
    take(tree, prepare);
  };
  return stages(
    setUp,
    (tree) => take(tree, theirs),
    (tree) => take(tree, mine),
  );
}

describe('two stages on one base', () => {
  it('merge into a sound tree with everybody’s changes, the same whoever comes first, or are refused', async () => {
    let merged = 0;
    let refused = 0;
    await fc.assert(
      fc.asyncProperty(steps(8), steps(6), steps(6), async (prepare, theirs, mine) => {
        const [base, first, second] = randomStages(prepare, theirs, mine);
        const one = await commitBoth(base, first, second, 'fail');
        const other = await commitBoth(base, second, first, 'fail');
        expect(one.tree === null).toBe(other.tree === null);
        if (one.tree === null || other.tree === null) {
          refused++;
          return;
        }
        merged++;
        expect(contentsOf(one.tree)).toEqual(contentsOf(other.tree));
        for (const at of new Set([...base.entries.keys(), ...first.entries.keys(), ...second.entries.keys()]))
          if (!isLinked(at, [base, first, second]))
            expect([at, contentOf(one.tree.get(at))]).toEqual([at, expected(base, first, second, at)]);
      }),
      { numRuns: runs(700) },
    );
    expect(merged).toBeGreaterThan(60);
    expect(refused).toBeGreaterThan(60);
  });

  it.each<[Policy, 1 | 2]>([
    ['theirs', 1],
    ['mine', 2],
  ])('with %s make a sound tree in which that side lost no file', async (policy, side) => {
    await fc.assert(
      fc.asyncProperty(steps(8), steps(6), steps(6), async (prepare, theirs, mine) => {
        const all = randomStages(prepare, theirs, mine);
        const [base, first, second] = all;
        const { tree } = await commitBoth(base, first, second, policy);
        if (tree === null) throw new Error('refused in spite of the policy');
        for (const [at, entry] of all[side].entries)
          if (!isLinked(at, all) && contentOf(entry) !== contentOf(base.entries.get(at)))
            expect([at, contentOf(tree.get(at))]).toEqual([at, contentOf(entry)]);
      }),
      { numRuns: runs(700) },
    );
  });

  it('become the same with each policy where nothing conflicts', async () => {
    let merged = 0;
    await fc.assert(
      fc.asyncProperty(steps(6), steps(4), steps(4), async (prepare, theirs, mine) => {
        const all = randomStages(prepare, theirs, mine);
        const { tree } = await commitBoth(...all, 'fail');
        if (tree === null) return;
        merged++;
        for (const policy of ['mine', 'theirs'] as const) {
          const decided = await commitBoth(...all, policy);
          expect(decided.tree === null ? null : contentsOf(decided.tree)).toEqual(contentsOf(tree));
        }
      }),
      { numRuns: runs(200) },
    );
    expect(merged).toBeGreaterThan(20);
  });
});

/** The bytes of a hard link change with the other names of the file: tests of their own look at that. */
function isLinked(at: string, trees: readonly ModelTree[]): boolean {
  const inos = new Set(trees.map((tree) => tree.entries.get(at)?.ino));
  return trees.some((tree) =>
    [...tree.entries.values()].some(({ ino, nlink, kind }) => nlink > 1 && kind !== 'dir' && inos.has(ino)),
  );
}

/** What a path must be when nothing conflicts: whoever changed it decides. */
function expected(base: ModelTree, first: ModelTree, second: ModelTree, at: string): string {
  const [before, one, other] = [base, first, second].map((tree) => contentOf(tree.entries.get(at)));
  return (one === before ? other : one) ?? '';
}

describe('a path that both changed', () => {
  const prepare: Edit = (tree) => {
    for (const dir of ['d', 'd/e', 'other']) tree.mkdir(dir);
    for (const file of ['f', 'g', 'd/x', 'd/e/y']) tree.write(file, `old ${file}`);
  };
  const both = (theirs: Edit, mine: Edit, policy: Policy = 'fail') =>
    commitBoth(...stages(prepare, theirs, mine), policy);

  it.each<[string, Edit, Edit, string[]]>([
    ['different bytes', (t) => t.write('f', 'A'), (t) => t.write('f', 'B'), ['f']],
    ['deleted there, changed here', (t) => t.remove('f'), (t) => t.write('f', 'B'), ['f']],
    ['deleted there, mode changed here', (t) => t.remove('f'), (t) => t.chmod('f', 0o600), ['f']],
    ['changed there, deleted here', (t) => t.write('f', 'A'), (t) => t.remove('f'), ['f']],
    ['new here in a deleted directory', (t) => t.remove('d'), (t) => t.write('d/new', 'B'), ['d/new']],
    ['new here in a renamed directory', (t) => t.rename('d', 'z'), (t) => t.write('d/new', 'B'), ['d/new']],
    [
      'new here in a directory that is another now',
      (t) => {
        t.rename('d', 'z');
        t.mkdir('d');
      },
      (t) => t.write('d/new', 'B'),
      ['d/new'],
    ],
    [
      'new here in a directory that is a file now',
      (t) => {
        t.remove('d');
        t.write('d', 'A');
      },
      (t) => t.write('d/new', 'B'),
      ['d/new'],
    ],
    ['new there in a directory deleted here', (t) => t.write('d/new', 'A'), (t) => t.remove('d'), ['d/new']],
    [
      'new there in a directory renamed here',
      (t) => t.write('d/new', 'A'),
      (t) => t.rename('d', 'z'),
      ['d/new'],
    ],
    [
      'new there in a directory that is another here',
      (t) => t.write('d/new', 'A'),
      (t) => {
        t.remove('d');
        t.mkdir('d');
      },
      ['d/new'],
    ],
    ['added twice, different', (t) => t.write('n', 'A'), (t) => t.write('n', 'B'), ['n']],
    ['added as a file and as a directory', (t) => t.write('n', 'A'), (t) => t.mkdir('n'), ['n']],
    ['renamed over by both', (t) => t.rename('f', 'n'), (t) => t.rename('g', 'n'), ['n']],
  ])('is a conflict: %s', async (_, theirs, mine, paths) => {
    const { tree, conflicts } = await both(theirs, mine);
    expect(tree).toBeNull();
    for (const at of paths) expect(conflicts).toContain(at);
  });

  it.each<[string, Edit, Edit, Record<string, string | undefined>]>([
    ['the same bytes', (t) => t.write('f', 'S'), (t) => t.write('f', 'S'), { f: 'S' }],
    ['deleted by both', (t) => t.remove('f'), (t) => t.remove('f'), { f: undefined }],
    ['added twice, equal', (t) => t.write('n', 'S'), (t) => t.write('n', 'S'), { n: 'S' }],
    [
      'a new directory of both',
      (t) => {
        t.mkdir('n');
        t.write('n/a', 'A');
      },
      (t) => {
        t.mkdir('n');
        t.write('n/b', 'B');
      },
      { 'n/a': 'A', 'n/b': 'B' },
    ],
    ['bytes there, mode here', (t) => t.write('f', 'A'), (t) => t.chmod('f', 0o600), { f: 'A' }],
    ['mode there, bytes here', (t) => t.chmod('f', 0o600), (t) => t.write('f', 'B'), { f: 'B' }],
    // Found with another seed.
    [
      'another directory here, into which went what was in the first',
      (t) => t.write('f', 'A'),
      (t) => {
        t.mkdir('n');
        t.rename('d/x', 'n/x');
        t.replace('n', 'd');
      },
      { f: 'A', 'd/x': 'old d/x' },
    ],
  ])('is no conflict: %s', async (_, theirs, mine, files) => {
    const { tree, conflicts } = await both(theirs, mine);
    expect(conflicts).toEqual([]);
    for (const [at, text] of Object.entries(files)) expect(tree?.get(at)?.size).toBe(text?.length);
  });

  it('keeps the mode that one side set beside the bytes of the other', async () => {
    const { tree } = await both(
      (t) => t.chmod('f', 0o600),
      (t) => t.write('f', 'B'),
    );
    expect(tree?.get('f')).toMatchObject({ mode: 0o600, size: 1 });
  });

  it('makes two files of one that both moved to different places', async () => {
    const { tree } = await both(
      (t) => t.rename('f', 'there'),
      (t) => t.rename('f', 'here'),
    );
    const [there, here] = [tree?.get('there'), tree?.get('here')];
    expect([there?.nlink, here?.nlink]).toEqual([1, 1]);
    expect(there?.ino).not.toBe(here?.ino);
    expect(there?.sha256).toBe(here?.sha256);
  });

  it('keeps a file that they moved where mine has a directory, though mine moved and wrote it elsewhere', async () => {
    const { tree } = await both(
      (t) => t.rename('f', 'n'),
      (t) => {
        t.rename('f', 'd/moved');
        t.mkdir('n');
        t.write('d/moved', 'B');
      },
      'theirs',
    );
    expect(tree?.get('n')).toMatchObject({ kind: 'file', size: 'old f'.length, nlink: 1 });
    expect(tree?.get('d/moved')).toMatchObject({ size: 1, nlink: 1 });
  });

  it('gives a hard link added here the bytes written there', async () => {
    const { tree } = await both(
      (t) => t.write('f', 'A'),
      (t) => t.link('f', 'linked'),
    );
    expect(tree?.get('linked')).toMatchObject({ ino: tree?.get('f')?.ino, nlink: 2, size: 1 });
  });

  it('gives a hard link added there the bytes written here', async () => {
    const { tree } = await both(
      (t) => t.link('f', 'other/linked'),
      (t) => t.write('f', 'B'),
    );
    expect(tree?.get('other/linked')).toMatchObject({ ino: tree?.get('f')?.ino, nlink: 2, size: 1 });
  });

  it('keeps what was written to a moved file that the other side gave one more name', async () => {
    const { tree } = await both(
      (t) => t.link('f', 'other/linked'),
      (t) => {
        t.rename('f', 'moved');
        t.write('moved', 'B');
      },
    );
    expect(tree?.get('moved')).toMatchObject({ size: 1, nlink: 2 });
    expect(tree?.get('other/linked')).toMatchObject({ size: 1, ino: tree?.get('moved')?.ino });
  });
});
