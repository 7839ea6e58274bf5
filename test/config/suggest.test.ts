import { expect, test } from 'vitest';
import { suggest } from '../../src/util/suggest.js';

const words = ['mount', 'unmount', 'commit', 'log', 'ls', 'cache-size'];

test.each([
  ['mont', 'mount'],
  ['comit', 'commit'],
  ['commti', 'commit'],
  ['lgo', 'log'],
  ['cache-sise', 'cache-size'],
  ['umount', 'unmount'],
])('%s is near %s', (word, near) => expect(suggest(word, words)).toBe(near));

test.each(['', 'frobnicate', 'zzz', 'x'])('%j is near nothing', (word) =>
  expect(suggest(word, words)).toBeUndefined(),
);
