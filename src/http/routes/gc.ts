import { toArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { GcReport } from '../../workspace/gc/collect-garbage.js';
import { errorBody } from '../error-body.js';
import type { Operations } from '../operations.js';
import type { ApiServices } from '../ports.js';
import { type GcProgress, GcRequest, GcResult } from '../schemas.js';
import type { Server } from '../typed-server.js';
import { longAnswers } from './common.js';

/** What nobody needs any more, in the whole workspace or in some artifacts. */
export function gcRoutes(server: Server, services: ApiServices, operations: Operations): void {
  server.post(
    '/v1/gc',
    {
      schema: {
        tags: ['workspace'],
        summary: 'Delete from the store what no version, stage or reader needs',
        description:
          'Expires versions as retention says and declares stages dead, by records; then deletes what has been unreachable for the grace.',
        body: GcRequest,
        response: longAnswers(GcResult),
      },
    },
    async (request, reply) => {
      const { paths, dryRun, graceSeconds, deadAfterSeconds } = request.body;
      await services.refuse(!dryRun);
      return operations.answer(request, reply, async (signal, onProgress: (progress: GcProgress) => void) => {
        const report = await services.collectGarbage({
          paths,
          dryRun,
          graceMs: graceSeconds * 1000,
          deadAfterMs: deadAfterSeconds * 1000,
          signal,
          onProgress,
        });
        // Versions may have expired. What cannot be read of some artifact is told by the report, and undoes nothing.
        if (!dryRun) await services.artifacts.refresh().catch(() => undefined);
        return resultOf(report, dryRun);
      });
    },
  );
}

function resultOf({ artifacts, failures }: GcReport, dryRun: boolean): GcResult {
  return {
    dryRun,
    artifacts: artifacts.map(({ condemned, expired, abandoned, ...rest }) => ({
      ...rest,
      expired: [...expired],
      abandoned: [...abandoned],
      condemned: {
        objects: condemned.length,
        bytes: condemned.reduce((sum, { size }) => sum + size, 0),
      },
      objects: condemned.slice(0, limits.gcObjectsListed).map(({ key, size, why }) => ({ key, size, why })),
    })),
    failures: failures.map(({ artifactId, path, error }) => ({
      artifactId,
      path,
      error: errorBody(toArtifactError(error)),
    })),
  };
}
