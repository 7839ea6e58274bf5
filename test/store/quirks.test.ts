import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { serviceAt, storeServices } from '../../src/store/quirks.js';

test('a service is known by its endpoint, and by no other that looks like it', () => {
  expect(serviceAt(undefined)?.name).toBe('AWS S3');
  expect(serviceAt('https://s3.eu-west-1.amazonaws.com')?.name).toBe('AWS S3');
  expect(serviceAt('https://storage.googleapis.com')?.name).toBe('Google Cloud Storage');
  expect(serviceAt('https://0f.r2.cloudflarestorage.com/')?.name).toBe('Cloudflare R2');
  expect(serviceAt('https://oss-cn-hangzhou.aliyuncs.com')?.name).toBe('Alibaba Cloud OSS');
  expect(serviceAt('https://amazonaws.com.example.net')).toBeUndefined();
  expect(serviceAt('http://127.0.0.1:9000')).toBeUndefined();
  expect(serviceAt('no url')).toBeUndefined();
});

test('the table in the manual says the same', () => {
  const manual = readFileSync(join(import.meta.dirname, '../../doc/OPERATIONS.md'), 'utf8');
  for (const { name, createIfAbsent, lacks, instead } of storeServices)
    expect(manual).toContain(
      `| ${name} | ${createIfAbsent} | ${lacks} | ${instead}${instead === '' ? '' : ' '}|`,
    );
});
