import { crc32 } from 'node:zlib';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import { Crc32Joiner } from '../../src/util/crc32-joiner.js';

test('the checksum of two byte strings comes from those of each', () => {
  const bytes = fc.uint8Array({ maxLength: 100 });
  const second = fc.uint8Array({ minLength: 1, maxLength: 5000 });
  fc.assert(
    fc.property(bytes, second, (a, b) => {
      const joined = new Crc32Joiner(b.length).join(crc32(Buffer.from(a)), crc32(Buffer.from(b)));
      expect(joined).toBe(crc32(Buffer.concat([a, b])));
    }),
  );
});
