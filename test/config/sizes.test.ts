import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { formatBytes, parseBytes } from '../../src/config/sizes.js';

describe('sizes', () => {
  test.each([
    ['0', 0],
    ['4096', 4096],
    ['1b', 1],
    ['1k', 1024],
    ['512MiB', 512 * 2 ** 20],
    ['64m', 64 * 2 ** 20],
    ['1.5 GiB', 1.5 * 2 ** 30],
    ['10GB', 10e9],
    ['2T', 2 * 2 ** 40],
  ])('%s is %d bytes', (text, bytes) => expect(parseBytes(text)).toBe(bytes));

  test.each(['', 'MiB', '-1', '1 000', '1PiB', '1e3', 'NaN', '0x10'])('%j is no size', (text) => {
    expect(() => parseBytes(text)).toThrow(/no size/);
  });

  test('a size beyond all files is refused', () =>
    expect(() => parseBytes('9007199254740993')).toThrow(/too large/));

  test('what is shown is at most a twentieth off and reads back', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 2 ** 50 }), (bytes) => {
        const text = formatBytes(bytes);
        expect(text).toMatch(/^\d{1,4}(\.\d)?(B|[KMGTP]iB)$/);
        if (text.includes('P')) return;
        expect(Math.abs(parseBytes(text) - bytes)).toBeLessThanOrEqual(bytes / 20);
      }),
    );
  });

  test('units change where they should', () => {
    expect([0, 1023, 1024, 1024 ** 2 - 1, 1.5 * 2 ** 30].map(formatBytes)).toEqual([
      '0B',
      '1023B',
      '1KiB',
      '1MiB',
      '1.5GiB',
    ]);
  });
});
