import { expect, test } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import { limits } from '../../src/model/limits.js';
import type { Attributes } from '../../src/vfs/file-system.js';
import { ForgottenNodes } from '../../src/vfs/forgotten-nodes.js';
import { Node } from '../../src/vfs/node.js';

/** A file with one link. */
class PlainNode extends Node {
  readonly kind = 'file';
  readonly ino: bigint;
  readonly entrySeconds = 0;
  readonly attrSeconds = 0;
  constructor(id: number) {
    super();
    this.id = id;
    this.ino = BigInt(id + 1000);
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

const root = new PlainNode(1);
function forgottenNode(nodes: ForgottenNodes, id: number): Node {
  const node = new PlainNode(id);
  node.seenAt(root, `n${id}`);
  nodes.add(node);
  return node;
}

test('those forgotten longest ago are dropped', () => {
  const nodes = new ForgottenNodes();
  const first = forgottenNode(nodes, 2);
  const second = forgottenNode(nodes, 3);
  for (let i = 4; nodes.size < limits.forgottenNodesMax; i++) forgottenNode(nodes, i);
  expect(nodes.take(first)).toBe(2);
  nodes.add(first); // known for a moment, and forgotten anew
  forgottenNode(nodes, 1_000_000);
  expect(nodes.size, 'many at a time').toBe(limits.forgottenNodesMax + 1 - (limits.forgottenNodesMax >> 4));
  expect(nodes.get(second.id)).toBeUndefined();
  expect(nodes.idOf(second)).toBeUndefined();
  expect(nodes.get(first.id)).toEqual({ id: 2, ino: first.ino, places: [{ parent: 1, name: 'n2' }] });
});

test('the id a file had last is the one it gets; older ones lead to it, too', () => {
  const nodes = new ForgottenNodes();
  const node = forgottenNode(nodes, 2);
  node.id = 7;
  nodes.add(node);
  expect(nodes.get(2)?.ino).toBe(node.ino);
  expect(nodes.take(node)).toBe(7);
  expect(nodes.take(node)).toBeUndefined();
  expect(nodes.get(2)?.ino).toBe(node.ino);
});

test('what was never seen under a name is not remembered', () => {
  const nodes = new ForgottenNodes();
  nodes.add(new PlainNode(2));
  expect(nodes.size).toBe(0);
});
