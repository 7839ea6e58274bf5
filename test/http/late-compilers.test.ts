import { fastify } from 'fastify';
import { expect, test } from 'vitest';
import { compileLate } from '../../src/http/late-compilers.js';
import type { Server, TypeBoxProvider } from '../../src/http/typed-server.js';

const number = { type: 'object', required: ['n'], properties: { n: { type: 'integer' } } };
const echo = { schema: { querystring: number, response: { 200: number } } };

/** `/early` is compiled when the server is ready, `/late` is not. Answers whose answers were compiled, too. */
async function serverWithBoth(): Promise<{ server: Server; compiled: string[] }> {
  const server: Server = fastify({ exposeHeadRoutes: false }).withTypeProvider<TypeBoxProvider>();
  const compiled: string[] = [];
  let like = server;
  server.register(async (scope: Server) => {
    like = scope;
    scope.setSerializerCompiler(({ url }) => {
      compiled.push(url);
      return (data) => JSON.stringify(data);
    });
    scope.get('/early', echo, async (request) => request.query);
  });
  server.register(async (scope: Server) => {
    scope.addHook(
      'onRoute',
      compileLate(() => like),
    );
    scope.get('/late', echo, async (request) => request.query);
  });
  await server.ready();
  return { server, compiled };
}

test('a route compiles its schemas when it is first asked, and once', async () => {
  const { server, compiled } = await serverWithBoth();
  expect(compiled).toEqual(['/early']);
  for (const n of [1, 2]) expect((await server.inject(`/late?n=${n}`)).json()).toEqual({ n });
  expect(compiled).toEqual(['/early', '/late']);
  await server.close();
});

test('it checks and converts as other routes do, and says why it refuses', async () => {
  const { server } = await serverWithBoth();
  const refused = async (url: string) => (await server.inject(url)).json();
  for (const query of ['n=x', 'n=1', 'm=1', 'n=x']) {
    expect(await refused(`/late?${query}`)).toEqual(await refused(`/early?${query}`));
  }
  expect(await refused('/late?n=x')).toMatchObject({
    statusCode: 400,
    message: 'querystring/n must be integer',
  });
  await server.close();
});
