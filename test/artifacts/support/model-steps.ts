import fc from 'fast-check';

/** What random tests of one working view do. A path that begins with `#n` begins at what is held there, without a look-up. */
export type Op =
  | { op: 'mkdir' | 'create' | 'unlink' | 'rmdir' | 'open' | 'read'; path: string }
  | { op: 'write'; path: string; offset: number; length: number }
  | { op: 'truncate'; path: string; size: number }
  | { op: 'allocate'; path: string; how: How; offset: number; length: number; keepSize: boolean }
  | { op: 'copy'; path: string; to: string; offset: number; toOffset: number; length: number }
  | { op: 'rename'; path: string; to: string; flag: 'plain' | 'noReplace' | 'exchange' }
  | { op: 'link'; path: string; to: string }
  | { op: 'symlink'; path: string; target: string }
  | { op: 'chmod'; path: string; mode: number }
  | { op: 'setxattr'; path: string; value: string | null }
  | { op: 'writeOpen'; slot: number; offset: number; length: number }
  | { op: 'readOpen' | 'close'; slot: number }
  /** As the kernel does with what it knows: it goes on by number, and forgets when it likes. */
  | { op: 'hold'; path: string; as: string }
  | { op: 'holdUnnamed'; path: string; isLinkable: boolean; as: string }
  | { op: 'release'; as: string };

type How = 'allocate' | 'punch' | 'zero';

/** Where a daemon is killed: at a named step of a commit, or before or after its record has reached the store. */
export const crashPoints = [
  'sealed',
  'planned',
  'uploaded',
  'saved',
  'before the record',
  'after the record',
  'published',
  'applied',
  'retired',
  'cleaned',
] as const;

export type Step =
  | Op
  | { op: 'commit'; during: Op[] }
  /** Small files are sent before the commit, while they are changed. */
  | { op: 'ahead'; during: Op[] }
  | { op: 'crash'; at: string; during: Op[] }
  | { op: 'discard' | 'restart' | 'forget' | 'fail' | 'look' };

// Few names, so that operations often meet the same ones.
const name = fc.constantFrom('a', 'a', 'a', 'b', 'b', 'c');
const depth = fc.constantFrom(1, 1, 1, 2, 2, 3);
const path = depth
  .chain((count) => fc.array(name, { minLength: count, maxLength: count }))
  .map((names) => names.join('/'));
const held = fc.constantFrom('#0', '#1', '#2', '#3');
const heldPath = fc.tuple(held, path).map(([as, below]) => `${as}/${below}`);
/** Of a name, and of a thing that may be held itself. */
const place = fc.oneof({ weight: 3, arbitrary: path }, { weight: 1, arbitrary: heldPath });
const thing = fc.oneof({ weight: 3, arbitrary: place }, { weight: 3, arbitrary: held });
// The last one is beyond what small files share staging files for.
const offset = fc.constantFrom(0, 0, 1, 3, 10, 4096, 40_000);
const length = fc.integer({ min: 0, max: 6 });
const slot = fc.integer({ min: 0, max: 2 });

const nameOps: fc.WeightedArbitrary<Op>[] = [
  { weight: 3, arbitrary: fc.record({ op: fc.constant('mkdir' as const), path: place }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('create' as const), path: place }) },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('rename' as const),
      path: place,
      to: place,
      flag: fc.constantFrom('plain' as const, 'plain' as const, 'noReplace' as const, 'exchange' as const),
    }),
  },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('link' as const), path: thing, to: place }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('unlink' as const), path: place }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('rmdir' as const), path: place }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('symlink' as const), path: place, target: name }),
  },
];

const contentOps: fc.WeightedArbitrary<Op>[] = [
  { weight: 4, arbitrary: fc.record({ op: fc.constant('write' as const), path: thing, offset, length }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('truncate' as const), path: thing, size: offset }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('allocate' as const),
      path: thing,
      how: fc.constantFrom('allocate' as const, 'punch' as const, 'zero' as const),
      offset,
      length: fc.constantFrom(1, 3, 5000),
      keepSize: fc.boolean(),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('copy' as const),
      path: thing,
      to: thing,
      offset,
      toOffset: offset,
      length: fc.constantFrom(2, 5000, 50_000),
    }),
  },
];

