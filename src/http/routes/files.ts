import type { Readable } from 'node:stream';
import { Type } from '@sinclair/typebox';
import type { FastifyReply } from 'fastify';
import type { Artifact } from '../../artifacts/ports.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { Operations } from '../operations.js';
import type { ApiServices } from '../ports.js';
import { parseRange } from '../range.js';
import { FileInfo, type FileInfo as FileInfoType, FileList, type WriteProgress } from '../schemas.js';
import type { Server } from '../typed-server.js';
import {
  answers,
  artifactParams,
  byteAnswers,
  filePath,
  findArtifact,
  limit,
  longAnswers,
  ref,
} from './common.js';

const tags = ['files'];
const mode = Type.Optional(
  Type.Integer({ minimum: 0, maximum: 0o7777, description: 'permission bits, decimal' }),
);
const mtime = Type.Optional(
  Type.String({
    pattern: '^-?[0-9]+(\\.[0-9]{1,9})?$',
    description: 'seconds since 1970, up to nine decimals',
  }),
);
const empty = Type.Object({});

export function fileRoutes(server: Server, services: ApiServices, operations: Operations): void {
  readRoutes(server, services);
  writeRoutes(server, services, operations);
}

function readRoutes(server: Server, services: ApiServices): void {
  server.get(
    '/v1/artifacts/:artifact/stat',
    {
      schema: {
        tags,
        summary: 'One file',
        params: artifactParams,
        querystring: Type.Object({ ref, path: filePath }, { additionalProperties: false }),
        response: answers(FileInfo),
      },
    },
    async (request) =>
      services.artifacts.files.stat(
        await findArtifact(services, request.params),
        request.query.ref,
        request.query.path,
      ),
  );

  server.get(
    '/v1/artifacts/:artifact/list',
    {
      schema: {
        tags,
        summary: 'Files of a directory, in order of their names',
        params: artifactParams,
        querystring: Type.Object(
          {
            ref,
            path: Type.String({ default: '', description: 'directory; empty for all of the artifact' }),
            recursive: Type.Boolean({ default: false }),
            after: Type.Optional(Type.String({ description: 'go on after this path' })),
            limit: limit(1000, limits.apiListMax),
          },
          { additionalProperties: false },
        ),
        response: answers(FileList),
      },
    },
    async (request) => {
      const { ref, path, recursive, after, limit } = request.query;
      const artifact = await findArtifact(services, request.params);
      const options = { recursive, limit: limit + 1, ...(after === undefined ? {} : { after }) };
      const found = await services.artifacts.files.list(artifact, ref, path, options);
      return { files: found.slice(0, limit), more: found.length > limit };
    },
  );

  server.get(
    '/v1/artifacts/:artifact/content',
    {
      schema: {
        tags,
        summary: 'Bytes of a file, or one range of them',
        params: artifactParams,
        querystring: Type.Object({ ref, path: filePath }, { additionalProperties: false }),
        headers: Type.Object({
          range: Type.Optional(Type.String({ description: 'one range: bytes=0-99, bytes=100-, bytes=-50' })),
        }),
        response: byteAnswers,
      },
    },
    async (request, reply) => {
      const artifact = await findArtifact(services, request.params);
      const { ref, path } = request.query;
      const info = await services.artifacts.files.stat(artifact, ref, path);
      if (info.kind === 'dir') throw new ArtifactError('IsDirectory', `${path} is a directory`);
      if (info.kind !== 'file') throw new ArtifactError('Invalid', `${path} is a ${info.kind}, not a file`);
      const range = parseRange(request.headers.range, info.size);
      if (range === 'unsatisfiable') {
        reply.header('content-range', `bytes */${info.size}`);
        throw new ArtifactError('NotSeekable', `range ${request.headers.range} is past the end of ${path}`);
      }
      const signal = abortedWith(reply);
      const stream = await services.artifacts.files.read(artifact, ref, path, { ...(range ?? {}), signal });
      if (range !== undefined) {
        reply.code(206);
        reply.header(
          'content-range',
          `bytes ${range.offset}-${range.offset + range.length - 1}/${info.size}`,
        );
      }
      reply.header('content-length', range?.length ?? info.size);
      reply.header('accept-ranges', 'bytes');
      return reply.type('application/octet-stream').send(stream);
    },
  );
}

