import { expect, test } from 'vitest';
import { accessAclName, encodeAcl, storedAcl } from '../../src/model/acl.js';
import { type Entry, time } from '../../src/model/entry.js';
import { mergeEntry } from '../../src/workspace/merge-entry.js';

const none = 0xffff_ffff;
const acl = (mask: number): string =>
  encodeAcl([
    { tag: 1, permissions: 6, id: none },
    { tag: 2, permissions: 6, id: 7 },
    { tag: 4, permissions: 4, id: none },
    { tag: 16, permissions: mask, id: none },
    { tag: 32, permissions: 4, id: none },
  ]).toString('base64');

const base: Entry = {
  dir: '',
  name: 'f',
  kind: 'file',
  ino: 2,
  mode: 0o644,
  uid: 0,
  gid: 0,
  nlink: 1,
  size: 0,
  mtime: time(1),
  ctime: time(1),
};

test('an ACL that others gave a file allows no more than the mode that I gave it', () => {
  const mine = { ...base, mode: 0o604 };
  const theirs = { ...base, mode: 0o664, xattrs: { [accessAclName]: acl(6), 'user.a': '' } };
  const merged = mergeEntry(base, mine, theirs);
  expect(merged).toMatchObject({ mode: 0o604, xattrs: { [accessAclName]: acl(0), 'user.a': '' } });
});

test('an ACL that is none is merged as any attribute', () => {
  const malformed = Buffer.from('none').toString('base64');
  expect(storedAcl(malformed)).toBeNull();
  const merged = mergeEntry(
    base,
    { ...base, mode: 0o600 },
    { ...base, xattrs: { [accessAclName]: malformed } },
  );
  expect(merged).toMatchObject({ mode: 0o600, xattrs: { [accessAclName]: malformed } });
});
