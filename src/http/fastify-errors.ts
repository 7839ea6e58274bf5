import type { FastifyError } from 'fastify';
import { ArtifactError, toArtifactError } from '../model/errors.js';

/** Failures of Fastify itself (a body against its schema, too large, no JSON) have a status but no code of ours. */
export function fromFastify(error: FastifyError | Error): ArtifactError {
  const status = (error as FastifyError).statusCode;
  if (error instanceof ArtifactError || status === undefined || status >= 500) return toArtifactError(error);
  if (status === 413) {
    return new ArtifactError('TooLarge', 'the request body is too large', {}, error);
  }
  return new ArtifactError(status === 404 ? 'NotFound' : 'Invalid', error.message, {}, error);
}
