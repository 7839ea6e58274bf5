import { Type } from '@sinclair/typebox';
import type { ApiServices } from '../ports.js';
import type { Server } from '../typed-server.js';
import { answers } from './common.js';

const tags = ['catalog'];

/** What the local catalog says, for `artifactfs fsck` to compare with the store. */
export function catalogRoutes(server: Server, services: ApiServices): void {
  server.get(
    '/v1/catalog/artifacts/:artifactId',
    {
      schema: {
        tags,
        summary: 'What the catalog says of an artifact',
        description: 'Null when it has read nothing of it.',
        params: Type.Object({ artifactId: Type.String() }),
        response: answers(Type.Object({ facts: Type.Any() })),
      },
    },
    async (request) => ({ facts: services.catalog.artifact(request.params.artifactId) }),
  );

  server.get(
    '/v1/catalog/trees/:sha256',
    {
      schema: {
        tags,
        summary: 'Digest of what the catalog has of a range or metarange',
        description: 'Found by the hash of its stored bytes; null when it has none of it.',
        params: Type.Object({ sha256: Type.String({ pattern: '^[0-9a-f]{64}$' }) }),
        response: answers(Type.Object({ digest: Type.Union([Type.String(), Type.Null()]) })),
      },
    },
    async (request) => ({ digest: await services.catalog.treeDigest(request.params.sha256) }),
  );
}