function writeRoutes(server: Server, services: ApiServices, operations: Operations): void {
  server.put(
    '/v1/artifacts/:artifact/content',
    {
      // The bytes are streamed to the store, never held: only the store limits them.
      bodyLimit: Number.MAX_SAFE_INTEGER,
      schema: {
        tags,
        summary: 'Stage a file',
        description:
          'Creates or replaces it, with the directories it needs. The length need not be known before.',
        consumes: ['application/octet-stream'],
        params: artifactParams,
        querystring: Type.Object({ path: filePath, mode, mtime }, { additionalProperties: false }),
        response: longAnswers(FileInfo),
      },
    },
    async (request, reply) => {
      const artifact = await findArtifact(services, request.params);
      const { path } = request.query;
      checkPlace(artifact, path, 'file');
      const source = request.body as Readable | null | undefined;
      if (source === null || source === undefined || typeof source.pipe !== 'function') {
        throw new ArtifactError('Invalid', 'the body must be application/octet-stream');
      }
      return operations.answer<FileInfoType, WriteProgress>(request, reply, (signal, onProgress) =>
        services.artifacts.files.write(artifact, path, source, {
          ...attributes(request.query),
          signal,
          onProgress: (bytesDone) => onProgress({ bytesDone }),
        }),
      );
    },
  );

  server.post(
    '/v1/artifacts/:artifact/directories',
    {
      schema: {
        tags,
        summary: 'Stage a directory, with those it needs',
        params: artifactParams,
        querystring: Type.Object({ path: filePath, mode, mtime }, { additionalProperties: false }),
        response: answers(empty),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      checkPlace(artifact, request.query.path, 'directory');
      await services.artifacts.files.mkdir(artifact, request.query.path, attributes(request.query));
      return {};
    },
  );

  server.post(
    '/v1/artifacts/:artifact/symlinks',
    {
      schema: {
        tags,
        summary: 'Stage a symlink',
        params: artifactParams,
        querystring: Type.Object({ path: filePath, mtime }, { additionalProperties: false }),
        body: Type.Object({ target: Type.String({ minLength: 1 }) }, { additionalProperties: false }),
        response: answers(empty),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      checkPlace(artifact, request.query.path, 'symlink');
      await services.artifacts.files.symlink(
        artifact,
        request.query.path,
        request.body.target,
        attributes(request.query),
      );
      return {};
    },
  );

  server.delete(
    '/v1/artifacts/:artifact/files',
    {
      schema: {
        tags,
        summary: 'Stage the removal of a file or directory',
        params: artifactParams,
        querystring: Type.Object(
          { path: filePath, recursive: Type.Boolean({ default: false }) },
          { additionalProperties: false },
        ),
        response: answers(empty),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      await services.artifacts.files.remove(artifact, request.query.path, {
        recursive: request.query.recursive,
      });
      return {};
    },
  );
}

/** As in the mount: the root holds artifacts only, and a directory in a collection is an artifact. */
function checkPlace({ path: collection, isCollection }: Artifact, path: string, what: string): void {
  if (collection === '') {
    throw new ArtifactError('NotPermitted', `${path}: the root holds artifacts, not files`, {
      hint: 'put it into an artifact: ART/path',
    });
  }
  if (path.split('/')[0] === '.artifact') {
    throw new ArtifactError('NotPermitted', '.artifact is the control directory');
  }
  if (isCollection && (what === 'directory' || path.includes('/'))) {
    throw new ArtifactError(
      'NotPermitted',
      `${path}: a directory in the collection ${collection} is an artifact`,
      {
        hint: `create it first: artifactfs create ${collection}/${path.split('/')[0]}`,
      },
    );
  }
}

/** The caller is the same user as the daemon: the socket lets nobody else in. So owners are the daemon's. */
function attributes(query: { mode?: number; mtime?: string }) {
  return {
    ...(query.mode === undefined ? {} : { mode: query.mode }),
    ...(query.mtime === undefined ? {} : { mtime: parseTime(query.mtime) }),
  };
}

function parseTime(text: string): { s: number; ns: number } {
  const [whole = '0', fraction = ''] = text.split('.');
  const s = Number(whole);
  const ns = Number(fraction.padEnd(9, '0'));
  // -1.25 is 0.75 seconds after -2.
  return text.startsWith('-') && ns > 0 ? { s: s - 1, ns: 1e9 - ns } : { s, ns };
}

/** Fires when the caller hangs up before all was sent, so that nothing is fetched for nobody. */
function abortedWith(reply: FastifyReply): AbortSignal {
  const controller = new AbortController();
  reply.raw.once('close', () => {
    if (!reply.raw.writableFinished)
      controller.abort(new ArtifactError('Interrupted', 'the caller went away'));
  });
  return controller.signal;
}
