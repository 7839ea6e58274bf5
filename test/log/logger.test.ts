import { mkdtempSync, readFileSync, renameSync, rmSync, statSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import fc from 'fast-check';
import { afterEach, describe, expect, test } from 'vitest';
import { createLogger, type LogLevel, type RootLogger } from '../../src/log/logger.js';
import { ArtifactError } from '../../src/model/errors.js';

function logInto(lines: string[], format: 'json' | 'text' = 'json', level: LogLevel = 'trace'): RootLogger {
  return createLogger({ level, format, destination: { write: (line) => void lines.push(line) } });
}

const fieldsOf = (line: string | undefined) => JSON.parse(line ?? 'null') as Record<string, unknown>;

const directories: string[] = [];
afterEach(() => {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true });
});

describe('lines', () => {
  test('hold time, level, logger, message and fields', () => {
    const lines: string[] = [];
    logInto(lines).named('store').warn({ key: 'a/b', ms: 12 }, 'slow 100% request %s');
    expect(lines).toHaveLength(1);
    expect(fieldsOf(lines[0])).toEqual({
      level: 'warn',
      time: expect.stringMatching(/^\d{4}-\d\d-\d\dT[\d:.]+Z$/),
      pid: process.pid,
      logger: 'store',
      key: 'a/b',
      ms: 12,
      msg: 'slow 100% request %s',
    });
  });

  test('keep fields whose names every line has, under another name', () => {
    const lines: string[] = [];
    logInto(lines).info({ level: 3, msg: 'x', time: 0 }, 'm');
    expect(fieldsOf(lines[0])).toMatchObject({ level: 'info', level_: 3, msg: 'm', msg_: 'x', time_: 0 });
  });

  test('follow the level, which named loggers made before share', () => {
    const lines: string[] = [];
    const root = logInto(lines, 'json', 'warn');
    const named = root.named('vfs');
    named.info({}, 'one');
    expect(named.enabled('info')).toBe(false);
    root.setLevel('debug');
    named.debug({}, 'two');
    expect([root.level, named.enabled('debug')]).toEqual(['debug', true]);
    root.setLevel('silent');
    named.error({}, 'three');
    expect(lines.map((line) => fieldsOf(line)['msg'])).toEqual(['two']);
  });

  test('show an error with code, details and the chain of causes, and a stack only for what has no code', () => {
    const lines: string[] = [];
    const cause = Object.assign(new Error('socket hang up'), { code: 'ECONNRESET', request: { body: 'x' } });
    const error = new ArtifactError(
      'StoreUnavailable',
      'GET a/b failed',
      { hint: 'try later', key: 'a/b' },
      cause,
    );
    logInto(lines).error({ err: error }, 'read');
    expect(fieldsOf(lines[0])['err']).toEqual({
      type: 'ArtifactError',
      code: 'StoreUnavailable',
      message: 'GET a/b failed',
      details: { hint: 'try later', key: 'a/b' },
      cause: {
        type: 'Error',
        code: 'ECONNRESET',
        message: 'socket hang up',
        stack: expect.stringContaining('logger.test'),
      },
    });
  });

  test('survive any value', () => {
    const lines: string[] = [];
    const log = logInto(lines);
    const loop: Record<string, unknown> = { big: 1n, buffer: Buffer.alloc(3), when: new Date(NaN) };
    loop['loop'] = loop;
    loop['throws'] = Object.defineProperty({}, 'x', {
      enumerable: true,
      get: () => {
        throw new Error('no');
      },
    });
    let chain: Error = new Error('first');
    for (let i = 0; i < 50; i++) chain = new Error(`after ${i}`, { cause: chain });
    log.info({ loop, chain, map: new Map([['k', new Set([1])]]), many: Array(500).fill(0) }, 'odd');
    expect(fieldsOf(lines[0])).toMatchObject({
      loop: { big: '1', buffer: '[3 bytes]', when: 'Invalid Date', loop: '[circular]' },
      map: { k: [1] },
    });
    fc.assert(
      fc.property(fc.object({ withBigInt: true, withDate: true, withMap: true, withSet: true }), (value) => {
        lines.length = 0;
        log.info({ value }, 'any');
        expect(typeof fieldsOf(lines[0])).toBe('object');
      }),
    );
  });
});

describe('text format', () => {
  test('is one line, errors indented below', () => {
    const lines: string[] = [];
    const log = logInto(lines, 'text').named('cache');
    log.warn({ path: 'a b', bytes: 5 }, 'evicted');
    log.error(
      {
        err: new ArtifactError(
          'Corrupt',
          'bad block',
          { hint: 'verify', block: 3 },
          new ArtifactError('NoSpace', 'x'),
        ),
      },
      'read failed',
    );
    expect(lines[0]).toMatch(/^\S+Z WARN {2}\[cache\] evicted path="a b" bytes=5\n$/);
    expect(lines[1]?.split('\n').slice(1)).toEqual([
      '  Corrupt: bad block block=3',
      '    hint: verify',
      '    caused by NoSpace: x',
      '',
    ]);
  });

  test('never lets a file name reach the terminal as control characters or as a line of its own', () => {
    const lines: string[] = [];
    const log = logInto(lines, 'text');
    const nasty = 'a\n2026 ERROR fake\u001b[2J\u009b\u202e\r';
    log.info({ path: nasty, [nasty]: 1 }, nasty);
    expect(lines[0]?.slice(0, -1)).not.toMatch(/[\p{Cc}\u202e]/u);
    log.info({ err: new ArtifactError('NotFound', nasty) }, 'x');
    expect(lines[1]?.split('\n')).toHaveLength(3);
  });
});

describe('files', () => {
  test('are private, appended to, and opened again after rotation', () => {
    const directory = mkdtempSync(join(tmpdir(), 'artifactfs-log-'));
    directories.push(directory);
    const path = join(directory, 'daemon.log');
    for (const message of ['one', 'two']) {
      using log = createLogger({ level: 'info', format: 'json', destination: path });
      log.info({}, message);
      // Written when the call returned: the file is read while the log is open.
      expect(readFileSync(path, 'utf8')).toContain(message);
    }
    expect(statSync(path).mode & 0o777).toBe(0o600);
    expect(readFileSync(path, 'utf8').trimEnd().split('\n')).toHaveLength(2);
  });

  test('that were rotated away are followed by a new one', async () => {
    const directory = mkdtempSync(join(tmpdir(), 'artifactfs-log-'));
    directories.push(directory);
    const path = join(directory, 'daemon.log');
    using log = createLogger({ level: 'info', format: 'text', destination: path });
    log.info({}, 'before');
    renameSync(path, `${path}.1`);
    log.reopen();
    log.info({}, 'after');
    expect(readFileSync(path, 'utf8')).toContain('after');
    expect(readFileSync(`${path}.1`, 'utf8')).not.toContain('after');
  });
});
