import { chmodSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import { loadConfig } from '../../src/config/load.js';
import { environmentName, optionNames, optionSpec, propertyName } from '../../src/config/options.js';
import { isCode } from '../../src/model/errors.js';

let home: string;
beforeEach(() => {
  home = mkdtempSync(join(tmpdir(), 'artifactfs-config-'));
});
afterEach(() => rmSync(home, { recursive: true, force: true }));

const environment = (more: Record<string, string> = {}) => ({ HOME: home, ...more });
const load = (flags: Record<string, unknown> = {}, env: Record<string, string> = {}, configFile?: string) =>
  loadConfig({ flags, env: environment(env), cwd: home, configFile });

function writeConfig(settings: unknown, mode = 0o600): string {
  mkdirSync(join(home, '.config/artifactfs'), { recursive: true });
  const path = join(home, '.config/artifactfs/config.json');
  writeFileSync(path, typeof settings === 'string' ? settings : JSON.stringify(settings));
  chmodSync(path, mode);
  return path;
}

function refusal(body: () => unknown): { code: string; message: string; hint: string | undefined } {
  try {
    body();
  } catch (error) {
    if (isCode(error, 'Invalid', 'AccessDenied', 'NotFound', 'TooLarge')) {
      return { code: error.code, message: error.message, hint: error.details.hint };
    }
    throw error;
  }
  throw new Error('nothing was refused');
}

describe('where a value comes from', () => {
  test('flags win over the environment, that over the file, that over the default', () => {
    expect(load().config.logLevel).toBe('info');
    expect(load().origin['log-level']).toBe('default');
    writeConfig({ 'log-level': 'debug' });
    expect(load().config.logLevel).toBe('debug');
    expect(load().origin['log-level']).toBe('file');
    const env = { ARTIFACTFS_LOG_LEVEL: 'warn' };
    expect(load({}, env).config.logLevel).toBe('warn');
    expect(load({}, env).origin['log-level']).toBe('environment');
    expect(load({ 'log-level': 'error' }, env).config.logLevel).toBe('error');
    expect(load({ 'log-level': 'error' }, env).origin['log-level']).toBe('flag');
  });

  test('every option can be set in each way', () => {
    const samples: Record<string, [unknown, unknown]> = {
      text: ['x', 'x'],
      url: ['http://localhost:1', 'http://localhost:1'],
      path: ['/p', '/p'],
      store: ['s3://b/p', 's3://b/p'],
      flag: [true, true],
      bytes: ['1GiB', 2 ** 30],
      seconds: ['7', 7],
    };
    for (const name of optionNames) {
      const spec = optionSpec(name);
      const [raw, value] =
        spec.type === 'choice' ? [spec.choices?.[1], spec.choices?.[1]] : (samples[spec.type] ?? []);
      // Options of S3, and those that come in pairs, need their company.
      const company: Record<string, string> = spec.s3 ? { ARTIFACTFS_STORE: 's3://b/p' } : {};
      if (name === 'access-key-id') company['ARTIFACTFS_SECRET_ACCESS_KEY'] = 's';
      if (name === 'secret-access-key') company['ARTIFACTFS_ACCESS_KEY_ID'] = 'k';
      rmSync(join(home, '.config'), { recursive: true, force: true });
      const read = (loaded: ReturnType<typeof load>) =>
        (loaded.config as Record<string, unknown>)[propertyName(name)];
      expect(read(load({ [name]: raw }, company)), `--${name}`).toBe(value);
      expect(
        read(load({}, { ...company, [environmentName(name)]: String(raw) })),
        environmentName(name),
      ).toBe(value);
      writeConfig({ [name]: raw });
      if (name !== 'store') expect(read(load({}, company)), `${name} in the file`).toBe(value);
    }
  });

  test('an empty variable is not set', () => {
    expect(load({}, { ARTIFACTFS_LOG_LEVEL: '' }).origin['log-level']).toBe('default');
  });

  test('the directories of the XDG specification are followed, but not relative ones', () => {
    expect(load().config.stateDir).toBe(join(home, '.local/state/artifactfs'));
    expect(load({}, { XDG_STATE_HOME: '/s' }).config.stateDir).toBe('/s/artifactfs');
    expect(load({}, { XDG_STATE_HOME: 's' }).config.stateDir).toBe(join(home, '.local/state/artifactfs'));
    expect(load({}, { XDG_DATA_HOME: '/d' }).config.store).toBe('file:///d/artifactfs');
  });

  test('a named file must be there, the usual one need not', () => {
    expect(load().file).toBeNull();
    expect(refusal(() => load({}, {}, 'none.json')).code).toBe('NotFound');
    expect(refusal(() => load({}, { ARTIFACTFS_CONFIG: 'none.json' })).message).toContain(
      join(home, 'none.json'),
    );
    writeFileSync(join(home, 'other.json'), '{"region": "r", "store": "s3://b"}');
    expect(load({}, {}, 'other.json').config.region).toBe('r');
  });

  test('the result cannot be changed', () => {
    const { config } = load();
    expect(Object.isFrozen(config)).toBe(true);
  });
});

describe('values', () => {
  test.each([
    ['--cache-size', { 'cache-size': '12 parsecs' }, /--cache-size.*12 parsecs/],
    ['--cache-size', { 'cache-size': '1MiB' }, /--cache-size: 1MiB is less than 64MiB/],
    ['--stop-timeout', { 'stop-timeout': '-1' }, /--stop-timeout.*-1/],
    ['--refresh-interval', { 'refresh-interval': '90000' }, /90000 seconds is more than 86400 seconds/],
    ['--log-level', { 'log-level': 'loud' }, /--log-level.*loud.*trace, debug/],
    ['--endpoint', { endpoint: 'localhost:9000', store: 's3://b' }, /--endpoint/],
    ['--store', { store: 'ftp://host/x' }, /--store.*ftp:/],
    ['twice', { region: ['a', 'b'], store: 's3://b' }, /--region is given more than once/],
    ['--state-dir', { 'state-dir': '' }, /--state-dir.*empty/],
  ])('%s that is wrong is named', (_what, flags, message) => {
    const refused = refusal(() => load(flags));
    expect(refused.code).toBe('Invalid');
    expect(refused.message).toMatch(message);
  });

  test('a wrong variable and a wrong setting are named too', () => {
    expect(refusal(() => load({}, { ARTIFACTFS_READ_ONLY: 'maybe' })).message).toContain(
      'ARTIFACTFS_READ_ONLY',
    );
    const path = writeConfig({ memory: 'lots' });
    expect(refusal(() => load()).message).toContain(`${path}: memory`);
  });

  test('an unknown setting proposes the one that was meant', () => {
    writeConfig({ 'cache-sise': '1GiB' });
    expect(refusal(() => load()).hint).toBe("did you mean 'cache-size'?");
  });

  test.each(['{', '[]', '"x"', 'null'])('a file that holds %s is refused', (text) => {
    const path = writeConfig(text);
    expect(refusal(() => load()).message).toContain(path);
  });

  test.each([
    ['relative', () => `file://${home}/relative`],
    ['./a/../b/', () => `file://${home}/b`],
    ['/x//y/', () => 'file:///x/y'],
    ['file:///x/y/', () => 'file:///x/y'],
    ['file://localhost/x', () => 'file:///x'],
    ['FILE:///a%20b', () => 'file:///a%20b'],
    ['/a b', () => 'file:///a%20b'],
    ['S3://bucket/p/', () => 's3://bucket/p'],
    ['memory:', () => 'memory:'],
  ])('the store %s has one spelling', (given, expected) => {
    expect(load({ store: given }).config.store).toBe(expected());
  });
});

describe('contradictions', () => {
  test('options of S3 with another store', () => {
    const refused = refusal(() => load({ store: 'file:///x', endpoint: 'http://localhost:9' }));
    expect(refused.message).toBe('--endpoint is for s3:// stores, but the store is file:///x');
    expect(refusal(() => load({ 'path-style': true })).message).toContain('--path-style');
  });

  test('but one from a weaker source than the store is only ignored', () => {
    writeConfig({ store: 's3://usual', region: 'here', endpoint: 'http://localhost:9' });
    expect(load().config.region).toBe('here');
    const other = load({ store: 'file:///x' }).config;
    expect([other.store, other.region, other.endpoint]).toEqual(['file:///x', undefined, undefined]);
    expect(() => load({ store: 'file:///x' }, { ARTIFACTFS_REGION: 'r' })).not.toThrow();
    expect(refusal(() => load({}, { ARTIFACTFS_STORE: '/x', ARTIFACTFS_REGION: 'r' })).message).toContain(
      'ARTIFACTFS_REGION',
    );
  });

  test('half a pair of keys, or keys and a profile', () => {
    const env = { ARTIFACTFS_STORE: 's3://b', ARTIFACTFS_ACCESS_KEY_ID: 'k' };
    expect(refusal(() => load({}, env)).message).toBe("'access-key-id' is set without 'secret-access-key'");
    const both = { ...env, ARTIFACTFS_SECRET_ACCESS_KEY: 's' };
    expect(load({}, both).config.secretAccessKey).toBe('s');
    expect(refusal(() => load({ profile: 'p' }, both)).message).toMatch(
      /--profile and ARTIFACTFS_ACCESS_KEY_ID/,
    );
  });

  test('a state directory for a memory store', () => {
    expect(refusal(() => load({ store: 'memory:', 'state-dir': '/s' })).message).toContain('--state-dir');
  });
});

describe('secrets', () => {
  const settings = { store: 's3://b', 'access-key-id': 'k', 'secret-access-key': 's' };

  test('in a file that others may read are refused, with what to do', () => {
    const path = writeConfig(settings, 0o644);
    const refused = refusal(() => load());
    expect(refused.code).toBe('AccessDenied');
    expect(refused.hint).toBe(`run: chmod 600 ${path}`);
    writeConfig(settings, 0o600);
    expect(load().config.secretAccessKey).toBe('s');
  });

  test('in a store URL are not repeated by messages', () => {
    for (const store of ['https://key:hidden@host/x', 'file://key:hidden@host/x']) {
      expect(refusal(() => load({ store })).message).not.toContain('hidden');
    }
    expect(refusal(() => load({ store: 's3://b', endpoint: 'http://k:hidden@h' })).message).not.toContain(
      'hidden',
    );
  });
});
