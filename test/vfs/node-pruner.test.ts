// A kernel that is asked to let go of what it does not use, and does so late or not at all.
import { setImmediate as nextTurn } from 'node:timers/promises';
import { expect, test } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import type { Attributes, NodeId, PrunableNode } from '../../src/vfs/file-system.js';
import { KernelNotices } from '../../src/vfs/kernel-notices.js';
import { Node } from '../../src/vfs/node.js';
import { NodePruner } from '../../src/vfs/node-pruner.js';
import { NodeTable } from '../../src/vfs/node-table.js';

class PlainNode extends Node {
  readonly kind = 'file';
  readonly ino: bigint;
  readonly entrySeconds = 0;
  readonly attrSeconds = 0;
  constructor(ino: number) {
    super();
    this.ino = BigInt(ino);
  }
  attributes(): Attributes {
    const time = { s: 0, ns: 0 };
    const { ino, kind } = this;
    const numbers = { mode: 0, nlink: 1, uid: 0, gid: 0, rdev: 0, size: 0, blocks: 0 };
    return { ino, kind, ...numbers, atime: time, mtime: time, ctime: time };
  }
  protected refusal(what: string): ArtifactError {
    return new ArtifactError('NotPermitted', what);
  }
}

const countMax = 64;
const step = countMax / 16;

class Kernel {
  readonly root = new PlainNode(1);
  readonly nodes = new NodeTable(this.root);
  readonly notices = new KernelNotices();
  readonly pruner = new NodePruner(this.nodes, this.notices, countMax);
  readonly asked: PrunableNode[] = [];
  #next = 2;

  constructor() {
    this.notices.attach({
      invalidateEntry: () => {},
      invalidateInode: () => {},
      prune: (nodes) => this.asked.push(...nodes),
    });
  }

  async meet(count: number): Promise<Node[]> {
    const met: Node[] = [];
    for (let i = 0; i < count; i++) {
      const node = new PlainNode(this.#next++);
      this.nodes.remember(node);
      node.seenAt(this.root, `n${node.ino}`);
      this.pruner.check();
      met.push(node);
      await nextTurn();
    }
    await this.notices.told();
    return met;
  }

  forgetAsked(): NodeId[] {
    const ids = this.asked.splice(0).map(({ id }) => id);
    for (const id of ids) this.nodes.forget(id, 1);
    return ids;
  }
}

test('below the limit nothing is asked for; above it what was known longest goes, and is not open', async () => {
  const kernel = new Kernel();
  const met = await kernel.meet(countMax - 1);
  expect(kernel.asked).toEqual([]);
  const [first, second] = met;
  if (first === undefined || second === undefined) throw new Error('none');
  first.opens = 1;
  await kernel.meet(1);
  expect(kernel.asked).toHaveLength(step);
  expect(kernel.asked[0]).toEqual({ id: second.id, parent: 1, name: `n${second.ino}`, isDirectory: false });
  kernel.forgetAsked();
  kernel.nodes.checkInvariants();
  expect(first.id).toBeGreaterThan(0);
});

test('many that pass by are never many more than the limit, and none is asked for that need not go', async () => {
  const kernel = new Kernel();
  for (let i = 0; i < 1000; i++) {
    await kernel.meet(1);
    // The kernel lets go a little later.
    if (i % 5 === 4) kernel.forgetAsked();
    expect(kernel.nodes.size).toBeLessThanOrEqual(countMax + 3 * step);
  }
  expect(kernel.nodes.size).toBeGreaterThanOrEqual(countMax - 3 * step);
});

test('what stays because it is in use is not asked for again at once', async () => {
  const kernel = new Kernel();
  await kernel.meet(countMax);
  const ids = kernel.asked.splice(0).map(({ id }) => id);
  await kernel.meet(4 * step);
  expect(kernel.asked.length).toBeLessThanOrEqual(4 * (step + 1));
  for (const { id } of kernel.asked) expect(ids).not.toContain(id);
});
