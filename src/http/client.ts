import { Agent, request as httpRequest, type IncomingMessage } from 'node:http';
import type { Readable } from 'node:stream';
import { json } from 'node:stream/consumers';
import type { ArtifactFacts } from '../catalog/catalog-facts.js';
import { ArtifactError } from '../model/errors.js';
import { errorFromBody } from './error-body.js';
import type {
  AliasChange,
  ArtifactDetails,
  ArtifactList,
  ArtifactStatus,
  ArtifactSummary,
  CacheCoverage,
  CacheStatus,
  CommitProgress,
  CommitResult,
  DaemonStats,
  DaemonStatus,
  Diff,
  ErrorBody,
  Event,
  FileInfo,
  FileList,
  GcProgress,
  GcResult,
  RemovedArtifact,
  Resolved,
  Version,
  WarmProgress,
  WarmResult,
  WriteProgress,
} from './schemas.js';

export interface LongCallOptions<P> {
  readonly onProgress?: ((progress: P) => void) | undefined;
  /** Told the id under which `cancel` stops the call. */
  readonly onStarted?: ((operation: string) => void) | undefined;
}

export interface FileAttributes {
  readonly mode?: number | undefined;
  readonly mtime?: { readonly s: number; readonly ns: number } | undefined;
}

type Query = Readonly<Record<string, string | number | boolean | undefined>>;
interface CallOptions {
  readonly query?: Query;
  readonly body?: unknown;
  readonly timeoutMs?: number;
  readonly headers?: Readonly<Record<string, string>>;
  readonly source?: Readable;
}

const quickCallMsMax = 5_000;

/**
 * The control API of one daemon, over its Unix socket. Failures are the daemon's `ArtifactError`s; besides `NotFound`
 * when no daemon listens, `TimedOut` when it does not answer, `Internal` when it went away during the call.
 */
export class ControlClient implements Disposable {
  readonly socketPath: string;
  readonly #agent: Agent;

  constructor(socketPath: string) {
    this.socketPath = socketPath;
    this.#agent = new Agent({ keepAlive: true });
  }

  /** Closes idle connections: the process may end. */
  [Symbol.dispose](): void {
    this.#agent.destroy();
  }

  status = (timeoutMs = quickCallMsMax) => this.#call<DaemonStatus>('GET', '/v1/status', { timeoutMs });
  stats = () => this.#call<DaemonStats>('GET', '/v1/stats', { timeoutMs: quickCallMsMax });
  logLevel = () => this.#call<{ level: string }>('GET', '/v1/log-level', { timeoutMs: quickCallMsMax });
  setLogLevel = (level: string) => this.#call<{ level: string }>('PUT', '/v1/log-level', { body: { level } });
  shutdown = (force: boolean) => this.#call<{ pid: number }>('POST', '/v1/shutdown', { query: { force } });
  refreshAll = () => this.#call<object>('POST', '/v1/refresh');
  resolve = (path: string) => this.#call<Resolved>('GET', '/v1/resolve', { query: { path } });
  cancel = (operation: string) =>
    this.#call<{ cancelled: boolean }>('DELETE', `/v1/operations/${encodeURIComponent(operation)}`);

  gc = (
    body: { paths: string[]; dryRun: boolean; graceSeconds?: number; deadAfterSeconds?: number },
    options: LongCallOptions<GcProgress> = {},
  ) => this.#longCall<GcResult, GcProgress>('POST', '/v1/gc', { body }, options);

