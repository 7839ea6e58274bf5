import { mkdirSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { LateJournal } from '../../../src/app/late-journal.js';
import {
  type ArtifactsOptions,
  openArtifacts,
  type WorkspaceArtifacts,
} from '../../../src/artifacts/artifacts.js';
import type { Artifact, Inode } from '../../../src/artifacts/ports.js';
import { openCatalog } from '../../../src/catalog/open-catalog.js';
import { createContent } from '../../../src/content/create-content.js';
import type { UploaderStatus } from '../../../src/content/ports.js';
import type { Clock } from '../../../src/model/entry.js';
import { ArtifactError } from '../../../src/model/errors.js';
import { MemoryStore } from '../../../src/store/memory/memory-store.js';
import type { ObjectStore } from '../../../src/store/object-store.js';
import type { MaybePromise } from '../../../src/util/maybe-promise.js';
import { dataObject, objectKey, packObject } from '../../../src/workspace/keys.js';
import { Workspace } from '../../../src/workspace/workspace.js';

/** A clock that advances by a millisecond at each look, so that times differ and runs repeat. */
export function steppingClock(startSeconds = 1_700_000_000): Clock {
  let milliseconds = 0;
  return () => {
    milliseconds++;
    return { s: startSeconds + Math.floor(milliseconds / 1000), ns: (milliseconds % 1000) * 1_000_000 };
  };
}

export interface Machine {
  readonly artifacts: WorkspaceArtifacts;
  readonly stateDir: string;
  readonly uploads: () => UploaderStatus;
  /** Everything closed in order, as a daemon does; the state stays. */
  close(): Promise<void>;
}

export interface MachineOptions {
  readonly store: ObjectStore;
  readonly stateDir?: string;
  readonly clock?: Clock;
  readonly onStep?: (step: string) => void;
  readonly onError?: ArtifactsOptions['onError'];
  readonly storeIsAway?: boolean;
  readonly admitChange?: ArtifactsOptions['admitChange'];
}

/** One daemon's layers below the file system, over real parts. */
export async function openMachine(options: MachineOptions): Promise<Machine> {
  const { store, clock } = options;
  const stateDir = options.stateDir ?? temporaryDirectory();
  mkdirSync(stateDir, { recursive: true });
  const workspace = await Workspace.open(store, {
    host: 'test',
    user: 'tester',
    // Waiting between tries proves nothing, but other work must have its turn.
    sleep: () => new Promise((resolve) => setImmediate(resolve)),
    ...(clock ? { clock } : {}),
  });
  const catalog = openCatalog(join(stateDir, 'catalog.db'), workspace);
  const journal = new LateJournal();
  const content = createContent({
    store,
    keys: { objectKey, packObject, dataObject },
    journal,
    stateDirectory: stateDir,
    memoryBytesMax: 256 << 20,
    diskBytesMax: 4 * 2 ** 30,
  });
  const artifacts = await openArtifacts({
    workspace,
    catalog,
    reader: content.reader,
    staging: content.staging,
    createUploader: (opened) => {
      journal.open(opened);
      return content.uploader;
    },
    store: content.uploads,
    stateDir,
    ...(clock ? { clock } : {}),
    ...(options.onStep ? { onStep: options.onStep } : {}),
    ...(options.storeIsAway ? { storeIsAway: true } : {}),
    ...(options.admitChange ? { admitChange: options.admitChange } : {}),
    onError: options.onError ?? ((error) => unexpected.push(error)),
  });
  return {
    artifacts,
    stateDir,
    uploads: () => content.uploader.status(),
    async close() {
      await artifacts[Symbol.asyncDispose]();
      journal.close();
      await content[Symbol.asyncDispose]();
      catalog[Symbol.dispose]();
    },
  };
}

/** Failures in the background that no test asked for. */
export const unexpected: unknown[] = [];

const directories: string[] = [];

export function temporaryDirectory(): string {
  const directory = mkdtempSync(join(tmpdir(), 'artifacts-test-'));
  directories.push(directory);
  return directory;
}

export function removeTemporaryDirectories(): void {
  for (const directory of directories.splice(0)) rmSync(directory, { recursive: true, force: true });
}

export const newStore = (): MemoryStore => new MemoryStore();

/** Paths and verbs over one artifact's tree, for short tests. */
export class Shell {
  readonly artifact: Artifact;

  constructor(artifact: Artifact) {
    this.artifact = artifact;
  }

  async find(path: string, from?: Inode): Promise<Inode | undefined> {
    const { tree } = this.artifact;
    let inode: Inode | undefined = from ?? tree.root;
    for (const name of path === '' ? [] : path.split('/')) {
      if (inode.kind !== 'dir') throw new ArtifactError('NotDirectory', path);
      inode = await tree.lookup(inode, name);
      if (inode === undefined) return undefined;
    }
    return inode;
  }

  async get(path: string): Promise<Inode> {
    const inode = await this.find(path);
    if (inode === undefined) throw new ArtifactError('NotFound', path);
    return inode;
  }

  async #place(path: string): Promise<[Inode, string]> {
    const slash = path.lastIndexOf('/');
    const parent = await this.get(slash < 0 ? '' : path.slice(0, slash));
    if (parent.kind !== 'dir') throw new ArtifactError('NotDirectory', path);
    return [parent, path.slice(slash + 1)];
  }

  async mkdir(path: string, mode = 0o755): Promise<Inode> {
    const [parent, name] = await this.#place(path);
    return this.artifact.tree.create(parent, name, { kind: 'dir', mode, uid: 1, gid: 1 });
  }

  async create(path: string, mode = 0o644): Promise<Inode> {
    const [parent, name] = await this.#place(path);
    return this.artifact.tree.create(parent, name, { kind: 'file', mode, uid: 1, gid: 1 });
  }

  async symlink(path: string, target: string): Promise<Inode> {
    const [parent, name] = await this.#place(path);
    return this.artifact.tree.create(parent, name, { kind: 'symlink', mode: 0o777, uid: 1, gid: 1, target });
  }

  async write(path: string, text: string | Uint8Array, offset = 0): Promise<Inode> {
    const inode = (await this.find(path)) ?? (await this.create(path));
    await this.artifact.tree.write(inode, offset, Buffer.from(text));
    return inode;
  }

  /** As a shell's `>`: truncates first. */
  async put(path: string, text: string | Uint8Array): Promise<Inode> {
    const inode = (await this.find(path)) ?? (await this.create(path));
    await this.artifact.tree.setAttributes(inode, { size: 0 });
    await this.artifact.tree.write(inode, 0, Buffer.from(text));
    return inode;
  }

  async read(path: string): Promise<string> {
    return (await this.bytes(path)).toString();
  }

  async bytes(path: string): Promise<Buffer> {
    const inode = await this.get(path);
    return readAll(this.artifact, inode);
  }

  async rename(from: string, to: string, flags = {}): Promise<void> {
    const [fromDir, fromName] = await this.#place(from);
    const [toDir, toName] = await this.#place(to);
    await this.artifact.tree.rename(fromDir, fromName, toDir, toName, flags);
  }

  async link(path: string, to: string): Promise<void> {
    const inode = await this.get(path);
    const [parent, name] = await this.#place(to);
    await this.artifact.tree.link(inode, parent, name);
  }

  async unlink(path: string): Promise<void> {
    const [parent, name] = await this.#place(path);
    await this.artifact.tree.unlink(parent, name);
  }

  async rmdir(path: string): Promise<void> {
    const [parent, name] = await this.#place(path);
    await this.artifact.tree.rmdir(parent, name);
  }

  async names(path = ''): Promise<string[]> {
    const directory = await this.get(path);
    const items = await this.artifact.tree.list(directory, null, 100_000);
    return items.map((item) => item.name);
  }

  async commit(message = 'test') {
    return this.artifact.commit({ message });
  }

  /** A version for each text in the file. */
  async commitEach(path: string, texts: readonly string[]): Promise<void> {
    for (const text of texts) {
      await this.put(path, text);
      await this.commit();
    }
  }
}

/** What `work` fails with; fails itself when it does not. */
export async function failure(
  work: MaybePromise<unknown> | (() => MaybePromise<unknown>),
): Promise<ArtifactError> {
  try {
    await (typeof work === 'function' ? work() : work);
  } catch (error) {
    if (error instanceof ArtifactError) return error;
    throw error;
  }
  throw new Error('it did not fail');
}

export async function readAll({ tree }: Pick<Artifact, 'tree'>, inode: Inode): Promise<Buffer> {
  const reader = tree.open(inode);
  try {
    return Buffer.from(await reader.read(0, inode.size));
  } finally {
    reader.close();
  }
}

export async function shellOf(machine: Machine, path: string): Promise<Shell> {
  return new Shell(await machine.artifacts.find(path));
}
