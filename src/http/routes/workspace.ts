import { Type } from '@sinclair/typebox';
import type { ApiServices } from '../ports.js';
import { resolvePath } from '../resolve.js';
import { Resolved } from '../schemas.js';
import type { Server } from '../typed-server.js';
import { answers } from './common.js';

const tags = ['workspace'];

/** About the workspace as a whole. */
export function workspaceRoutes(server: Server, services: ApiServices): void {
  server.post(
    '/v1/refresh',
    {
      schema: {
        tags,
        summary: 'Look for commits of others in the whole workspace',
        response: answers(Type.Object({})),
      },
    },
    async () => {
      await services.daemon.refresh();
      return {};
    },
  );

  server.get(
    '/v1/resolve',
    {
      schema: {
        tags,
        summary: 'Find the artifact in a path as a user writes it',
        querystring: Type.Object(
          { path: Type.String({ description: 'like gallery/cells@v3/img/1.png' }) },
          { additionalProperties: false },
        ),
        response: answers(Resolved),
      },
    },
    async (request) => resolvePath(services.artifacts, request.query.path),
  );
}
