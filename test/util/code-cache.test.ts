import { mkdtempSync, readFileSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Script } from 'node:vm';
import { crc32 } from 'node:zlib';
import { afterEach, beforeEach, expect, test } from 'vitest';
import { CodeCache } from '../../src/util/code-cache.js';

let program: string;
beforeEach(() => {
  program = mkdtempSync(join(tmpdir(), 'artifactfs-code-'));
  write('main-a.js', `exports.sum = (a, b) => a + b; exports.other = require('./other-b.js').name;`);
  write(
    'other-b.js',
    `exports.name = require('node:path').basename(__filename); exports.main = require('./main-a.js');`,
  );
});
afterEach(() => rmSync(program, { recursive: true, force: true }));

const path = (name: string) => join(program, name);
const write = (name: string, text: string | Buffer) => writeFileSync(path(name), text);
const read = (name: string) => readFileSync(path(name));

/** Loads the program; answers what it found out. */
function run(cache = new CodeCache(program)): string {
  const main = cache.load('main-a.js') as { sum(a: number, b: number): number; other: string };
  expect(cache.load('main-a.js')).toBe(main);
  expect((cache.load('other-b.js') as { main: unknown }).main).toBe(main);
  return `${main.sum(1, 2)} ${main.other}`;
}

function keep(): void {
  const cache = new CodeCache(program);
  run(cache);
  cache.save();
}

const wrapped = (name: string) =>
  `(function (exports, require, module, __filename, __dirname) { ${read(name)}\n})`;

test('what is kept lies beside each file, V8 takes it, and the program runs with it as without', () => {
  expect(run()).toBe('3 other-b.js');
  keep();
  for (const name of ['main-a.js', 'other-b.js']) {
    const cachedData = read(`${name}.code`).subarray(8);
    expect(new Script(wrapped(name), { cachedData }).cachedDataRejected).toBe(false);
  }
  expect(run()).toBe('3 other-b.js');
});

/**
 * What is kept of a file that was otherwise, as long, and which says that it belongs to the file as it is now: so that it
 * shows in what the program does, whether it is used. This process has not compiled that file before.
 */
function keepOther(): Buffer {
  keep();
  write('main-a.js', read('main-a.js').toString().replace('a + b', 'a * b'));
  const code = read('main-a.js.code');
  code.writeUInt32LE(crc32(read('main-a.js')), 0);
  return code;
}

test('what is kept is what runs', () => {
  write('main-a.js.code', keepOther());
  expect(run()).toBe('3 other-b.js');
});

const damages: readonly (readonly [string, (code: Buffer) => Buffer])[] = [
  ['belongs to another file of that name and length', () => read('main-a.js.code')],
  ['is damaged', flipped],
  ['is cut', (code) => code.subarray(0, code.length >> 1)],
  ['is shorter than its header', (code) => code.subarray(0, 5)],
  ['is empty', () => Buffer.alloc(0)],
];
test.each(damages)('what %s is not used', (_, damage) => {
  write('main-a.js.code', damage(keepOther()));
  expect(run()).toBe('2 other-b.js');
});

function flipped(bytes: Buffer): Buffer {
  bytes[bytes.length >> 1] = (bytes[bytes.length >> 1] ?? 0) ^ 1;
  return bytes;
}

test('what could not be loaded is loaded when it is there', () => {
  const cache = new CodeCache(program);
  renameSync(path('other-b.js'), path('away'));
  expect(() => cache.load('main-a.js')).toThrow(/ENOENT.*other-b\.js/);
  renameSync(path('away'), path('other-b.js'));
  expect(cache.load('main-a.js')).toMatchObject({ other: 'other-b.js' });
});
