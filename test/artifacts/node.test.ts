import { describe, expect, test } from 'vitest';
import { Node } from '../../src/artifacts/tree/node.js';
import type { Entry } from '../../src/model/entry.js';

const time = { s: 1_700_000_000, ns: 5 };
const entry: Entry = {
  ...{ dir: 'a/b', name: 'c', kind: 'file', ino: 2 ** 40, mode: 0o644, uid: 1, gid: 2, nlink: 1, size: 8 },
  ...{ mtime: time, ctime: time, extents: [{ object: 'd/x/0', offset: 3, length: 8 }], sha256: 'ab' },
};

describe('a node', () => {
  test('that was changed, opened and given attributes leaves all others as they were', () => {
    const [one, other] = [Node.fromEntry(entry), Node.fromEntry(entry)];
    one.opens++;
    one.openForWriting++;
    one.isLinkable = true;
    one.gen = 4;
    one.logged = 2;
    one.xattrs = { 'user.a': 'AA==' };
    one.atimeSet = true;
    expect(one).toMatchObject({
      opens: 1,
      openForWriting: 1,
      isLinkable: true,
      gen: 4,
      logged: 2,
      atimeSet: true,
    });
    expect(other).toMatchObject({
      opens: 0,
      openForWriting: 0,
      isLinkable: false,
      gen: 0,
      logged: 0,
      atimeSet: false,
    });
    expect(other.xattrs).toBeNull();
  });

  test('whose bytes were looked for shows the same version as before', () => {
    const node = Node.fromEntry(entry);
    const { revision } = node;
    expect(node.map.bytes()).toBe(8);
    node.takeEntry({ ...entry });
    expect(node.revision).toBe(revision);
    node.takeEntry({ ...entry, extents: [{ object: 'd/x/0', offset: 4, length: 8 }] });
    expect(node.revision).toBe(revision + 1);
  });

  test('tells its path in the base, whatever kind it is', () => {
    const file = Node.fromEntry(entry);
    expect(file.base).toBe('a/b/c');
    file.base = 'd';
    expect(file.base).toBe('d');
    file.base = null;
    expect(file.base).toBeNull();
    const { extents: _, ...rest } = entry;
    expect(Node.fromEntry({ ...rest, kind: 'dir' }).base).toBe('a/b/c');
    expect(Node.fromEntry({ ...rest, kind: 'dir', dir: '', name: '' }).base).toBe('');
  });

  test('of no, one and several extents counts what is not a hole', () => {
    const { extents: _, ...empty } = entry;
    expect(Node.fromEntry({ ...empty, size: 0 }).allocated).toBe(0);
    expect(Node.fromEntry(entry).allocated).toBe(8);
    const hole = { object: null, offset: 0, length: 5 };
    expect(Node.fromEntry({ ...entry, size: 13, extents: [...(entry.extents ?? []), hole] }).allocated).toBe(
      8,
    );
  });
});
