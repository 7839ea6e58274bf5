import { statfs } from 'node:fs/promises';
import { join } from 'node:path';
import type { Environment } from '../config/directories.js';
import type { Config } from '../config/options.js';
import { prepareMountPoint } from '../fuse/mount-point.js';
import type { MountedFileSystem } from '../fuse/mounted-file-system.js';
import { Operations } from '../http/operations.js';
import { ApiSocket } from '../http/socket.js';
import type { RootLogger } from '../log/logger.js';
import { limits } from '../model/limits.js';
import { kernelNodesMax, memoryShares } from '../model/memory-shares.js';
import { type Deferred, deferred } from '../util/deferred.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { programVersion } from '../util/version.js';
import { whenQuiet } from '../util/when-quiet.js';
import { createFileSystem, type SpaceStatistics } from '../vfs/create-file-system.js';
import type { CreateMode } from '../workspace/format.js';
import type { WriterLease } from '../workspace/writer-lease.js';
import { Closers } from './closers.js';
import { Control } from './control.js';
import { EarlyLog } from './daemon-log.js';
import { mountBy } from './drivers.js';
import { openKnownWorkspace } from './known-stores.js';
import { type Layers, openLayers } from './layers.js';
import { LeaseKeeper } from './lease-keeper.js';
import { type DaemonRecord, register, unregister } from './registry.js';
import { StateDirectory } from './state-directory.js';
import { openStoreToWrite } from './store.js';
import { StoreProof } from './store-proof.js';

export interface StartOptions {
  readonly env: Environment;
  /** Without it nothing is mounted: the app serves its API only. */
  readonly mountPoint?: string;
  /** A command's own app, that lives for one call: not registered, no polling. */
  readonly transient?: boolean;
  /** Make the workspace where there is none: 'if-empty' (default) only where nothing is, true also beside other objects. */
  readonly create?: CreateMode;
  /** Log to daemon.log in the state directory instead of standard error. */
  readonly background?: boolean;
}

/** One workspace, open and served. Disposing of it unmounts, finishes or journals uploads, and closes everything. */
export interface App extends AsyncDisposable {
  readonly workspaceId: string;
  readonly stateDirectory: string;
  readonly socketPath: string;
  readonly mountPoint: string | null;
  /** Only this machine may write to the store, for as long as the app is there. */
  readonly isSingleWriter: boolean;
  readonly log: RootLogger;
  /** Resolves when somebody asked for the end: the API, or an unmount from outside. */
  readonly stopRequested: Promise<string>;
}

/**
 * Opens store, workspace, local state and layers in this order, then the API, then the mount. A failure closes what was
 * opened, in reverse, and is thrown.
 */
export async function startApp(config: Config, options: StartOptions): Promise<App> {
  const closers = new Closers();
  try {
    return await open(config, options, closers);
  } catch (error) {
    await closers[Symbol.asyncDispose]().catch(() => undefined); // the reason is in `error`
    throw error;
  }
}

async function open(config: Config, options: StartOptions, closers: Closers): Promise<App> {
  const create: CreateMode = config.readOnly ? false : (options.create ?? 'if-empty');
  const mountPoint =
    options.mountPoint === undefined ? undefined : (await prepareMountPoint(options.mountPoint, false)).path;
  const earlyLog = new EarlyLog();
  const transient = options.transient ?? false;
  const writing: { lease: WriterLease | null } = { lease: null };
  const { store, workspace, isAway } = await openKnownWorkspace(
    config,
    { create, mayBeAway: !transient },
    async (mayCreate) => {
      const opened = await openStoreToWrite(
        config,
        { create: mayCreate, logger: earlyLog },
        mountPoint ?? null,
      );
      writing.lease = opened.lease;
      return opened.store;
    },
  );
  closers.use(store);
  const base = config.store.startsWith('memory:') ? null : config.stateDir;
  // The last thing that goes: who waits for the end of a daemon waits for this.
  let registered: DaemonRecord | undefined;
  closers.defer(() => registered && unregister(options.env, registered));
  const state = closers.use(await StateDirectory.open(base, workspace.workspaceId));
  const log = closers.use(earlyLog.open(config, options.background ? join(state.path, 'daemon.log') : 2));

  const record: DaemonRecord = {
    pid: process.pid,
    startedMs: Date.now(),
    version: programVersion,
    store: config.store,
    workspaceId: workspace.workspaceId,
    stateDirectory: state.path,
    socketPath: state.socketPath,
    mountPoint: mountPoint ?? null,
    transient,
  };
  await state.announce(record);
  if (isAway) log.warn({ store: config.store }, 'the store does not answer: what is known of it is shown');
  const stop = deferred<string>();
  const onShutdown = (): void => stop.resolve('asked to');
  const admitChange = (): MaybePromise<void> => proof.admitChange();
  const { lease } = writing;
  const control = new Control({
    ...{ config, record, log, admitChange, onShutdown },
    isSingleWriter: () => proof.needsLease,
    leaseRefusal: () => lease?.refusal() ?? null,
  });
  const onRefused = (reason: string): void => {
    log.warn({ reason }, 'nothing can be written');
    control.refuseChanges(reason);
  };
  const proof = await StoreProof.open({ workspace, stateDirectory: state.path, lease, onRefused });
  if (!transient || lease !== null) workspace.admitWritesBy(() => proof.admitWrite());
  const asked = whyReadOnly(config, proof, transient);
  asked.catch(() => undefined); // it is awaited when the layers are open
  const operations = new Operations(async () => control.services.kernelTold?.());
  const api = closers.use(
    await ApiSocket.listen(state.socketPath, async () => {
      const { createApiServer } = await import('../http/server.js');
      return createApiServer(control.services, operations, programVersion);
    }),
  );
  const layers = closers.use(
    await openLayers({
      config,
      workspace,
      state: state.path,
      log,
      isAway,
      polls: !transient && config.refreshInterval > 0,
      admitChange,
    }),
  );
  closers.defer(() => log.info({}, 'closing'));
  const readOnly = await asked;
  if (config.readOnly) onRefused(readOnlyWanted);
  if (proof.needsLease) log.warn({ store: config.store }, 'nobody but this machine may write');
  control.open(layers, { poll: !transient, isAway });
  closers.defer(() => control.drain(operations, config.stopTimeout * 1000));

  if (readOnly === null)
    closers.use(
      new LeaseKeeper({
        store,
        admitWrite: () => workspace.admitWrite(),
        stages: () => layers.stages(),
        ...workspace.writer,
        mount: mountPoint ?? null,
        stagedBytes: () => layers.counters()['content.stagedBytes'] ?? 0,
        checkMs: limits.leaseCheckMs,
        renewMs: limits.leaseRenewMs,
      }),
    );
  if (mountPoint !== undefined)
    await mountAt(mountPoint, { config, readOnly, log, layers, control, state, closers, stop });
  if (!transient) {
    await register(options.env, record);
    registered = record;
    const { apiPrepareMs: afterMs, apiPrepareQuietMs: quietMs } = limits;
    const later = (): void => {
      api.prepare();
      if (readOnly === null) proveLater(proof, log);
    };
    // It takes the event loop for longer than programs take that read what they have just mounted.
    closers.defer(whenQuiet(later, { afterMs, quietMs }));
  }
  log.info({ store: config.store, mountPoint: mountPoint ?? null, state: state.path }, 'ready');
  return {
    workspaceId: workspace.workspaceId,
    stateDirectory: state.path,
    socketPath: state.socketPath,
    mountPoint: mountPoint ?? null,
    isSingleWriter: proof.needsLease,
    log,
    stopRequested: stop.promise,
    [Symbol.asyncDispose]: () => closers[Symbol.asyncDispose](),
  };
}

