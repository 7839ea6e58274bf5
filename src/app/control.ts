import { setTimeout as sleep } from 'node:timers/promises';
import type { Artifacts } from '../artifacts/ports.js';
import type { Config } from '../config/options.js';
import type { MountedFileSystem } from '../fuse/mounted-file-system.js';
import type { Operations } from '../http/operations.js';
import type { ApiServices, DaemonControl } from '../http/ports.js';
import type { DaemonStats, DaemonStatus } from '../http/schemas.js';
import type { LogLevel, RootLogger } from '../log/logger.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { limits } from '../model/limits.js';
import { type MemoryShares, memoryShares } from '../model/memory-shares.js';
import type { MaybePromise } from '../util/maybe-promise.js';
import { patiently } from '../util/patience.js';
import { programVersion } from '../util/version.js';
import { within } from '../util/within.js';
import type { WorkspaceTexts } from '../vfs/create-file-system.js';
import type { Layers } from './layers.js';
import { LoopDelay } from './loop-delay.js';
import { Refresher } from './refresher.js';
import type { DaemonRecord } from './registry.js';

const logLevels: readonly LogLevel[] = ['trace', 'debug', 'info', 'warn', 'error', 'silent'];

export interface ControlParts {
  readonly config: Config;
  readonly record: DaemonRecord;
  readonly log: RootLogger;
  /** Resolves when changes may be staged; throws `ReadOnly` when none may. */
  readonly admitChange: () => MaybePromise<void>;
  /** Whether nobody else may write to the store meanwhile, */
  readonly isSingleWriter: () => boolean;
  /** and why this machine may not now, though it is the one that did; null when it may. */
  readonly leaseRefusal: () => string | null;
  readonly onShutdown: () => void;
}

interface OpenOptions {
  /** Ask the store for commits of others. */
  readonly poll: boolean;
  /** The store did not answer: it is asked at once, and status tells. */
  readonly isAway: boolean;
}

/** The daemon as its API and its `.artifactfs/` show it, from before the layers are open until after they are closed. */
export class Control implements DaemonControl {
  readonly logLevels = logLevels;
  readonly services: ApiServices;
  readonly texts: WorkspaceTexts;
  readonly #parts: ControlParts;
  #loopDelay: LoopDelay | undefined;
  /** Why nothing may be written, or null. */
  #readOnly: string | null = null;
  #state: DaemonStatus['state'] = 'starting';
  #layers: Layers | undefined;
  #refresher: Refresher | undefined;
  #mount: MountedFileSystem | undefined;
  #kernelTold: () => Promise<void> = async () => {};

