import fc from 'fast-check';
import type { Entry, Time } from '../../src/model/entry.js';

/** Names as directories hold them: any well-formed text, and texts that trip over JSON, paths and sorting. */
const anyName = fc.oneof(
  { weight: 3, arbitrary: fc.stringMatching(/^[a-d]{1,3}$/) },
  fc
    .string({ unit: 'binary', minLength: 1, maxLength: 8 })
    .map((name) => name.replaceAll('/', '_').replaceAll('\0', '_')),
  fc.constantFrom(
    '__proto__',
    'constructor',
    '"',
    '\\',
    '\n',
    '\u2028',
    '😀',
    '\ufffd',
    '\uffff',
    'ä',
    'a\u0308',
    ' ',
  ),
);

const anyTime: fc.Arbitrary<Time> = fc.record({
  s: fc.integer({ min: -(2 ** 40), max: 2 ** 40 }),
  ns: fc.integer({ min: 0, max: 999_999_999 }),
});

const anyExtra = fc.dictionary(
  fc.oneof(anyName, fc.constantFrom('ref', 'compression')).map((name) => `x-${name}`),
  fc.jsonValue(),
  { minKeys: 1, maxKeys: 3 },
);

const whole = fc.nat({ max: 2 ** 31 - 1 });

/** Any entry the format can hold, whether or not it makes sense as a file. */
export const anyEntry: fc.Arbitrary<Entry> = fc
  .record(
    {
      dir: fc.array(anyName, { maxLength: 2 }).map((names) => names.join('/')),
      name: anyName,
      kind: fc.constantFrom('file', 'dir', 'symlink', 'fifo', 'socket', 'char', 'block'),
      ino: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      mode: fc.nat({ max: 0o7777 }),
      uid: whole,
      gid: whole,
      nlink: whole,
      size: fc.nat({ max: Number.MAX_SAFE_INTEGER }),
      mtime: anyTime,
      ctime: anyTime,
      atime: anyTime,
      extents: fc.array(fc.record({ object: fc.option(fc.string()), offset: fc.nat(), length: fc.nat() }), {
        minLength: 1,
        maxLength: 3,
      }),
      sha256: fc.stringMatching(/^[0-9a-f]{64}$/),
      target: fc.string({ unit: 'binary' }),
      rdev: whole,
      xattrs: fc.dictionary(anyName, fc.base64String()),
      extra: anyExtra,
    },
    { requiredKeys: ['dir', 'name', 'kind', 'ino', 'mode', 'uid', 'gid', 'nlink', 'size', 'mtime', 'ctime'] },
  )
  .map((entry) => JSON.parse(JSON.stringify(entry)) as Entry);
