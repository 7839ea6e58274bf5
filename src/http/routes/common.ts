import type { TSchema } from '@sinclair/typebox';
import { Type } from '@sinclair/typebox';
import type { Artifact } from '../../artifacts/ports.js';
import { ndjson } from '../operations.js';
import type { ApiServices } from '../ports.js';
import { ErrorBody, Event } from '../schemas.js';

/** `{artifact}` in a URL: its path, percent-encoded as one segment; `%2F` alone is the root collection. */
export const artifactParams = Type.Object({
  artifact: Type.String({
    description: 'path of names, percent-encoded as one segment (gallery%2Fcells); %2F alone is the root',
  }),
});

export const findArtifact = async (services: ApiServices, params: { artifact: string }): Promise<Artifact> =>
  services.artifacts.find(params.artifact.replace(/^\/+|\/+$/g, ''));

/** The answers of a route: what it gives, or an error. */
export const answers = <T extends TSchema>(schema: T) => ({
  200: schema,
  '4xx': ErrorBody,
  '5xx': ErrorBody,
});

/** The same for a route that may also answer by events. */
export const longAnswers = (schema: TSchema) => ({
  200: {
    description: 'the result, or with Accept: application/x-ndjson one event a line',
    content: { 'application/json': { schema }, [ndjson]: { schema: Event } },
  },
  '4xx': ErrorBody,
  '5xx': ErrorBody,
});

export const ref = Type.String({
  default: '',
  description: "'' or 'stage' for the working view, else a version: v3, latest, an alias",
});
export const filePath = Type.String({ description: 'inside the artifact, without a leading slash' });
export const limit = (standard: number, max: number) =>
  Type.Integer({ minimum: 1, maximum: max, default: standard, description: 'at most so many' });

/** The answers of a route that gives bytes, as a stream. */
export const byteAnswers: Readonly<Record<string, object>> = {
  200: { description: 'all of it', content: { 'application/octet-stream': { schema: bytes() } } },
  206: { description: 'the range', content: { 'application/octet-stream': { schema: bytes() } } },
  '4xx': ErrorBody,
  '5xx': ErrorBody,
};

function bytes() {
  return Type.String({ format: 'binary' });
}
