import { Type } from '@sinclair/typebox';
import { ArtifactError } from '../../model/errors.js';
import type { Operations } from '../operations.js';
import type { ApiServices } from '../ports.js';
import { DaemonStats, DaemonStatus, LogLevel } from '../schemas.js';
import type { Server } from '../typed-server.js';
import { answers } from './common.js';

const tags = ['daemon'];

/** About the process: answered whatever its state is. */
export function daemonRoutes(server: Server, services: ApiServices, operations: Operations): void {
  const { daemon } = services;

  server.get(
    '/openapi.json',
    {
      schema: {
        tags,
        summary: 'This document',
        response: answers(Type.Object({}, { additionalProperties: true })),
      },
    },
    async () => server.swagger(),
  );

  server.get(
    '/v1/status',
    { schema: { tags, summary: 'State of the daemon', response: answers(DaemonStatus) } },
    async () => daemon.status(),
  );

  server.get(
    '/v1/stats',
    { schema: { tags, summary: 'Counters of the daemon', response: answers(DaemonStats) } },
    async () => daemon.stats(),
  );

  server.get(
    '/v1/log-level',
    { schema: { tags, summary: 'Least severe message that is logged', response: answers(LogLevel) } },
    async () => ({ level: daemon.status().logLevel }),
  );

  server.put(
    '/v1/log-level',
    { schema: { tags, summary: 'Change the log level', body: LogLevel, response: answers(LogLevel) } },
    async (request) => {
      const { level } = request.body;
      if (!daemon.logLevels.includes(level)) {
        throw new ArtifactError('Invalid', `'${level}' is no log level`, {
          hint: `use one of ${daemon.logLevels.join(', ')}`,
        });
      }
      daemon.setLogLevel(level);
      return { level };
    },
  );

  server.post(
    '/v1/shutdown',
    {
      schema: {
        tags,
        summary: 'Unmount and end the daemon',
        description: 'Answers when the daemon has begun to stop; the socket goes when it is done.',
        querystring: Type.Object(
          { force: Type.Boolean({ default: false, description: 'also when files in the mount are open' }) },
          { additionalProperties: false },
        ),
        response: answers(Type.Object({ pid: Type.Integer() })),
      },
    },
    async (request) => {
      await daemon.shutdown({ force: request.query.force });
      return { pid: process.pid };
    },
  );

  server.delete(
    '/v1/operations/:operation',
    {
      schema: {
        tags,
        summary: 'Cancel a long call',
        description: 'Its own answer then ends with an error, or with its result when it was too late.',
        params: Type.Object({ operation: Type.String() }),
        response: answers(Type.Object({ cancelled: Type.Boolean() })),
      },
    },
    async (request) => ({ cancelled: operations.cancel(request.params.operation) }),
  );
}
