import fc from 'fast-check';
import { describe, expect, test } from 'vitest';
import { createLogger } from '../../src/log/logger.js';
import { ArtifactError } from '../../src/model/errors.js';

const secret = 'wJalrXUtnFEMIK7MDENGbPxRfiCYEXAMPLEKEY';

function output(fields: Record<string, unknown>, message = 'm'): string {
  const lines: string[] = [];
  for (const format of ['json', 'text'] as const) {
    const log = createLogger({
      level: 'trace',
      format,
      destination: { write: (line) => void lines.push(line) },
    });
    log.named('x').info(fields, message);
  }
  expect(lines).toHaveLength(2);
  return lines.join('');
}

describe('secrets do not reach the log', () => {
  const names = [
    'authorization',
    'Authorization',
    'proxy-authorization',
    'secretAccessKey',
    'SecretAccessKey',
    'AWS_SECRET_ACCESS_KEY',
    'sessionToken',
    'x-amz-security-token',
    'credentials',
    'token',
    'accessToken',
    'password',
    'X-Amz-Signature',
    'set-cookie',
    'api_key',
  ];
  test.each(names)('in a field named %s, however deep', (name) => {
    const places = [
      { [name]: secret },
      { request: { headers: { [name]: secret } } },
      { list: [{ [name]: [secret] }] },
      { map: new Map([[name, { nested: secret }]]) },
      { err: new ArtifactError('StoreDenied', 'refused', { [name]: secret }) },
      {
        err: new Error('outer', {
          cause: new ArtifactError('StoreDenied', 'x', { deep: { [name]: secret } }),
        }),
      },
    ];
    for (const fields of places) {
      expect(output(fields)).not.toContain(secret);
      expect(output(fields)).toContain('[redacted]');
    }
  });

  const texts = [
    `https://b.s3.amazonaws.com/k?X-Amz-Algorithm=A&X-Amz-Credential=${secret}%2F20260101%2Fs3&X-Amz-Signature=${secret}&x-id=GetObject`,
    `https://b.s3.amazonaws.com/k?X-Amz-Security-Token=${secret}%2B%2F%3D&a=b`,
    `GET /?url=https%3A%2F%2Fb%2Fk%3FX-Amz-Signature%3D${secret}`,
    `https://h/k?AWSAccessKeyId=${secret}&Signature=${secret}%3D&Expires=1`,
    `https://account.blob.example/c?sv=1&sig=${secret}`,
    `http://user:${secret}@host:9000/bucket`,
    `Authorization: Bearer ${secret}`,
    `authorization: AWS4-HMAC-SHA256 Credential=${secret}/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=${secret}`,
    `Basic ${secret}==`,
    `{"secretAccessKey":"${secret}","sessionToken": "${secret}"}`,
    JSON.stringify(JSON.stringify({ password: secret })),
    `AWS_SECRET_ACCESS_KEY=${secret} AWS_SESSION_TOKEN='${secret}'`,
  ];
  test.each(texts)('inside the text %s', (text) => {
    const places = [
      { url: text },
      { [text]: 1 },
      { nested: { list: [text] } },
      { url: text.startsWith('http') ? new URL(text) : text },
      { err: new Error(text) },
      { err: new ArtifactError('StoreDenied', text, { hint: text }, new Error('x', { cause: text })) },
    ];
    for (const fields of places) expect(output(fields)).not.toContain(secret);
    expect(output({}, text)).not.toContain(secret);
  });

  test('on requests that a client hangs on its errors', () => {
    const error = Object.assign(new Error('AccessDenied'), {
      $metadata: { httpStatusCode: 403, requestId: 'r1' },
      $response: { headers: { 'x-odd-name': secret } },
      config: { raw: secret },
    });
    const text = output({ err: error });
    expect(text).not.toContain(secret);
    expect(text).toContain('403');
    expect(text).toContain('r1');
  });

  test('what is no secret stays readable', () => {
    const text = output(
      { key: 'a/b/token.json', bytes: 5, tokens: 7, url: 'https://host/k?partNumber=3&uploadId=abc' },
      'password file /etc/passwd of basic set',
    );
    for (const shown of ['a/b/token.json', '/etc/passwd of basic set', 'partNumber=3&uploadId=abc', '7']) {
      expect(text).toContain(shown);
    }
  });

  test('wherever random structures put them', () => {
    const tree = fc.letrec<{ node: unknown }>((tie) => ({
      node: fc.oneof(
        { depthSize: 'small' },
        fc.constantFrom(...texts),
        fc.record({ password: fc.constant(secret), other: fc.integer() }),
        fc.array(tie('node'), { maxLength: 3 }),
        fc.dictionary(fc.string(), tie('node'), { maxKeys: 3 }),
        tie('node').map((cause) => new Error('e', { cause })),
        tie('node').map((value) => new Map([['k', value]])),
      ),
    })).node;
    fc.assert(
      fc.property(tree, (value) => {
        expect(output({ value })).not.toContain(secret);
      }),
    );
  });
});
