import { Type } from '@sinclair/typebox';
import type { ApiServices } from '../ports.js';
import { AliasChange } from '../schemas.js';
import type { Server } from '../typed-server.js';
import { answers, artifactParams, findArtifact } from './common.js';

const tags = ['versions'];
const versionsExpiredMax = 4096;

const aliasParams = Type.Object({
  ...artifactParams.properties,
  alias: Type.String({ description: 'name of the alias, percent-encoded' }),
});
const versionNumber = Type.Integer({ minimum: 0 });
/** Text, because a null or a 0 would each be taken for the other. */
const expectedVersion = Type.String({
  pattern: '^(v?[0-9]{1,15}|none)$',
  description: 'where it must stand now: v3, or none; without it, wherever it stands',
});

/** Names for versions, and versions that may go. Each call is one record in the artifact's log, or none. */
export function aliasRoutes(server: Server, services: ApiServices): void {
  server.get(
    '/v1/artifacts/:artifact/aliases',
    {
      schema: {
        tags,
        summary: 'Aliases and the versions that they point to',
        params: artifactParams,
        response: answers(Type.Object({ aliases: Type.Record(Type.String(), Type.Integer()) })),
      },
    },
    async (request) => ({ aliases: { ...(await findArtifact(services, request.params)).aliases() } }),
  );

  server.put(
    '/v1/artifacts/:artifact/aliases/:alias',
    {
      schema: {
        tags,
        summary: 'Make or move an alias, for everybody',
        params: aliasParams,
        body: Type.Object(
          {
            version: Type.String({ description: 'v3, latest, or another alias' }),
            expected: Type.Optional(expectedVersion),
          },
          { additionalProperties: false },
        ),
        response: answers(AliasChange),
      },
    },
    async (request) => {
      const { version, expected } = request.body;
      const artifact = await findArtifact(services, request.params);
      return artifact.setAlias(request.params.alias, version, numberOf(expected));
    },
  );

  server.delete(
    '/v1/artifacts/:artifact/aliases/:alias',
    {
      schema: {
        tags,
        summary: 'Remove an alias, for everybody',
        params: aliasParams,
        querystring: Type.Object(
          { expected: Type.Optional(expectedVersion) },
          { additionalProperties: false },
        ),
        response: answers(AliasChange),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      return artifact.setAlias(request.params.alias, null, numberOf(request.query.expected));
    },
  );

  server.post(
    '/v1/artifacts/:artifact/expire',
    {
      schema: {
        tags,
        summary: 'Let versions go for ever',
        description:
          'Not the latest, nor what an alias points to. Garbage collection may delete them from then on.',
        params: artifactParams,
        body: Type.Object(
          { versions: Type.Array(versionNumber, { minItems: 1, maxItems: versionsExpiredMax }) },
          { additionalProperties: false },
        ),
        response: answers(
          Type.Object({
            expired: Type.Array(Type.Integer(), { description: 'that had not expired before' }),
          }),
        ),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      return { expired: [...(await artifact.expire(request.body.versions))] };
    },
  );
}

function numberOf(expected: string | undefined): number | null | undefined {
  if (expected === undefined) return undefined;
  return expected === 'none' ? null : Number(expected.replace('v', ''));
}
