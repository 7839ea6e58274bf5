import { describe, expect, test } from 'vitest';
import { Call } from '../../src/fuse-native/call.js';
import { type HeldNode, PathTable } from '../../src/fuse-native/path-table.js';
import { isCode } from '../../src/model/errors.js';
import type { MaybePromise } from '../../src/util/maybe-promise.js';
import { type NodeEntry, type NodeId, type RequestContext, rootNodeId } from '../../src/vfs/file-system.js';
import { MemoryFileSystem } from '../support/memory-file-system.js';

/** Counts what is asked of it; `wait` delays the answers. */
class Asked extends MemoryFileSystem {
  lookups = 0;
  wait: Promise<void> | undefined;
  find(context: RequestContext, parent: NodeId, name: string): MaybePromise<NodeEntry | undefined> {
    this.lookups++;
    const found = super.lookup(context, parent, name);
    return this.wait === undefined ? found : this.wait.then(() => found);
  }
}

/** The same with answers that may come later, as the port allows. */
function asPort(fs: Asked): MemoryFileSystem {
  return new Proxy(fs, {
    get: (target, key) => {
      if (key === 'lookup') return target.find.bind(target);
      const value: unknown = Reflect.get(target, key, target);
      return typeof value === 'function' ? value.bind(target) : value;
    },
  });
}

const call = new Call('test');

function make(options: { seconds?: number; sizeMax?: number } = {}) {
  const fs = new Asked({ entrySeconds: options.seconds ?? 3600 });
  const clock = { ms: 0 };
  const table = new PathTable(asPort(fs), options.sizeMax ?? 100, () => clock.ms);
  const ids = new Map<string, NodeId>([['', rootNodeId]]);
  for (const path of ['/d', '/d/e', '/d/e/f', '/g']) {
    const at = path.lastIndexOf('/');
    const parent = ids.get(path.slice(0, at)) as NodeId;
    const name = path.slice(at + 1);
    const entry =
      name === 'f' || name === 'g'
        ? fs.makeNode(call, parent, name, 0o644, 'file', 0)
        : fs.makeDirectory(call, parent, name, 0o755);
    ids.set(path, entry.nodeId);
  }
  for (const id of ids.values()) if (id !== rootNodeId) fs.forget(id, 1);
  const idOf = (path: string): NodeId => ids.get(path) as NodeId;
  const find = (path: string): NodeId => table.use(call, path, (node) => node) as NodeId;
  return { fs, table, clock, idOf, find };
}

const isMissing = (work: () => unknown): boolean => {
  try {
    work();
    return false;
  } catch (error) {
    return isCode(error, 'NotFound');
  }
};