  constructor(parts: ControlParts) {
    this.#parts = parts;
    const self = this;
    this.services = {
      daemon: this,
      log: parts.log.named('api'),
      get artifacts() {
        return self.#artifacts();
      },
      get cache() {
        return self.#opened().cache;
      },
      collectGarbage: (options) => this.#opened().collectGarbage(options),
      get catalog() {
        return self.#opened().catalog;
      },
      refuse: (changes) => this.#refuse(changes),
      kernelTold: async () => {
        await within(limits.kernelToldMsMax, this.#kernelTold());
      },
    };
    this.texts = {
      version: () => `${programVersion}\n`,
      readOnly: () => this.#whyReadOnly(),
      config: () => `${JSON.stringify(withoutSecrets(parts.config), null, 2)}\n`,
      stats: () => `${JSON.stringify(this.stats(), null, 2)}\n`,
    };
  }

  open(layers: Layers, { poll, isAway }: OpenOptions): void {
    this.#layers = layers;
    const intervalMs = poll ? this.#parts.config.refreshInterval * 1000 : 0;
    const refreshLog = this.#parts.log.named('refresh');
    this.#refresher = new Refresher(layers.artifacts, intervalMs, refreshLog, isAway ? 0 : intervalMs);
    this.#state = 'running';
  }

  mounted(mount: MountedFileSystem, kernelTold: () => Promise<void>): void {
    this.#mount = mount;
    this.#loopDelay = new LoopDelay();
    this.#kernelTold = kernelTold;
  }

  /** Refuses new calls, and gives those under way some time before they are cancelled. */
  async drain(operations: Operations, timeoutMs: number): Promise<void> {
    this.#state = 'stopping';
    await this.#refresher?.[Symbol.asyncDispose]();
    const deadline = Date.now() + timeoutMs;
    while (operations.count > 0 && Date.now() < deadline) await sleep(20);
    operations.cancelAll();
    while (operations.count > 0 && Date.now() < deadline + cancelMsMax) await sleep(20);
  }

  status(): DaemonStatus {
    const { record, log } = this.#parts;
    return {
      version: record.version,
      pid: record.pid,
      startedMs: record.startedMs,
      state: this.#state,
      workspaceId: record.workspaceId,
      store: record.store,
      mountPoint: this.#mount?.mountPoint ?? null,
      stateDirectory: record.stateDirectory,
      readOnly: this.#whyReadOnly(),
      isSingleWriter: this.#parts.isSingleWriter(),
      uploads: this.#layers?.uploads() ?? { backlogBytes: 0, activeParts: 0, lastError: null },
      staged:
        this.#state === 'running'
          ? this.#artifacts()
              .staged()
              .map(({ path }) => path)
          : [],
      refreshError: this.#refresher?.error ?? null,
      logLevel: log.level,
    };
  }

  stats(): DaemonStats {
    const { rss, heapUsed, external } = process.memoryUsage();
    const { user, system } = process.cpuUsage();
    return {
      uptimeSeconds: Math.round((Date.now() - this.#parts.record.startedMs) / 1000),
      cpuSeconds: Math.round((user + system) / 1e4) / 100,
      memory: {
        residentBytes: rss,
        heapBytes: heapUsed,
        externalBytes: external,
        budgetBytes: this.#parts.config.memory,
        shares: this.#memoryShares(),
      },
      loopUtilization: Math.round(performance.eventLoopUtilization().utilization * 1e4) / 1e4,
      loopDelay: this.#loopDelay?.figures() ?? noDelay,
      requests: requestFigures(this.#mount),
      counters: { ...this.#layers?.counters(), ...prefixed('fuse.', this.#mount?.requestCounts() ?? {}) },
    };
  }

  #memoryShares(): DaemonStats['memory']['shares'] {
    const held: Partial<MemoryShares> = {
      ...this.#layers?.memory(),
      requests: this.#mount?.requestMemoryBytes() ?? 0,
    };
    const shares = Object.entries(memoryShares(this.#parts.config.memory));
    return shares.map(([name, bytesMax]) => ({
      name,
      bytes: held[name as keyof MemoryShares] ?? 0,
      bytesMax,
    }));
  }

  /** From now on: the store turned out not to take commits. */
  refuseChanges(reason: string): void {
    this.#readOnly = reason;
  }

  setLogLevel(level: string): void {
    const known = logLevels.find((candidate) => candidate === level);
    if (known === undefined) throw new ArtifactError('Invalid', `'${level}' is no log level`);
    this.#parts.log.setLevel(known);
  }

  async refresh(): Promise<void> {
    await this.#refresher?.refresh();
  }

  async shutdown({ force }: { force: boolean }): Promise<void> {
    // The mount goes first: a file that is open in it is a reason to go on.
    try {
      // Who uses it may be about to end, as the programs of a pipe do after its last.
      await patiently(
        limits.unmountBusyMsMax,
        (error) => isCode(error, 'Busy'),
        async () => this.#mount?.unmount({ lazy: force }),
      );
    } catch (error) {
      if (!isCode(error, 'Busy')) throw error;
      const path = this.#mount?.mountPoint ?? '';
      throw new ArtifactError('Busy', `${path} is in use`, {
        hint: `close what uses it (fuser -vm ${path} tells), or: artifactfs unmount --force ${path}`,
      });
    }
    this.#state = 'stopping';
    this.#parts.onShutdown();
  }

  #artifacts(): Artifacts {
    return this.#opened().artifacts;
  }

  #opened(): Layers {
    if (this.#layers === undefined) throw new ArtifactError('Busy', `the daemon is ${this.#state}`);
    return this.#layers;
  }

  #whyReadOnly(): string | null {
    return this.#readOnly ?? this.#parts.leaseRefusal();
  }

  async #refuse(changes: boolean): Promise<void> {
    if (this.#state !== 'running') {
      throw new ArtifactError('Busy', `the daemon is ${this.#state}`, { hint: 'try again when it is done' });
    }
    if (changes && this.#readOnly !== null)
      throw new ArtifactError('ReadOnly', `nothing can be written: ${this.#readOnly}`);
    if (changes) await this.#parts.admitChange();
  }
}

/** Before there is a mount nobody waits. */
const noDelay: DaemonStats['loopDelay'] = { p50Ms: 0, p99Ms: 0, maxMs: 0 };

/** From being cancelled to saying so. */
const cancelMsMax = 5_000;

function requestFigures(mount: MountedFileSystem | undefined): DaemonStats['requests'] {
  const { count, oldestMs, givenUpCount } = mount?.pending() ?? { count: 0, oldestMs: 0, givenUpCount: 0 };
  return { pending: count, oldestPendingMs: Math.round(oldestMs), givenUp: givenUpCount };
}

function withoutSecrets(config: Config): Record<string, unknown> {
  return { ...config, accessKeyId: undefined, secretAccessKey: undefined };
}

function prefixed(prefix: string, counts: Readonly<Record<string, number>>): Record<string, number> {
  return Object.fromEntries(Object.entries(counts).map(([name, count]) => [prefix + name, count]));
}
