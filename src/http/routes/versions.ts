import { Type } from '@sinclair/typebox';
import type { Artifact } from '../../artifacts/ports.js';
import { limits } from '../../model/limits.js';
import type { Operations } from '../operations.js';
import type { ApiServices } from '../ports.js';
import {
  ArtifactStatus,
  type CommitProgress,
  CommitRequest,
  CommitResult,
  type CommitResult as CommitResultType,
  Diff,
  Version,
} from '../schemas.js';
import type { Server } from '../typed-server.js';
import { describeVersion } from './artifacts.js';
import { answers, artifactParams, findArtifact, limit, longAnswers } from './common.js';

const tags = ['versions'];

/** What is staged, what was published, and the way from one to the other. */
export function versionRoutes(server: Server, services: ApiServices, operations: Operations): void {
  server.get(
    '/v1/artifacts/:artifact/status',
    {
      schema: {
        tags,
        summary: 'What is staged',
        params: artifactParams,
        querystring: Type.Object({ limit: limit(1000, limits.apiListMax) }, { additionalProperties: false }),
        response: answers(ArtifactStatus),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      await artifact.askOthers();
      const status = await artifact.status(request.query.limit);
      return {
        ...status,
        staged: [...status.staged],
        openForWriting: [...status.openForWriting],
        conflicts: [...status.conflicts],
        others: [...status.others],
      };
    },
  );

  server.get(
    '/v1/artifacts/:artifact/log',
    {
      schema: {
        tags,
        summary: 'Versions, newest first',
        params: artifactParams,
        querystring: Type.Object({ limit: limit(1000, limits.apiListMax) }, { additionalProperties: false }),
        response: answers(Type.Object({ versions: Type.Array(Version), more: Type.Boolean() })),
      },
    },
    async (request) => {
      const versions = (await findArtifact(services, request.params)).versions();
      return {
        versions: versions.slice(0, request.query.limit).map(describeVersion),
        more: versions.length > request.query.limit,
      };
    },
  );

  server.get(
    '/v1/artifacts/:artifact/diff',
    {
      schema: {
        tags,
        summary: 'What differs between two versions, or the stage and its base',
        params: artifactParams,
        querystring: Type.Object(
          {
            from: Type.Optional(
              Type.String({ description: "version; default: the stage's base, or the version before 'to'" }),
            ),
            to: Type.String({ default: 'stage', description: "version, or 'stage'" }),
            limit: limit(1000, limits.apiListMax),
          },
          { additionalProperties: false },
        ),
        response: answers(Diff),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      const { from, to } = await endsOfDiff(artifact, request.query);
      return { from, to, ...(await artifact.diff(from, to, request.query.limit)) };
    },
  );

  server.post(
    '/v1/artifacts/:artifact/commit',
    {
      schema: {
        tags,
        summary: 'Publish the stage as the next version',
        params: artifactParams,
        body: CommitRequest,
        response: longAnswers(CommitResult),
      },
    },
    async (request, reply) => {
      const artifact = await findArtifact(services, request.params);
      return operations.answer<CommitResultType, CommitProgress>(
        request,
        reply,
        async (signal, onProgress) => {
          const result = await artifact.commit({ ...request.body, signal, onProgress });
          return { ...result, openFiles: [...result.openFiles] };
        },
      );
    },
  );

  server.post(
    '/v1/artifacts/:artifact/discard',
    {
      schema: {
        tags,
        summary: 'Drop the stage',
        params: artifactParams,
        response: answers(
          Type.Object({ discarded: Type.Integer({ description: 'paths that were staged' }) }),
        ),
      },
    },
    async (request) => ({ discarded: await (await findArtifact(services, request.params)).discard() }),
  );

  server.post(
    '/v1/artifacts/:artifact/refresh',
    {
      schema: {
        tags,
        summary: 'Look for commits of others',
        params: artifactParams,
        response: answers(Type.Object({ moved: Type.Boolean({ description: 'there was something new' }) })),
      },
    },
    async (request) => ({ moved: await (await findArtifact(services, request.params)).refresh() }),
  );
}

async function endsOfDiff(
  artifact: Artifact,
  query: { from?: string; to: string },
): Promise<{ from: number | null; to: number | 'stage' }> {
  const to = query.to === 'stage' || query.to === '' ? 'stage' : artifact.resolveVersion(query.to).version;
  if (query.from !== undefined) return { from: artifact.resolveVersion(query.from).version, to };
  if (to === 'stage') return { from: (await artifact.status(0)).base, to };
  return { from: to === 0 ? null : to - 1, to };
}
