import { afterEach, expect } from 'vitest';
import type { WorkspaceArtifact } from '../../../src/artifacts/artifact.js';
import type { WorkspaceArtifacts } from '../../../src/artifacts/artifacts.js';
import type { Inode, WorkingTree } from '../../../src/artifacts/ports.js';
import { newCommitId, newStageId } from '../../../src/model/ids.js';
import type { MemoryStore } from '../../../src/store/memory/memory-store.js';
import { logKey } from '../../../src/workspace/keys.js';
import { Workspace } from '../../../src/workspace/workspace.js';
import {
  type Machine,
  newStore,
  openMachine,
  removeTemporaryDirectories,
  unexpected,
} from '../../artifacts/support/daemon.js';
import { User } from './user.js';

const worlds: World[] = [];
afterEach(async () => {
  for (const world of worlds.splice(0)) await world.close();
  expect(unexpected.splice(0)).toEqual([]);
});

/** A user on a mount over the real layers and a store in memory, and more machines when a test wants them. */
export class World {
  readonly store: MemoryStore = newStore();
  readonly #machines: Machine[] = [];

  static async open(): Promise<{ world: World; user: User; artifacts: WorkspaceArtifacts }> {
    const world = new World();
    worlds.push(world);
    return { world, ...(await world.machine()) };
  }

  /** Another daemon on the same store, which knows nothing yet. */
  async machine(): Promise<{ user: User; artifacts: WorkspaceArtifacts }> {
    const machine = await openMachine({ store: this.store });
    this.#machines.push(machine);
    return { user: new User(machine.artifacts), artifacts: machine.artifacts };
  }

  /** An alias as another machine sets it: a record in the log, which `artifact` then reads. */
  async setAlias(
    artifact: WorkspaceArtifact,
    alias: string,
    expected: number | null,
    version: number,
    options = { refresh: true },
  ) {
    const workspace = await Workspace.open(this.store, { host: 'test', user: 'tester' });
    const request = {
      artifactId: artifact.id,
      commitId: newCommitId(),
      stageId: newStageId(),
      sinceSeq: 0,
      sincePrev: '',
    };
    const journal = { save: () => {}, pending: () => [], remove: () => {} };
    await workspace.append(request, () => ({ type: 'alias', alias, expected, version }), journal);
    if (options.refresh) await artifact.refresh();
  }

  /** The artifact's first record is torn in the store. */
  async breakLog(artifact: WorkspaceArtifact): Promise<void> {
    await this.store.put(logKey(artifact.id, 1), Buffer.from('{"kind":"artifactfs.rec'));
  }

  async close(): Promise<void> {
    for (const machine of this.#machines.splice(0)) await machine.close();
    removeTemporaryDirectories();
  }
}

/** Counts who holds inodes of a tree from now on. */
export class Holds {
  /** Also by having them open. */
  readonly retained = new Map<Inode, number>();
  /** For writing. */
  readonly opened = new Map<Inode, number>();

  constructor(tree: WorkingTree) {
    const count = (counts: Map<Inode, number>, by: number, inode: Inode) => {
      const now = (counts.get(inode) ?? 0) + by;
      if (now === 0) counts.delete(inode);
      else counts.set(inode, now);
    };
    const hold = (by: number, original: (inode: Inode) => void) => {
      return (inode: Inode): void => {
        count(this.retained, by, inode);
        original.call(tree, inode);
      };
    };
    const open = (by: number, original: (inode: Inode, writes: boolean) => void) => {
      return (inode: Inode, writes: boolean): void => {
        count(this.retained, by, inode);
        if (writes) count(this.opened, by, inode);
        original.call(tree, inode, writes);
      };
    };
    tree.retain = hold(1, tree.retain);
    tree.release = hold(-1, tree.release);
    tree.opened = open(1, tree.opened);
    tree.closed = open(-1, tree.closed);
  }
}

/** From now on names and writes of the tree are answered in a later turn, as when they come from the store. */
export function slowDown(tree: WorkingTree): void {
  const { lookup, list, write } = tree;
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve));
  tree.lookup = async (...args) => turn().then(() => lookup.apply(tree, args));
  tree.list = async (...args) => turn().then(() => list.apply(tree, args));
  tree.write = async (...args) => turn().then(() => write.apply(tree, args));
}