  artifacts = (query: { collection: string; recursive?: boolean; after?: string; limit?: number }) =>
    this.#call<ArtifactList>('GET', '/v1/artifacts', { query });
  create = (body: { path: string; type?: string; manifest?: Record<string, unknown> }) =>
    this.#call<ArtifactSummary>('POST', '/v1/artifacts', { body });
  show = (artifact: string, ref = '') =>
    this.#call<ArtifactDetails>('GET', route(artifact), { query: { ref } });
  artifactStatus = (artifact: string, limit?: number) =>
    this.#call<ArtifactStatus>('GET', route(artifact, 'status'), { query: { limit } });
  log = (artifact: string, limit?: number) =>
    this.#call<{ versions: Version[]; more: boolean }>('GET', route(artifact, 'log'), { query: { limit } });
  diff = (artifact: string, query: { from?: string | undefined; to?: string | undefined; limit?: number }) =>
    this.#call<Diff>('GET', route(artifact, 'diff'), { query });
  discard = (artifact: string) => this.#call<{ discarded: number }>('POST', route(artifact, 'discard'));
  refresh = (artifact: string) => this.#call<{ moved: boolean }>('POST', route(artifact, 'refresh'));
  unlink = (artifact: string, body: { force: boolean; recursive: boolean }) =>
    this.#call<object>('POST', route(artifact, 'unlink'), { body });
  move = (artifact: string, to: string) =>
    this.#call<{ path: string }>('POST', route(artifact, 'move'), { body: { to } });
  removed = () => this.#call<{ removed: RemovedArtifact[] }>('GET', '/v1/removed');
  restore = (what: string, as?: string) =>
    this.#call<{ path: string }>('POST', '/v1/removed/restore', {
      body: { what, ...(as === undefined ? {} : { as }) },
    });
  aliases = (artifact: string) =>
    this.#call<{ aliases: Record<string, number> }>('GET', route(artifact, 'aliases'));
  setAlias = (artifact: string, alias: string, body: { version: string; expected?: string }) =>
    this.#call<AliasChange>('PUT', route(artifact, `aliases/${encodeURIComponent(alias)}`), { body });
  removeAlias = (artifact: string, alias: string, expected?: string) =>
    this.#call<AliasChange>('DELETE', route(artifact, `aliases/${encodeURIComponent(alias)}`), {
      query: { expected },
    });
  expire = (artifact: string, versions: readonly number[]) =>
    this.#call<{ expired: number[] }>('POST', route(artifact, 'expire'), { body: { versions } });
  commit = (
    artifact: string,
    body: { message: string; onConflict?: 'fail' | 'mine' | 'theirs' },
    options: LongCallOptions<CommitProgress> = {},
  ) => this.#longCall<CommitResult, CommitProgress>('POST', route(artifact, 'commit'), { body }, options);

  stat = (artifact: string, ref: string, path: string) =>
    this.#call<FileInfo>('GET', route(artifact, 'stat'), { query: { ref, path } });
  list = (
    artifact: string,
    query: { ref: string; path: string; recursive?: boolean; after?: string; limit?: number },
  ) => this.#call<FileList>('GET', route(artifact, 'list'), { query });
  write = (
    artifact: string,
    path: string,
    source: Readable,
    attributes: FileAttributes = {},
    options: LongCallOptions<WriteProgress> = {},
  ) =>
    this.#longCall<FileInfo, WriteProgress>(
      'PUT',
      route(artifact, 'content'),
      { query: { path, ...attributesQuery(attributes) }, source },
      options,
    );
  mkdir = (artifact: string, path: string, attributes: FileAttributes = {}) =>
    this.#call<object>('POST', route(artifact, 'directories'), {
      query: { path, ...attributesQuery(attributes) },
    });
  symlink = (artifact: string, path: string, target: string, attributes: FileAttributes = {}) =>
    this.#call<object>('POST', route(artifact, 'symlinks'), {
      query: { path, ...attributesQuery({ mtime: attributes.mtime }) },
      body: { target },
    });
  remove = (artifact: string, path: string, recursive = false) =>
    this.#call<object>('DELETE', route(artifact, 'files'), { query: { path, recursive } });

  catalogFacts = (artifactId: string) =>
    this.#call<{ facts: ArtifactFacts | null }>('GET', `/v1/catalog/artifacts/${artifactId}`);
  treeDigest = (sha256: string) =>
    this.#call<{ digest: string | null }>('GET', `/v1/catalog/trees/${sha256}`);

  cache = () => this.#call<CacheStatus>('GET', '/v1/cache');
  evictAll = () => this.#call<{ bytes: number }>('POST', '/v1/cache/evict');
  coverage = (artifact: string, ref: string, path: string) =>
    this.#call<CacheCoverage>('GET', route(artifact, 'cache'), { query: { ref, path } });
  warm = (
    artifact: string,
    query: { ref: string; path: string; from?: string | undefined },
    options: LongCallOptions<WarmProgress> = {},
  ) => this.#longCall<WarmResult, WarmProgress>('POST', route(artifact, 'warm'), { query }, options);
  pin = (artifact: string, ref: string, path: string) =>
    this.#call<CacheCoverage>('PUT', route(artifact, 'pin'), { query: { ref, path } });
  unpin = (artifact: string, ref: string, path: string) =>
    this.#call<{ unpinned: boolean }>('DELETE', route(artifact, 'pin'), { query: { ref, path } });
  evict = (artifact: string, ref: string, path: string) =>
    this.#call<{ bytes: number }>('POST', route(artifact, 'evict'), { query: { ref, path } });

  /** The file's bytes. The stream fails when the daemon could not send all of them. */
  async read(artifact: string, ref: string, path: string): Promise<Readable> {
    const response = await this.#send('GET', route(artifact, 'content'), { query: { ref, path } });
    if (response.statusCode !== 200) throw await failure(response);
    return response;
  }

  async #call<T>(method: string, path: string, options: CallOptions = {}): Promise<T> {
    const response = await this.#send(method, path, options);
    if ((response.statusCode ?? 500) >= 400) throw await failure(response);
    return (await json(response)) as T;
  }

  async #longCall<R, P>(
    method: string,
    path: string,
    options: CallOptions,
    { onProgress, onStarted }: LongCallOptions<P>,
  ): Promise<R> {
    const headers = { accept: 'application/x-ndjson' };
    const response = await this.#send(method, path, { ...options, headers });
    if ((response.statusCode ?? 500) >= 400) {
      // The rest of the source is wanted by nobody.
      options.source?.destroy();
      throw await failure(response);
    }
    for await (const event of this.#events(response)) {
      if (event.event === 'started') onStarted?.(event.operation);
      else if (event.event === 'progress') onProgress?.(event.progress as P);
      else if (event.event === 'result') return event.result as R;
      else {
        options.source?.destroy();
        throw errorFromBody(event.error);
      }
    }
    throw this.#wentAway();
  }

  /** Not by readline: it does not hand on that the response was cut off. */
  async *#events(response: IncomingMessage): AsyncGenerator<Event> {
    response.setEncoding('utf8');
    let rest = '';
    try {
      for await (const chunk of response) {
        const lines = (rest + (chunk as string)).split('\n');
        rest = lines.pop() ?? '';
        for (const line of lines) yield JSON.parse(line) as Event;
      }
    } catch (error) {
      throw error instanceof SyntaxError ? error : this.#wentAway(error);
    }
  }

  #send(method: string, path: string, options: CallOptions): Promise<IncomingMessage> {
    const { query, body, source, timeoutMs, headers } = options;
    const text = body === undefined ? undefined : JSON.stringify(body);
    return new Promise((resolve, reject) => {
      const request = httpRequest({
        agent: this.#agent,
        socketPath: this.socketPath,
        method,
        path: `${path}${queryString(query)}`,
        headers: {
          ...headers,
          ...(text === undefined ? {} : { 'content-type': 'application/json' }),
          ...(source === undefined ? {} : { 'content-type': 'application/octet-stream' }),
        },
      });
      let sourceError: unknown;
      request.once('response', resolve);
      request.on('error', (error) => reject(sourceError ?? this.#connectionError(error)));
      if (timeoutMs !== undefined) {
        request.setTimeout(timeoutMs, () => request.destroy(this.#noAnswer(timeoutMs)));
      }
      if (source === undefined) {
        request.end(text);
        return;
      }
      source.once('error', (error) => {
        sourceError = error;
        // Cut off, not ended: what has arrived so far is not the file.
        request.destroy();
        reject(error);
      });
      source.pipe(request);
    });
  }

  #connectionError(error: NodeJS.ErrnoException): Error {
    if (error instanceof ArtifactError) return error;
    if (error.code === 'ENOENT' || error.code === 'ECONNREFUSED') {
      return new ArtifactError('NotFound', `no daemon listens at ${this.socketPath}`, {}, error);
    }
    if (error.code === 'EACCES') {
      return new ArtifactError(
        'AccessDenied',
        `the daemon at ${this.socketPath} is another user's`,
        {},
        error,
      );
    }
    return this.#wentAway(error);
  }

  #wentAway(cause?: unknown): ArtifactError {
    return new ArtifactError(
      'Internal',
      'the daemon went away during the request',
      { hint: 'look into its log; what was staged is kept' },
      cause,
    );
  }

  #noAnswer(timeoutMs: number): ArtifactError {
    return new ArtifactError('TimedOut', `the daemon did not answer within ${timeoutMs / 1000} s`, {
      hint: 'look into its log; artifactfs unmount --force ends it',
    });
  }
}

function route(artifact: string, what?: string): string {
  const base = `/v1/artifacts/${encodeURIComponent(artifact === '' ? '/' : artifact)}`;
  return what === undefined ? base : `${base}/${what}`;
}

function queryString(query: Query = {}): string {
  const given = Object.entries(query).filter(([, value]) => value !== undefined);
  if (given.length === 0) return '';
  return `?${given.map(([name, value]) => `${name}=${encodeURIComponent(String(value))}`).join('&')}`;
}

function attributesQuery({ mode, mtime }: FileAttributes): Query {
  return {
    mode: mode === undefined ? undefined : mode & 0o7777,
    mtime: mtime === undefined ? undefined : decimalTime(mtime.s, mtime.ns),
  };
}

function decimalTime(s: number, ns: number): string {
  if (s >= 0 || ns === 0) return `${s}.${String(ns).padStart(9, '0')}`;
  const whole = -(s + 1);
  return `-${whole}.${String(1e9 - ns).padStart(9, '0')}`;
}

async function failure(response: IncomingMessage): Promise<ArtifactError> {
  return errorFromBody((await json(response)) as ErrorBody);
}
