import fc from 'fast-check';
import { expect, test } from 'vitest';
import { decodeEntry, encodeEntry } from '../../src/catalog/entry-row.js';
import { runs } from '../support/seed.js';
import { anyEntry } from './fake-trees.js';

test('an entry comes back from its row with the same fields, none more, none less', () => {
  fc.assert(
    fc.property(anyEntry, (entry) => {
      expect(decodeEntry(entry.dir, entry.name, encodeEntry(entry))).toStrictEqual(structuredClone(entry));
    }),
    { numRuns: runs(500) },
  );
});

test('a decoded entry keeps every field when it is copied', () => {
  fc.assert(
    fc.property(anyEntry, (entry) => {
      const decoded = decodeEntry(entry.dir, entry.name, encodeEntry(entry));
      expect({ ...decoded, mode: 0 }).toEqual({ ...entry, mode: 0 });
    }),
  );
});
