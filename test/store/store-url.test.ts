import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { describe, expect, it } from 'vitest';
import type { ArtifactError } from '../../src/model/errors.js';
import { openStore } from '../../src/store/open-store.js';
import { parseStoreUrl } from '../../src/store/store-url.js';
import { FaultStore } from '../../src/store/wrap/fault.js';
import { expectCode } from './contract.js';

describe('parseStoreUrl', () => {
  it('knows buckets with and without a prefix', () => {
    expect(parseStoreUrl('s3://bucket')).toEqual({ kind: 's3', bucket: 'bucket', prefix: '' });
    expect(parseStoreUrl('s3://bucket/')).toEqual({ kind: 's3', bucket: 'bucket', prefix: '' });
    expect(parseStoreUrl('S3://b-1.x/a b/%20/')).toEqual({ kind: 's3', bucket: 'b-1.x', prefix: 'a b/%20' });
  });

  it('knows directories by URL and by path', () => {
    expect(parseStoreUrl('file:///a/b%20c')).toEqual({ kind: 'file', dir: '/a/b c' });
    expect(parseStoreUrl('file://localhost/a')).toEqual({ kind: 'file', dir: '/a' });
    expect(parseStoreUrl('/a/b')).toEqual({ kind: 'file', dir: '/a/b' });
    expect(parseStoreUrl('rel/dir')).toEqual({ kind: 'file', dir: resolve('rel/dir') });
    expect(parseStoreUrl('./with:colon')).toEqual({ kind: 'file', dir: resolve('with:colon') });
  });

  it('knows memory by name', () => {
    expect(parseStoreUrl('memory:')).toEqual({ kind: 'memory', name: '' });
    expect(parseStoreUrl('memory:x')).toEqual({ kind: 'memory', name: 'x' });
  });

  it('refuses everything else, and says what there is', () => {
    for (const url of [
      '',
      's3:',
      's3://',
      's3:///prefix',
      's3://b',
      's3:bucket',
      'file:x',
      'file://host/a',
      `s3://bucket/${'p'.repeat(121)}`,
    ])
      expect(() => parseStoreUrl(url)).toThrow(expect.objectContaining({ code: 'Invalid' }));
    const error = thrown('gs://bucket');
    expect(error).toMatchObject({ code: 'Invalid', message: expect.stringContaining("'gs:'") });
    for (const scheme of ['s3://', 'file:///', 'memory:']) expect(error.details.hint).toContain(scheme);
  });

  it('refuses keys in the URL without repeating them', () => {
    for (const url of [
      's3://AKIAKEY:hunter2@bucket/prefix',
      's3://hunter2@bucket',
      's3://bucket/p?secretAccessKey=hunter2',
      's3://bucket#hunter2',
      'https://AKIAKEY:hunter2@s3.example.com/bucket',
      'file://hunter2@host/x',
    ]) {
      const error = thrown(url);
      expect(error.code).toBe('Invalid');
      expect(JSON.stringify([error.message, error.details])).not.toContain('hunter2');
    }
    expect(thrown('s3://AKIAKEY:hunter2@bucket').details.hint).toContain('AWS_ACCESS_KEY_ID');
  });
});

describe('openStore', () => {
  it('gives one memory store per name, for the life of the process', async () => {
    const name = `memory:${randomUUID()}`;
    await using first = await openStore(name);
    await first.put('a', Buffer.from('x'));
    await first[Symbol.asyncDispose]();
    await using second = await openStore(name);
    expect(String(await second.get('a'))).toBe('x');
    await using other = await openStore(`${name}2`);
    await expectCode('NotFound', other.get('a'));
    expect(first.url).toBe(name);
  });

  it('makes the directory only when asked', async () => {
    const base = await mkdtemp(join(tmpdir(), 'artifactfs-open-'));
    try {
      const url = `file://${base}/a%20b/c`;
      await expectCode('StoreMissing', openStore(url));
      await using made = await openStore(url, { create: true });
      await made.put('a', Buffer.from('x'));
      await using again = await openStore(join(base, 'a b', 'c'));
      expect(String(await again.get('a'))).toBe('x');
      expect(again.url).toBe(url);
    } finally {
      await rm(base, { recursive: true });
    }
  });

  it('composes retries, limits and logs around what a test puts in', async () => {
    const lines: Record<string, unknown>[] = [];
    let faults: FaultStore | undefined;
    await using store = await openStore(`memory:${randomUUID()}`, {
      retry: { delayMsMin: 0, attemptsMax: 3 },
      logger: { debug: (fields) => lines.push(fields) },
      wrap: (inner) => {
        faults = new FaultStore(inner, { faults: [{ on: 'put', times: 2, effect: { kind: 'fail' } }] });
        return faults;
      },
    });
    await store.put('a', Buffer.from('x'));
    expect(faults?.calls).toHaveLength(3);
    expect(lines.map(({ error }) => error)).toEqual(['StoreUnavailable', 'StoreUnavailable', undefined]);
  });
});

function thrown(url: string): ArtifactError {
  try {
    parseStoreUrl(url);
  } catch (error) {
    return error as ArtifactError;
  }
  throw new Error(`${url} was accepted`);
}