const attributeOps: fc.WeightedArbitrary<Op>[] = [
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('chmod' as const),
      path: thing,
      mode: fc.constantFrom(0o600, 0o755),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('setxattr' as const),
      path: thing,
      value: fc.constantFrom('x', 'yy', null),
    }),
  },
];

const handleOps: fc.WeightedArbitrary<Op>[] = [
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constantFrom('open' as const, 'read' as const), path: thing }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('writeOpen' as const), slot, offset, length }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('readOpen' as const, 'close' as const), slot }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('hold' as const), path: place, as: held }) },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('holdUnnamed' as const),
      path: fc.oneof(place, fc.constant('')),
      isLinkable: fc.boolean(),
      as: held,
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('release' as const), as: held }) },
];

const op: fc.Arbitrary<Op> = fc.oneof(...nameOps, ...contentOps, ...attributeOps, ...handleOps);

export const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: op },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('commit' as const),
      during: fc.array(op, { maxLength: 6 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('ahead' as const),
      during: fc.array(op, { maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('crash' as const),
      at: fc.constantFrom(...crashPoints),
      during: fc.array(op, { maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constantFrom(
        'discard' as const,
        'restart' as const,
        'forget' as const,
        'fail' as const,
        'look' as const,
      ),
    }),
  },
);

const fewNames = fc.constantFrom('x', 'x', 'y', 'y', 'a/x', 'a/y', '#0/x', 'd/x');
const heldFile = fc.constantFrom('#1', '#1', '#2');

const linkOp: fc.Arbitrary<Op> = fc.oneof(
  { weight: 4, arbitrary: fc.record({ op: fc.constant('link' as const), path: heldFile, to: fewNames }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('unlink' as const), path: fewNames }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('create' as const), path: fewNames }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('hold' as const), path: fewNames, as: heldFile }) },
  {
    weight: 3,
    arbitrary: fc.record({
      op: fc.constant('rename' as const),
      path: fewNames,
      to: fewNames,
      flag: fc.constantFrom('plain' as const, 'exchange' as const),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('write' as const), path: heldFile, offset, length }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('chmod' as const),
      path: heldFile,
      mode: fc.constantFrom(0o600, 0o755),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('rename' as const),
      path: fc.constantFrom('a', 'd'),
      to: fc.constantFrom('a', 'd'),
      flag: fc.constant('plain' as const),
    }),
  },
);

/** A new file that the kernel holds gets another name, and may lose the one that it is known by. */
const newLinked: fc.Arbitrary<Step[]> = fc
  .record({ path: fewNames, to: fewNames, as: heldFile, isUnlinked: fc.boolean() })
  .map(({ path, to, as, isUnlinked }) => [
    { op: 'create', path },
    { op: 'hold', path, as },
    { op: 'link', path: as, to },
    ...(isUnlinked ? [{ op: 'unlink' as const, path }] : []),
  ]);

const linkStep: fc.Arbitrary<Step> = fc.oneof(
  { weight: 8, arbitrary: linkOp },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('commit' as const),
      during: fc.array(linkOp, { maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constantFrom('discard' as const, 'restart' as const, 'forget' as const, 'look' as const),
    }),
  },
);

/** Files of several names, of which the kernel holds some, and most of them are committed. */
export const linkSteps: fc.Arbitrary<Step[]> = fc
  .array(
    fc.oneof({ weight: 8, arbitrary: linkStep.map((one) => [one]) }, { weight: 1, arbitrary: newLinked }),
    { minLength: 1, maxLength: 40, size: 'max' },
  )
  .map((steps) => steps.flat());

/** Something to work on: without it most random operations would name nothing. */
export const prepared: readonly Step[] = [
  { op: 'mkdir', path: 'a' },
  { op: 'mkdir', path: 'a/b' },
  { op: 'mkdir', path: 'a/b/c' },
  { op: 'mkdir', path: 'b' },
  { op: 'write', path: 'a/c', offset: 0, length: 0 },
  { op: 'create', path: 'a/c' },
  { op: 'write', path: 'a/c', offset: 0, length: 5 },
  { op: 'create', path: 'a/b/a' },
  { op: 'write', path: 'a/b/a', offset: 0, length: 3 },
  { op: 'link', path: 'a/b/a', to: 'b/a' },
  { op: 'create', path: 'b/c' },
  { op: 'commit', during: [] },
  { op: 'hold', path: 'a', as: '#0' },
  { op: 'hold', path: 'b/a', as: '#1' },
];
