import swagger from '@fastify/swagger';
import { type FastifyError, fastify, type RouteOptions } from 'fastify';
import { limits } from '../model/limits.js';
import { errorBody, httpStatus } from './error-body.js';
import { fromFastify } from './fastify-errors.js';
import { compileLate } from './late-compilers.js';
import type { Operations } from './operations.js';
import type { ApiServices } from './ports.js';
import { aliasRoutes } from './routes/aliases.js';
import { artifactRoutes } from './routes/artifacts.js';
import { cacheRoutes } from './routes/cache.js';
import { catalogRoutes } from './routes/catalog.js';
import { daemonRoutes } from './routes/daemon.js';
import { fileRoutes } from './routes/files.js';
import { gcRoutes } from './routes/gc.js';
import { nameRoutes } from './routes/names.js';
import { versionRoutes } from './routes/versions.js';
import { workspaceRoutes } from './routes/workspace.js';
import type { RequestHandler } from './socket.js';
import type { Server, TypeBoxProvider } from './typed-server.js';

export interface ApiServer extends RequestHandler {
  /** The OpenAPI document. */
  document(): object;
  /** The routes alone, for tests without a socket. */
  readonly server: Server;
}

/**
 * The control API, described by GET /openapi.json. Everybody who can connect may do everything. `onRoute` is told each route.
 */
export async function createApiServer(
  services: ApiServices,
  operations: Operations,
  version: string,
  onRoute?: (route: RouteOptions) => void,
): Promise<ApiServer> {
  const server: Server = fastify({
    logger: false,
    bodyLimit: limits.apiBodyBytesMax,
    routerOptions: { maxParamLength: limits.apiHeaderBytesMax },
    exposeHeadRoutes: false,
    return503OnClosing: true,
    // What is not in a schema is refused by name, and "12" stays text where text is wanted.
    ajv: { customOptions: { removeAdditional: false, coerceTypes: true, allErrors: false } },
  }).withTypeProvider<TypeBoxProvider>();
  answerErrors(server, services);
  if (onRoute !== undefined) server.addHook('onRoute', onRoute);
  await server.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'artifactfs control API',
        version,
        description:
          'Served by each daemon on a Unix socket. Calls that may take long answer as application/x-ndjson when asked for it by Accept.',
      },
      servers: [{ url: 'http://localhost', description: 'over the Unix socket' }],
    },
  });
  // Bytes of files: handed on as a stream, never held.
  server.addContentTypeParser('application/octet-stream', (_request, payload, done) => done(null, payload));
  let compiled = server;
  server.register(async (scope: Server) => {
    compiled = scope;
    daemonRoutes(scope, services, operations);
  });
  const late = compileLate(() => compiled);
  server.register(async (scope: Server) => {
    scope.addHook('onRoute', late);
    scope.addHook('onRequest', async (request) => {
      const changes = request.method !== 'GET' && !request.routeOptions.url?.endsWith('/refresh');
      await services.refuse(changes);
    });
    // Who has the answer finds the change in the mount, too.
    scope.addHook('onSend', async (request, _reply, payload: unknown) => {
      if (request.method !== 'GET') await services.kernelTold?.();
      return payload;
    });
    workspaceRoutes(scope, services);
    artifactRoutes(scope, services);
    versionRoutes(scope, services, operations);
    aliasRoutes(scope, services);
    nameRoutes(scope, services);
    fileRoutes(scope, services, operations);
  });
  // Changes nothing that anybody sees, so it works also where nothing can be written.
  server.register(async (scope: Server) => {
    scope.addHook('onRoute', late);
    scope.addHook('onRequest', async () => services.refuse(false));
    cacheRoutes(scope, services, operations);
    gcRoutes(scope, services, operations);
    catalogRoutes(scope, services);
  });
  await server.ready();
  return {
    server,
    document: () => server.swagger(),
    handle: (request, response) => server.routing(request, response),
    [Symbol.asyncDispose]: async () => {
      operations.cancelAll();
      await server.close();
    },
  };
}

function answerErrors(server: Server, { log }: ApiServices): void {
  server.setErrorHandler(async (thrown: FastifyError | Error, request, reply) => {
    const error = fromFastify(thrown);
    if (error.code === 'Internal')
      log.error({ err: thrown, url: request.url }, 'control API: internal error');
    reply.code(httpStatus[error.code]).type('application/json');
    return errorBody(error);
  });
  server.setNotFoundHandler(async (request, reply) => {
    reply.code(404);
    return {
      code: 'NotFound',
      message: `no route ${request.method} ${request.url}`,
      hint: null,
      details: {},
    };
  });
  server.addHook('onResponse', async (request, reply) => {
    log.debug(
      {
        method: request.method,
        url: request.url,
        status: reply.statusCode,
        ms: Math.round(reply.elapsedTime),
      },
      'control API',
    );
  });
}
