import { Type } from '@sinclair/typebox';
import { ArtifactError } from '../../model/errors.js';
import type { ApiServices } from '../ports.js';
import { RemovedArtifact } from '../schemas.js';
import type { Server } from '../typed-server.js';
import { answers, artifactParams, findArtifact } from './common.js';

const tags = ['artifacts'];
const artifactPath = Type.Object({ path: Type.String({ description: 'path of names that it has now' }) });

/** Where artifacts have their names. Each call is a record in the log of a collection, a move between two one in each. */
export function nameRoutes(server: Server, services: ApiServices): void {
  server.post(
    '/v1/artifacts/:artifact/unlink',
    {
      schema: {
        tags,
        summary: "Take an artifact's name away, for everybody",
        description: 'It comes back by restore, until garbage collection has taken its versions.',
        params: artifactParams,
        body: Type.Object(
          {
            force: Type.Boolean({ default: false, description: 'also when staged changes are lost by it' }),
            recursive: Type.Boolean({
              default: false,
              description: 'also a collection that holds artifacts',
            }),
          },
          { additionalProperties: false },
        ),
        response: answers(Type.Object({})),
      },
    },
    async (request) => {
      await services.artifacts.unlink(await findArtifact(services, request.params), request.body);
      return {};
    },
  );

  server.post(
    '/v1/artifacts/:artifact/move',
    {
      schema: {
        tags,
        summary: 'Rename or move an artifact, for everybody',
        params: artifactParams,
        body: Type.Object(
          { to: Type.String({ description: 'path of names; all but the last are collections' }) },
          { additionalProperties: false },
        ),
        response: answers(artifactPath),
      },
    },
    async (request) => {
      const { artifacts } = services;
      const from = names((await findArtifact(services, request.params)).path);
      const to = names(request.body.to);
      const [name, newName] = [from.pop(), to.pop()];
      if (name === undefined || newName === undefined)
        throw new ArtifactError('NotPermitted', 'the root collection stays where it is');
      const source = await artifacts.find(from.join('/'));
      const target = await artifacts.find(to.join('/'));
      await artifacts.rename(source, name, target, newName, { announce: true });
      return { path: [...to, newName].join('/') };
    },
  );

  server.get(
    '/v1/removed',
    {
      schema: {
        tags,
        summary: 'Removed artifacts that can come back, the last removed first',
        response: answers(Type.Object({ removed: Type.Array(RemovedArtifact) })),
      },
    },
    async () => {
      const removed = await services.artifacts.removed();
      return {
        removed: removed.map(({ artifactId, path, versions, timeMs, host, user }) => ({
          artifactId,
          path,
          versions,
          timeMs,
          host,
          user,
        })),
      };
    },
  );

  server.post(
    '/v1/removed/restore',
    {
      schema: {
        tags,
        summary: 'Give a removed artifact its name back, or another',
        body: Type.Object(
          {
            what: Type.String({ description: 'its id, or the path that it had' }),
            as: Type.Optional(Type.String({ description: 'path of names to have; default: the one it had' })),
          },
          { additionalProperties: false },
        ),
        response: answers(artifactPath),
      },
    },
    async (request) => ({
      path: await services.artifacts.restore(request.body.what, request.body.as),
    }),
  );
}

const names = (path: string): string[] => path.split('/').filter((name) => name !== '');
