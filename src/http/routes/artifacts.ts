import { Type } from '@sinclair/typebox';
import type { Artifact, Artifacts } from '../../artifacts/ports.js';
import type { VersionInfo } from '../../catalog/ports.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import type { ApiServices } from '../ports.js';
import {
  ArtifactDetails,
  ArtifactList,
  type ArtifactList as ArtifactListType,
  ArtifactSummary,
  type ArtifactSummary as ArtifactSummaryType,
  Manifest,
  type Version,
} from '../schemas.js';
import type { Server } from '../typed-server.js';
import { answers, artifactParams, findArtifact, limit } from './common.js';

const tags = ['artifacts'];
const childrenPage = 1000;

export function artifactRoutes(server: Server, services: ApiServices): void {
  server.get(
    '/v1/artifacts',
    {
      schema: {
        tags,
        summary: 'Artifacts of a collection',
        querystring: Type.Object(
          {
            collection: Type.String({ default: '', description: 'path of names; empty for the root' }),
            recursive: Type.Boolean({ default: false, description: 'also those in its collections' }),
            after: Type.Optional(Type.String({ description: 'go on after this path' })),
            limit: limit(1000, limits.apiListMax),
          },
          { additionalProperties: false },
        ),
        response: answers(ArtifactList),
      },
    },
    async (request) => list(services.artifacts, request.query),
  );

  server.post(
    '/v1/artifacts',
    {
      schema: {
        tags,
        summary: 'Create an artifact in the stage',
        description: 'Its first commit makes v0 and shows it to everybody.',
        body: Type.Object(
          {
            path: Type.String({ description: 'path of names; all but the last are collections' }),
            type: Type.Optional(Type.String({ description: "'collection' for one" })),
            manifest: Type.Optional(Manifest),
          },
          { additionalProperties: false },
        ),
        response: answers(ArtifactSummary),
      },
    },
    async (request) => create(services.artifacts, request.body),
  );

  server.get(
    '/v1/artifacts/:artifact',
    {
      schema: {
        tags,
        summary: 'One artifact, and one of its versions',
        params: artifactParams,
        querystring: Type.Object(
          { ref: Type.String({ default: '', description: 'version to describe: v3, latest, an alias' }) },
          { additionalProperties: false },
        ),
        response: answers(ArtifactDetails),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      const { ref } = request.query;
      const selected = ref === '' || ref === 'stage' ? null : describeVersion(artifact.resolveVersion(ref));
      return {
        ...summarize(services.artifacts, artifact),
        selected,
        manifest: { ...artifact.manifest() },
        aliases: { ...artifact.aliases() },
        versions: artifact.versions().length,
      };
    },
  );

  server.delete(
    '/v1/artifacts/:artifact',
    {
      schema: {
        tags,
        summary: 'Remove an artifact that was never committed',
        params: artifactParams,
        response: answers(Type.Object({})),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      const { parent, name } = splitName(artifact.path);
      if (name === '') throw new ArtifactError('NotPermitted', 'the root collection cannot be removed');
      await services.artifacts.remove(await services.artifacts.find(parent), name, { announce: true });
      return {};
    },
  );

  server.get(
    '/v1/artifacts/:artifact/manifest',
    { schema: { tags, summary: 'Manifest as staged', params: artifactParams, response: answers(Manifest) } },
    async (request) => ({ ...(await findArtifact(services, request.params)).manifest() }),
  );

  server.put(
    '/v1/artifacts/:artifact/manifest',
    {
      schema: {
        tags,
        summary: 'Stage a new manifest',
        params: artifactParams,
        body: Manifest,
        response: answers(Manifest),
      },
    },
    async (request) => {
      const artifact = await findArtifact(services, request.params);
      artifact.setManifest(request.body);
      return { ...artifact.manifest() };
    },
  );
}

async function create(
  artifacts: Artifacts,
  { path, type, manifest }: { path: string; type?: string; manifest?: Record<string, unknown> },
): Promise<ArtifactSummaryType> {
  const { parent, name } = splitName(path.replace(/^\/+|\/+$/g, ''));
  if (name === '') throw new ArtifactError('InvalidName', 'an artifact needs a name');
  const collection = await artifacts.find(parent);
  const artifact = artifacts.create(collection, name, {
    ...(type === undefined ? {} : { type }),
    announce: true,
  });
  if (manifest !== undefined) {
    artifact.setManifest(type === undefined || 'type' in manifest ? manifest : { ...manifest, type });
  }
  return summarize(artifacts, artifact);
}

async function list(
  artifacts: Artifacts,
  query: { collection: string; recursive: boolean; after?: string; limit: number },
): Promise<ArtifactListType> {
  const collection = await artifacts.find(query.collection.replace(/^\/+|\/+$/g, ''));
  if (!collection.isCollection) {
    throw new ArtifactError('NotDirectory', `'${collection.path}' is an artifact, not a collection`, {
      hint: `its files: artifactfs ls ${collection.path}/`,
    });
  }
  const found: ArtifactSummaryType[] = [];
  for await (const artifact of walk(artifacts, collection, query.recursive)) {
    if (query.after !== undefined && !isAfter(artifact.path, query.after)) continue;
    if (found.length === query.limit) return { artifacts: found, more: true };
    found.push(summarize(artifacts, artifact));
  }
  return { artifacts: found, more: false };
}

/** In the order of `walk`: name by name, a collection before what is in it. */
function isAfter(path: string, after: string): boolean {
  const a = path.split('/');
  const b = after.split('/');
  for (let i = 0; i < Math.min(a.length, b.length); i++) {
    const order = Buffer.compare(Buffer.from(a[i] ?? ''), Buffer.from(b[i] ?? ''));
    if (order !== 0) return order > 0;
  }
  return a.length > b.length;
}

async function* walk(
  artifacts: Artifacts,
  collection: Artifact,
  recursive: boolean,
): AsyncGenerator<Artifact> {
  for (let after: string | null = null; ; ) {
    const names: readonly string[] = artifacts.children(collection, after, childrenPage);
    for (const name of names) {
      const artifact = await artifacts.child(collection, name);
      // Renamed or removed since the names were read.
      if (artifact === undefined) continue;
      yield artifact;
      if (recursive && artifact.isCollection) yield* walk(artifacts, artifact, true);
    }
    if (names.length < childrenPage) return;
    after = names.at(-1) ?? null;
  }
}

function summarize(artifacts: Artifacts, artifact: Artifact): ArtifactSummaryType {
  const latest = artifact.versions().find((version) => !version.expired);
  const { type } = artifact.manifest();
  return {
    path: artifact.path,
    artifactId: artifact.id,
    type: typeof type === 'string' ? type : artifact.isCollection ? 'collection' : '',
    isCollection: artifact.isCollection,
    isNew: artifact.isNew,
    isStaged: artifacts.staged().some((staged) => staged.id === artifact.id),
    latest: latest === undefined ? null : describeVersion(latest),
  };
}

export function describeVersion(version: VersionInfo): Version {
  const { commitId, timeMs, host, user, message, added, changed, removed, expired, tree } = version;
  return {
    version: version.version,
    commitId,
    timeMs,
    host,
    user,
    message,
    added,
    changed,
    removed,
    expired,
    entries: tree.entries,
    bytes: tree.bytes,
  };
}

function splitName(path: string): { parent: string; name: string } {
  const slash = path.lastIndexOf('/');
  return { parent: path.slice(0, Math.max(0, slash)), name: path.slice(slash + 1) };
}