const readOnlyWanted = 'the option read-only is set';

/** Why nothing can be written, as far as that has to be known now. A command's own app does what it is there for at once. */
async function whyReadOnly(config: Config, proof: StoreProof, transient: boolean): Promise<string | null> {
  if (config.readOnly) return readOnlyWanted;
  const mayBeLate = transient ? proof.isRemembered : proof.mayBeLate;
  if (mayBeLate) return null;
  const reason = await proof.verdict();
  // Who mounts is told at once when another is the one writer.
  if (proof.needsLease && !transient) await proof.admitWrite();
  return reason;
}

/** What the store does not tell now it is asked again before something is written. */
function proveLater(proof: StoreProof, log: RootLogger): void {
  proof
    .verdict()
    .catch((error: unknown) =>
      log.warn({ err: error }, 'it is not proved yet that the store can be written to'),
    );
}

interface MountParts {
  readonly config: Config;
  readonly readOnly: string | null;
  readonly log: RootLogger;
  readonly layers: Layers;
  readonly control: Control;
  readonly state: StateDirectory;
  readonly closers: Closers;
  readonly stop: Deferred<string>;
}

async function mountAt(mountPoint: string, parts: MountParts): Promise<void> {
  const { config, log, layers, control, state, closers, stop } = parts;
  const fileSystem = createFileSystem({
    artifacts: layers.artifacts,
    statistics: () => spaceOf(state.path, layers.cachedBytes()),
    texts: control.texts,
    nodesMax: kernelNodesMax(config.memory),
  });
  const mounted: MountedFileSystem = closers.use(
    await mountBy(config.driver, log, fileSystem, {
      mountPoint,
      fsName: fsNameOf(config.store),
      allowOther: config.allowOther,
      readOnly: parts.readOnly !== null,
      writebackCache: config.writeCache,
      requestMemoryBytes: memoryShares(config.memory).requests,
      requestTimeoutMs: config.requestTimeout * 1000,
      endTimeoutMs: config.stopTimeout * 1000,
      onError: ({ operation, error, ...where }) =>
        log.error({ err: error, operation, ...where }, 'request failed'),
    }),
  );
  control.mounted(mounted, () => fileSystem.kernelTold());
  void mounted.closed.then((reason) => stop.resolve(reason));
}

/** Shown by df and mount; no character in it may end the option that carries it. */
const fsNameOf = (store: string) => store.replace(/[,\\\s\p{Cc}]/gu, '_').slice(0, 200);

/** Programs that ask first, and fallocate(2), must not be refused what would be given to them. */
async function spaceOf(directory: string, cachedBytes: number): Promise<SpaceStatistics> {
  const { bsize, blocks, bfree, bavail, files, ffree } = await statfs(directory);
  const cached = Math.floor(cachedBytes / bsize);
  return {
    blockBytes: bsize,
    blocks,
    blocksFree: bfree + cached,
    blocksAvailable: bavail + cached,
    files,
    filesFree: ffree,
  };
}
