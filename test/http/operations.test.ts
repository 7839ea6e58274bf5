import { setTimeout as sleep } from 'node:timers/promises';
import Fastify from 'fastify';
import { expect, test } from 'vitest';
import { Operations } from '../../src/http/operations.js';
import { ArtifactError } from '../../src/model/errors.js';
import { deferred } from '../../src/util/deferred.js';

const outcomes = {
  result: () => Promise.resolve({ bytes: 1 } as never),
  error: () => Promise.reject(new ArtifactError('Conflict', 'made to fail')),
};

test.each(['result', 'error'] as const)(
  'regression: the last line (%s) of an answer in events waits until the mount shows the change',
  async (outcome) => {
    const told = deferred<void>();
    const operations = new Operations(() => told.promise);
    await using server = Fastify();
    server.post('/', (request, reply) => operations.answer(request, reply, outcomes[outcome]));
    let isAnswered = false;
    const answering = server
      .inject({ method: 'POST', url: '/', headers: { accept: 'application/x-ndjson' } })
      .then((answer) => {
        isAnswered = true;
        return answer;
      });
    await sleep(100);
    expect(isAnswered).toBe(false);
    expect(operations.count).toBe(1);
    told.resolve();
    const lines = (await answering).body.trim().split('\n');
    expect(lines.map((line) => (JSON.parse(line) as { event: string }).event)).toEqual(['started', outcome]);
    expect(operations.count).toBe(0);
  },
);
