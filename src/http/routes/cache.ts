import { Type } from '@sinclair/typebox';
import type { Operations } from '../operations.js';
import type { ApiServices } from '../ports.js';
import { CacheCoverage, CacheStatus, type WarmProgress, WarmResult } from '../schemas.js';
import type { Server } from '../typed-server.js';
import { answers, artifactParams, filePath, findArtifact, longAnswers } from './common.js';

const tags = ['cache'];
const ref = Type.String({
  default: '',
  description: "a version: v3, latest, an alias; '' and 'stage' for the latest",
});
const place = { ref, path: Type.String({ ...filePath, default: '' }) };
const querystring = Type.Object(place, { additionalProperties: false });
const evicted = answers(
  Type.Object({ bytes: Type.Integer({ description: 'that left the disk; what is pinned stays' }) }),
);

/** What is kept of the store on this machine's disk. */
export function cacheRoutes(server: Server, services: ApiServices, operations: Operations): void {
  server.get(
    '/v1/cache',
    { schema: { tags, summary: 'The disk cache as a whole', response: answers(CacheStatus) } },
    async () => ({ ...services.cache.figures(), pins: services.cache.pins() }),
  );

  server.post(
    '/v1/cache/evict',
    { schema: { tags, summary: 'Empty the disk cache', response: evicted } },
    async () => ({ bytes: await services.cache.evictAll() }),
  );

  server.get(
    '/v1/artifacts/:artifact/cache',
    {
      schema: {
        tags,
        summary: 'What is cached of a version, a directory or a file',
        params: artifactParams,
        querystring,
        response: answers(CacheCoverage),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      return services.cache.coverage(artifact, request.query.ref, request.query.path);
    },
  );

  server.post(
    '/v1/artifacts/:artifact/warm',
    {
      schema: {
        tags,
        summary: 'Fetch a version, a directory or a file ahead',
        params: artifactParams,
        querystring: Type.Object(
          {
            ...place,
            from: Type.Optional(Type.String({ description: 'version: only what changed since' })),
          },
          { additionalProperties: false },
        ),
        response: longAnswers(WarmResult),
      },
    },
    async (request, reply) => {
      const artifact = await findArtifact(services, request.params);
      const { ref: version, path, from } = request.query;
      return operations.answer<WarmResult, WarmProgress>(request, reply, (signal, onProgress) =>
        services.cache.warm(artifact, version, path, {
          from,
          signal,
          onProgress: (bytesDone, bytesTotal) => onProgress({ bytesDone, bytesTotal }),
        }),
      );
    },
  );

  server.put(
    '/v1/artifacts/:artifact/pin',
    {
      schema: {
        tags,
        summary: 'Keep it in the disk cache',
        description: 'As far as it is, or comes to be cached; nothing is fetched.',
        params: artifactParams,
        querystring,
        response: answers(CacheCoverage),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      return services.cache.pin(artifact, request.query.ref, request.query.path);
    },
  );

  server.delete(
    '/v1/artifacts/:artifact/pin',
    {
      schema: {
        tags,
        summary: 'Keep it no longer',
        params: artifactParams,
        querystring,
        response: answers(
          Type.Object({ unpinned: Type.Boolean({ description: 'false: it was not pinned' }) }),
        ),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      return { unpinned: await services.cache.unpin(artifact, request.query.ref, request.query.path) };
    },
  );

  server.post(
    '/v1/artifacts/:artifact/evict',
    {
      schema: {
        tags,
        summary: 'Remove it from the disk cache',
        params: artifactParams,
        querystring,
        response: evicted,
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      return { bytes: await services.cache.evict(artifact, request.query.ref, request.query.path) };
    },
  );
}
