import { type LifecycleRule, PutBucketLifecycleConfigurationCommand, S3Client } from '@aws-sdk/client-s3';
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import type { ObjectStore } from '../../src/store/object-store.js';
import { openStore } from '../../src/store/open-store.js';
import type { Finding } from '../../src/workspace/fsck/findings.js';
import { fsck } from '../../src/workspace/fsck/fsck.js';
import { type S3Server, startS3Server } from '../support/s3-server/server.js';
import { failure, openMachine, removeTemporaryDirectories, Shell } from './support/daemon.js';

afterEach(removeTemporaryDirectories);

async function fill(store: ObjectStore): Promise<void> {
  const machine = await openMachine({ store });
  const { artifacts } = machine;
  const shell = new Shell(artifacts.create(artifacts.root, 'model'));
  await shell.write('file', 'bytes');
  await shell.commit();
  await machine.close();
}

async function found(store: ObjectStore, paths: string[] = []): Promise<Finding[]> {
  const findings: Finding[] = [];
  for await (const one of fsck(store, { paths: paths.map((path) => [path]) })) findings.push(one);
  return findings;
}

test('a store without such rules has none', async () => {
  const store = new MemoryStore();
  await fill(store);
  expect(await found(store)).toEqual([]);
});

describe('in a bucket', () => {
  let server: S3Server;
  let store: ObjectStore;
  beforeAll(async () => {
    server = await startS3Server();
    const { endpoint, accessKeyId, secretAccessKey, bucket } = server;
    const retry = { attemptsMax: 2, sleep: async () => {} };
    store = await openStore(`s3://${bucket}/team/ws`, {
      s3: { endpoint, accessKeyId, secretAccessKey },
      retry,
    });
    await fill(store);
  });
  afterEach(() => server.control.clearFaults());
  afterAll(async () => {
    await store[Symbol.asyncDispose]();
    await server.close();
  });

  async function setRules(...Rules: LifecycleRule[]): Promise<void> {
    const { endpoint, accessKeyId, secretAccessKey, bucket } = server;
    const credentials = { accessKeyId, secretAccessKey };
    const client = new S3Client({ endpoint, credentials, region: 'us-east-1', forcePathStyle: true });
    const LifecycleConfiguration = { Rules };
    await client.send(new PutBucketLifecycleConfigurationCommand({ Bucket: bucket, LifecycleConfiguration }));
    client.destroy();
  }

  const rule = (more: Partial<LifecycleRule>): LifecycleRule => ({
    ID: 'tidy',
    Status: 'Enabled',
    Filter: { Prefix: '' },
    ...more,
  });
  const days = { Days: 30 };

  test('without rules nothing is said', async () => {
    expect(await found(store)).toEqual([]);
  });

  test.each<[string, LifecycleRule, string]>([
    ['all of the bucket', rule({ Expiration: days }), 'deletes all objects in'],
    [
      'a folder above, by the older form',
      { ID: 'tidy', Status: 'Enabled', Prefix: 'team/', Expiration: days },
      'deletes all objects in',
    ],
    [
      'a part of it',
      rule({ Filter: { Prefix: 'team/ws/a/' }, Expiration: days }),
      'deletes objects that begin with a/ in',
    ],
    [
      'large objects',
      rule({ Filter: { And: { Prefix: 'team/', ObjectSizeGreaterThan: 1000 } }, Expiration: days }),
      'deletes all objects in',
    ],
    ['an archive', rule({ Transitions: [{ Days: 30, StorageClass: 'GLACIER' }] }), 'archives all objects in'],
    [
      'another archive, beside what is read at once',
      rule({
        Transitions: [
          { Days: 7, StorageClass: 'GLACIER_IR' },
          { Days: 30, StorageClass: 'DEEP_ARCHIVE' },
        ],
      }),
      'archives all objects in',
    ],
  ])('a rule that takes current objects is told: %s', async (_, one, effect) => {
    await setRules(one);
    const [finding, ...others] = await found(store);
    expect(others).toEqual([]);
    expect(finding).toMatchObject({ severity: 'warning', code: 'lifecycle-rule', artifact: '', key: null });
    expect(finding?.what).toBe(
      `the rule "tidy" of the bucket ${effect} s3://test/team/ws, 30 days after they were written`,
    );
    expect(finding?.means).toContain('remove the rule');
  });

  test('each of several rules is told, and one that has a date with it', async () => {
    await setRules(rule({ Expiration: { Date: new Date('2030-02-03T00:00:00Z') } }), {
      ...rule({ Expiration: days }),
      ID: undefined,
    });
    expect((await found(store)).map(({ what }) => what)).toEqual([
      'the rule "tidy" of the bucket deletes all objects in s3://test/team/ws, from 2030-02-03 on',
      'a rule of the bucket deletes all objects in s3://test/team/ws, 30 days after they were written',
    ]);
  });

  test('who checks one artifact is not told of the bucket', async () => {
    await setRules(rule({ Expiration: days }));
    expect(await found(store, ['model'])).toEqual([]);
  });

  test.each<[string, LifecycleRule]>([
    ['ends unfinished uploads', rule({ AbortIncompleteMultipartUpload: { DaysAfterInitiation: 7 } })],
    ['deletes what is not current any more', rule({ NoncurrentVersionExpiration: { NoncurrentDays: 1 } })],
    [
      'archives what is not current any more',
      rule({ NoncurrentVersionTransitions: [{ NoncurrentDays: 1, StorageClass: 'GLACIER' }] }),
    ],
    ['removes markers', rule({ Expiration: { ExpiredObjectDeleteMarker: true } })],
    [
      'moves to a class that is read at once',
      rule({ Transitions: [{ Days: 1, StorageClass: 'STANDARD_IA' }] }),
    ],
    ['is off', rule({ Status: 'Disabled', Expiration: days })],
    ['is for other keys', rule({ Filter: { Prefix: 'team/ws2/' }, Expiration: days })],
    [
      'is for keys that a workspace does not have',
      rule({ Filter: { Prefix: 'team/ws/.probe/' }, Expiration: days }),
    ],
    ['is for tagged objects', rule({ Filter: { Tag: { Key: 'scratch', Value: 'yes' } }, Expiration: days })],
    [
      'is for tagged objects with a prefix',
      rule({
        Filter: { And: { Prefix: 'team/', Tags: [{ Key: 'scratch', Value: 'yes' }] } },
        Expiration: days,
      }),
    ],
  ])('a rule is fine that %s', async (_, one) => {
    await setRules(one);
    expect(await found(store)).toEqual([]);
  });

  test.each([
    [403, 'AccessDenied'],
    [501, 'NotImplemented'],
    [400, 'InvalidArgument'],
    [404, 'NotFound'],
    [500, 'InternalError'],
  ])('that the service does not tell is told, and is no failure: %i %s', async (status, code) => {
    const effect = { kind: 'status', status, code } as const;
    await server.control.addFault({ on: 'GetBucketLifecycleConfiguration', effect });
    const [finding, ...others] = await found(store);
    expect(others).toEqual([]);
    expect(finding).toMatchObject({ severity: 'info', code: 'lifecycle-rule' });
    expect(finding?.what).toContain(code);
  });

  test('a store that is away ends the check', async () => {
    await server.control.addFault({ effect: { kind: 'status', status: 503, code: 'SlowDown' } });
    expect(await failure(found(store))).toMatchObject({ code: 'StoreUnavailable' });
  });
});
