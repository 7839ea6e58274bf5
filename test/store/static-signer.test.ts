import { randomUUID } from 'node:crypto';
import { afterAll, beforeAll, describe, expect, it } from 'vitest';
import { S3Store } from '../../src/store/s3/s3-store.js';
import { firstSigner } from '../../src/store/s3/static-signer.js';
import { type S3Server, startS3Server } from '../support/s3-server/server.js';

let server: S3Server;
beforeAll(async () => {
  server = await startS3Server();
});
afterAll(() => server.close());

const endpoint = 'http://127.0.0.1:9000';
const keys = { accessKeyId: 'id', secretAccessKey: 'secret' };
const at = (bucket: string) => ({ bucket, prefix: '' });

describe('GETs before the SDK is loaded', () => {
  it('are believed by the service, with keys from options', async () => {
    const { bucket, accessKeyId, secretAccessKey } = server;
    const key = `a b/${randomUUID()} (1)`;
    const open = () =>
      new S3Store({ bucket, prefix: 'p q' }, { endpoint: server.endpoint, accessKeyId, secretAccessKey });
    await using writer = open();
    await writer.put(key, Buffer.from('bytes'));
    await server.control.resetCounters();
    await using reader = open();
    expect((await reader.get(key)).toString()).toBe('bytes');
    expect((await reader.get(key, { offset: 1, length: 2 })).toString()).toBe('yt');
    // One request each: none was refused and then sent again by the SDK.
    expect((await server.control.counters()).operations.GetObject?.requests).toBe(2);
  });

  it('are signed by keys of the environment only where the SDK would take these', async () => {
    const env = { AWS_ACCESS_KEY_ID: 'E', AWS_SECRET_ACCESS_KEY: 's', AWS_SESSION_TOKEN: 't' };
    const made = firstSigner(at('bucket'), { endpoint }, env);
    expect(await made?.keys.credentials()).toEqual({
      accessKeyId: 'E',
      secretAccessKey: 's',
      sessionToken: 't',
    });
    for (const more of [{ AWS_PROFILE: 'work' }, { AWS_CREDENTIAL_EXPIRATION: '2030-01-01T00:00:00Z' }])
      expect(firstSigner(at('bucket'), { endpoint }, { ...env, ...more })).toBeNull();
    expect(firstSigner(at('bucket'), { endpoint, profile: 'work' }, env)).toBeNull();
    expect(firstSigner(at('bucket'), { endpoint }, {})).toBeNull();
  });

  it('are left to the SDK where something has to be found out', () => {
    expect(firstSigner(at('bucket'), { ...keys, endpoint })).not.toBeNull();
    expect(firstSigner(at('bucket'), { ...keys })).toBeNull();
    expect(firstSigner(at('bucket'), { ...keys, endpoint, pathStyle: false })).toBeNull();
    expect(firstSigner(at('arn:aws:s3:::bucket'), { ...keys, endpoint })).toBeNull();
    expect(firstSigner(at('bucket--use1-az4--x-s3'), { ...keys, endpoint })).toBeNull();
  });

  it('go where the endpoint says, with a port and a path', () => {
    const plan = (of: string) => firstSigner(at('b.c'), { ...keys, endpoint: of })?.plan;
    expect(plan('https://s3.example.com')).toMatchObject({
      origin: { secure: true, host: 's3.example.com', port: 443 },
      host: 's3.example.com',
      base: '/b.c/',
      region: 'us-east-1',
    });
    expect(plan('http://[::1]:9000/store/')).toMatchObject({
      origin: { secure: false, host: '::1', port: 9000 },
      host: '[::1]:9000',
      base: '/store/b.c/',
    });
  });
});
