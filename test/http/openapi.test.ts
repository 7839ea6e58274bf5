import { Validator } from '@seriousme/openapi-schema-validator';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { ControlClient } from '../../src/http/client.js';
import { Operations } from '../../src/http/operations.js';
import { createApiServer } from '../../src/http/server.js';
import { startTestApp, type TestApp } from './support.js';

let running: TestApp;
beforeAll(async () => {
  running = await startTestApp();
});
afterAll(() => running[Symbol.asyncDispose]());

type Operation = { summary?: string; tags?: string[]; responses: Record<string, { content?: object }> };
type Document = { openapi: string; paths: Record<string, Record<string, Operation>> };

async function served(): Promise<Document> {
  const { request } = await import('node:http');
  return new Promise((resolve, reject) => {
    request({ socketPath: running.app.socketPath, path: '/openapi.json' }, (response) => {
      let body = '';
      response.on('data', (chunk) => (body += chunk));
      response.on('end', () => resolve(JSON.parse(body)));
    })
      .on('error', reject)
      .end();
  });
}

test('the document is valid OpenAPI 3.1', async () => {
  const document = await served();
  expect(document.openapi).toBe('3.1.0');
  const result = await new Validator().validate(document);
  expect(result.errors ?? []).toEqual([]);
  expect(result.valid).toBe(true);
});

test('every route is in the document, with a summary, a tag, and answers', async () => {
  const routes: { method: string; url: string; schema: unknown }[] = [];
  const services = new Proxy({} as Parameters<typeof createApiServer>[0], {
    get: (_target, name) => {
      if (name === 'daemon' || name === 'log') return {};
      throw new Error(`a route asked for ${String(name)} before it was called`);
    },
  });
  const api = await createApiServer(services, new Operations(async () => undefined), '0', (route) => {
    routes.push({ method: [route.method].flat()[0] ?? '', url: route.url, schema: route.schema });
  });
  const { paths } = api.document() as Document;
  await api[Symbol.asyncDispose]();
  expect(routes.length).toBeGreaterThan(25);
  for (const { method, url, schema } of routes) {
    expect(schema, `${method} ${url}`).toBeDefined();
    const operation = paths[url.replace(/:(\w+)/g, '{$1}')]?.[method.toLowerCase()];
    expect(operation?.summary, `${method} ${url}`).toMatch(/^[A-Z]/);
    expect(operation?.tags, `${method} ${url}`).toHaveLength(1);
    expect(Object.keys(operation?.responses ?? {}), `${method} ${url}`).toEqual(
      expect.arrayContaining(['200', '4XX', '5XX']),
    );
  }
});

test('long calls and bytes are described with their media types', async () => {
  const { paths } = await served();
  const types = (path: string, method: string) =>
    Object.keys(paths[path]?.[method]?.responses['200']?.content ?? {});
  expect(types('/v1/artifacts/{artifact}/commit', 'post')).toEqual([
    'application/json',
    'application/x-ndjson',
  ]);
  expect(types('/v1/artifacts/{artifact}/content', 'put')).toEqual([
    'application/json',
    'application/x-ndjson',
  ]);
  expect(types('/v1/artifacts/{artifact}/content', 'get')).toEqual(['application/octet-stream']);
});

test('the client answers by the document: nobody listens', async () => {
  using nobody = new ControlClient('/nonexistent/control.sock');
  await expect(nobody.status()).rejects.toMatchObject({ code: 'NotFound' });
});