describe('a table of paths', () => {
  test('asks for each name once while it may be believed', () => {
    const { fs, clock, idOf, find, table } = make({ seconds: 10 });
    expect([find('/'), find('/d/e/f'), find('/d/e/f'), find('/d/e')]).toEqual([
      rootNodeId,
      idOf('/d/e/f'),
      idOf('/d/e/f'),
      idOf('/d/e'),
    ]);
    expect(fs.lookups).toBe(3);
    clock.ms = 10_001;
    find('/d/e/f');
    expect(fs.lookups).toBe(6);
    expect(fs.nodes.get(idOf('/d/e/f'))?.lookups).toBe(1);
    table.checkInvariants();
  });

  test('says what is missing, and forgets a name that went', () => {
    const { fs, idOf, find, table } = make({ seconds: 0 });
    expect(isMissing(() => find('/d/x'))).toBe(true);
    find('/d/e/f');
    fs.unlink(call, idOf('/d/e'), 'f');
    expect(isMissing(() => find('/d/e/f'))).toBe(true);
    expect(fs.nodes.has(idOf('/d/e/f'))).toBe(false);
    expect(() => find('/d/bad\ufffd')).toThrow('not UTF-8');
    table.checkInvariants();
  });

  test('a directory keeps what is known in it when it moves', () => {
    const { fs, idOf, find, table } = make();
    find('/d/e/f');
    const asked = fs.lookups;
    void table.useParent(call, '/d/e', (parent, name) =>
      table.useParent(call, '/moved', (target, newName) => {
        fs.rename(call, parent.nodeId, name, target.nodeId, newName, { noReplace: false, exchange: false });
        table.moved(parent, name, target, newName);
      }),
    );
    expect(find('/moved/f')).toBe(idOf('/d/e/f'));
    expect(fs.lookups).toBe(asked);
    expect(isMissing(() => find('/d/e'))).toBe(true);
    table.checkInvariants();
  });

  test('a removed node is forgotten when nobody holds it', () => {
    const { fs, idOf, table } = make();
    const held = table.hold(call, '/d/e/f') as HeldNode;
    void table.useParent(call, '/d/e/f', (parent, name) => {
      fs.unlink(call, parent.nodeId, name);
      table.removed(parent, name);
    });
    expect(fs.nodes.get(idOf('/d/e/f'))?.lookups).toBe(1);
    table.release(held);
    expect(fs.nodes.has(idOf('/d/e/f'))).toBe(false);
  });

  test('a hidden file is found by its new name wherever its directory goes, until it is closed', () => {
    const { fs, idOf, find, table } = make();
    const held = table.hold(call, '/d/e/f') as HeldNode;
    void table.useParent(call, '/d/e/f', (parent, name) => {
      fs.unlink(call, parent.nodeId, name);
      table.hide(parent, name, held, '.fuse_hidden0000000000000001');
    });
    table.release(held);
    expect(find('/elsewhere/.fuse_hidden0000000000000001')).toBe(idOf('/d/e/f'));
    expect(isMissing(() => find('/d/e/f'))).toBe(true);
    expect(table.unhide('.fuse_hidden0000000000000001')).toBe(true);
    expect(table.unhide('.fuse_hidden0000000000000001')).toBe(false);
    expect(fs.nodes.has(idOf('/d/e/f'))).toBe(false);
    table.checkInvariants();
  });

  test('what was used longest ago goes first, and never what is held', () => {
    const { fs, idOf, find, table } = make({ sizeMax: 2 });
    const held = table.hold(call, '/d') as HeldNode;
    find('/d/e');
    find('/g');
    expect(table.size).toBe(2);
    expect(fs.nodes.get(idOf('/d/e'))?.lookups).toBe(0);
    expect(fs.nodes.get(idOf('/d'))?.lookups).toBe(1);
    table.release(held);
    table.checkInvariants();
  });

  test('what is invalidated is asked for again', () => {
    const { fs, idOf, find, table } = make();
    find('/d/e/f');
    table.invalidate(idOf('/d'), 'e');
    find('/d/e/f');
    expect(fs.lookups).toBe(5);
    table.invalidateAll();
    expect(table.size).toBe(0);
    find('/d/e/f');
    expect(fs.lookups).toBe(8);
    table.checkInvariants();
  });

  test('an answer is not kept when the name changed while it was waited for', async () => {
    const { fs, idOf, find, table } = make();
    let go: () => void = () => {};
    fs.wait = new Promise((resolve) => {
      go = resolve;
    });
    const slow = table.use(call, '/g', (node) => node);
    table.invalidate(rootNodeId, 'g');
    go();
    expect(await slow).toBe(idOf('/g'));
    fs.wait = undefined;
    expect(table.size).toBe(0);
    expect(fs.nodes.get(idOf('/g'))?.lookups).toBe(0);
    find('/g');
    expect(fs.lookups).toBe(2);
    table.checkInvariants();
  });

  test('two who ask for one name at a time share one node', async () => {
    const { fs, idOf, table } = make();
    fs.wait = Promise.resolve();
    const [a, b] = await Promise.all([table.hold(call, '/d/e'), table.hold(call, '/d/e')]);
    expect(a.nodeId).toBe(b.nodeId);
    expect(fs.nodes.get(idOf('/d/e'))?.lookups).toBe(1);
    table.release(a);
    table.release(b);
    table.checkInvariants();
  });

  test('whatever is done, every path leads to its node, and all look-ups are given back', () => {
    let seed = 1;
    const random = (below: number): number => {
      seed = (Math.imul(seed, 1_664_525) + 1_013_904_223) >>> 0;
      return Math.floor((seed / 2 ** 32) * below);
    };
    const { fs, find, table } = make({ sizeMax: 12 });
    const pathOf = (): string => Array.from({ length: 1 + random(3) }, () => `/n${random(3)}`).join('');
    const truth = (path: string): NodeId | undefined => {
      let at: NodeId = rootNodeId;
      for (const name of path.split('/').slice(1)) {
        const child = fs.nodes.get(at)?.children.get(name);
        if (child === undefined) return undefined;
        at = child.node.id;
      }
      return at;
    };
    const attempt = (work: () => unknown): void => {
      try {
        work();
      } catch (error) {
        if (
          !isCode(error, 'NotFound', 'NotDirectory', 'Exists', 'NotEmpty', 'Loop', 'Invalid', 'IsDirectory')
        )
          throw error;
      }
    };
    for (let i = 0; i < 5000; i++) {
      const path = pathOf();
      const other = pathOf();
      const dice = random(10);
      attempt(() => {
        if (dice < 4) {
          void table.useParent(call, path, (parent, name) => {
            const entry =
              dice < 2
                ? fs.makeDirectory(call, parent.nodeId, name, 0o755)
                : fs.makeNode(call, parent.nodeId, name, 0o644, 'file', 0);
            table.release(table.made(parent, name, entry));
          });
        } else if (dice < 6) {
          void table.useParent(call, path, (parent, name) => {
            if (dice === 4) fs.unlink(call, parent.nodeId, name);
            else fs.removeDirectory(call, parent.nodeId, name);
            table.removed(parent, name);
          });
        } else if (dice < 8 && !other.startsWith(`${path}/`)) {
          void table.useParent(call, path, (parent, name) =>
            table.useParent(call, other, (target, newName) => {
              const flags = { noReplace: false, exchange: false };
              fs.rename(call, parent.nodeId, name, target.nodeId, newName, flags);
              table.moved(parent, name, target, newName);
            }),
          );
        } else if (dice === 8) table.invalidate(random(20), `n${random(3)}`);
      });
      const expected = truth(path);
      if (expected === undefined) {
        attempt(() => expect(find(path)).toBe(undefined));
      } else expect(find(path)).toBe(expected);
      table.checkInvariants();
    }
    table.invalidateAll();
    const known = [...fs.nodes.values()].filter(({ id, lookups }) => id !== rootNodeId && lookups !== 0);
    expect(known).toEqual([]);
  });
});
