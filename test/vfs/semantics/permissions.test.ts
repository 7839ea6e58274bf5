import { beforeEach, expect, test } from 'vitest';
import { accessAclName, defaultAclName, encodeAcl } from '../../../src/model/acl.js';
import { O_RDWR, O_TRUNC, O_WRONLY } from '../../../src/vfs/open-flags.js';
import { contextOf, outcome, turns, User } from '../support/user.js';
import { World } from '../support/world.js';

let { user, artifacts } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ user, artifacts } = await World.open());
  await user.mkdir('m');
  await user.write('m/f', 'text');
});

const none = 0xffff_ffff;
/** An ACL that names user 7; without a mask one that names nobody. */
const acl = (owner: number, group: number, others: number, named?: number, mask?: number): Buffer =>
  encodeAcl([
    { tag: 1, permissions: owner, id: none },
    ...(named === undefined ? [] : [{ tag: 2, permissions: named, id: 7 }]),
    { tag: 4, permissions: group, id: none },
    ...(mask === undefined ? [] : [{ tag: 16, permissions: mask, id: none }]),
    { tag: 32, permissions: others, id: none },
  ]);

const plain = { create: false, replace: false };
const set = (path: string, name: string, value: Uint8Array, flags: { clearSetgid?: boolean } = {}) =>
  user.with(path, (id) => user.fs.setXattr(user.context, id, name, value, { ...plain, ...flags }));
const get = (path: string, name: string) =>
  user.with(path, async (id) => Buffer.from(await user.fs.getXattr(user.context, id, name)));
const remove = (path: string, name: string) =>
  user.with(path, (id) => user.fs.removeXattr(user.context, id, name));
const list = (path: string) =>
  user.with(path, async (id) => [...(await user.fs.listXattrs(user.context, id))]);
const change = (path: string, changes: Parameters<typeof user.fs.setAttributes>[2]) =>
  user.with(path, (id) => user.fs.setAttributes(user.context, id, changes));
const modeOf = async (path: string) => (await user.stat(path)).mode;

test('P1: modes follow an access ACL, chmod changes it, and one that the mode says is not kept', async () => {
  await change('m/f', { mode: 0o4640 });
  await set('m/f', accessAclName, acl(7, 4, 1, 6, 6));
  expect(await modeOf('m/f')).toBe(0o4761);
  expect(await list('m/f')).toEqual([accessAclName]);
  await change('m/f', { mode: 0o640 });
  expect(await get('m/f', accessAclName)).toEqual(acl(6, 4, 0, 6, 4));
  await set('m/f', accessAclName, acl(7, 5, 0));
  expect(await modeOf('m/f')).toBe(0o750);
  expect(await outcome(() => get('m/f', accessAclName))).toBe('NoAttribute');
  await set('m/f', accessAclName, acl(7, 5, 0, 7, 7));
  await set('m/f', accessAclName, encodeAcl([]));
  expect(await list('m/f')).toEqual([]);
  expect(await modeOf('m/f'), 'without its ACL the mode stays').toBe(0o770);
});

test('P2: a default ACL takes the place of the umask; directories hand it on, symlinks have none', async () => {
  await user.mkdir('m/d');
  await set('m/d', defaultAclName, acl(7, 5, 0, 7, 7));
  user.context = { ...contextOf(), umask: 0o077 };
  await user.openCreating('m/d/f', O_WRONLY, 0o664);
  await user.mkdir('m/d/d', 0o775);
  await user.mknod('m/d/p', 'fifo', 0o666);
  await user.symlink('f', 'm/d/l');
  expect(await modeOf('m/d/f')).toBe(0o660);
  expect(await get('m/d/f', accessAclName)).toEqual(acl(6, 5, 0, 7, 6));
  expect(await get('m/d/p', accessAclName)).toEqual(acl(6, 5, 0, 7, 6));
  expect(await modeOf('m/d/d')).toBe(0o770);
  expect(await get('m/d/d', defaultAclName)).toEqual(acl(7, 5, 0, 7, 7));
  expect(await list('m/d/l')).toEqual([]);
  await set('m/d', defaultAclName, acl(7, 5, 4));
  await user.openCreating('m/d/plain', O_WRONLY, 0o666);
  expect(await modeOf('m/d/plain')).toBe(0o644);
  expect(await list('m/d/plain'), 'no more than the mode says').toEqual([]);
});

test('P3: a malformed ACL, a default one of a file and any of a symlink are refused', async () => {
  await user.symlink('f', 'm/l');
  const good = acl(6, 4, 4, 6, 6);
  const cases: [string, Buffer][] = [
    ['Invalid', Buffer.alloc(0)],
    ['Invalid', good.subarray(0, good.length - 1)],
    ['Invalid', acl(6, 4, 4, 6)],
    ['Invalid', acl(8, 4, 4, 6, 6)],
    ['Invalid', Buffer.concat([good, good.subarray(4, 12)])],
    ['Invalid', Buffer.concat([good.subarray(0, 4), good.subarray(12)])],
    ['Unsupported', Buffer.concat([Buffer.from([3, 0, 0, 0]), good.subarray(4)])],
  ];
  for (const [code, value] of cases) {
    expect(await outcome(() => set('m/f', accessAclName, value)), value.toString('hex')).toBe(code);
    expect(await outcome(() => set('m', defaultAclName, value)), value.toString('hex')).toBe(code);
  }
  expect(await list('m/f')).toEqual([]);
  expect(await outcome(() => set('m/f', defaultAclName, good))).toBe('AccessDenied');
  expect(await outcome(() => set('m/l', accessAclName, good))).toBe('Unsupported');
  expect(await outcome(() => remove('m/f', accessAclName))).toBe('ok');
});

test('P4: an ACL set by somebody outside the group takes setgid away', async () => {
  await change('m/f', { mode: 0o2755 });
  await set('m/f', accessAclName, acl(7, 5, 5, 6, 6));
  expect(await modeOf('m/f')).toBe(0o2765);
  await set('m/f', accessAclName, acl(7, 5, 5, 6, 6), { clearSetgid: true });
  expect(await modeOf('m/f')).toBe(0o765);
});

test('P5: ACLs and attributes are kept through a commit, and those of a version do not change', async () => {
  await user.mkdir('m/d');
  await set('m/f', accessAclName, acl(6, 4, 0, 6, 6));
  await set('m/d', defaultAclName, acl(7, 5, 0, 7, 7));
  await set('m/f', 'user.a', Buffer.from([0, 255]));
  await user.commit('m');
  for (const root of ['m', 'm@v0']) {
    expect(await modeOf(`${root}/f`)).toBe(0o660);
    expect(await get(`${root}/f`, accessAclName)).toEqual(acl(6, 4, 0, 6, 6));
    expect(await get(`${root}/d`, defaultAclName)).toEqual(acl(7, 5, 0, 7, 7));
    expect(await get(`${root}/f`, 'user.a')).toEqual(Buffer.from([0, 255]));
    expect(await list(`${root}/f`)).toHaveLength(2);
  }
  expect(await outcome(() => set('m@v0/f', 'user.a', Buffer.alloc(1)))).toBe('ReadOnly');
  expect(await outcome(() => set('m@v0/f', accessAclName, acl(6, 4, 0)))).toBe('ReadOnly');
  expect(await outcome(() => remove('m@v0/f', 'user.a'))).toBe('ReadOnly');
});

test('P6: who has no right to keep them takes setuid and setgid away by a change of the bytes', async () => {
  const write = async (mode: number, killPrivileges: boolean): Promise<number> => {
    await change('m/f', { mode });
    const { handle } = await user.open('m/f', O_RDWR);
    await user.fs.write(user.context, handle, 0, Buffer.from('x'), { killPrivileges, fromCache: false });
    await user.close(handle);
    return modeOf('m/f');
  };
  expect(await write(0o6777, true)).toBe(0o777);
  expect(await write(0o6777, false)).toBe(0o6777);
  expect(await write(0o6767, true), 'without group execution setgid is no privilege').toBe(0o2767);
  await change('m/f', { mode: 0o6777 });
  await change('m/f', { size: 1, killPrivileges: true });
  expect(await modeOf('m/f')).toBe(0o777);
  await change('m/f', { mode: 0o6777 });
  const { handle } = await user.with('m/f', (id) => user.fs.open(user.context, id, O_WRONLY | O_TRUNC, true));
  await user.close(handle);
  expect(await modeOf('m/f')).toBe(0o777);
});

test('P7: the kernel is told of bits that a change of the bytes took away', async () => {
  await change('m/f', { mode: 0o4755 });
  await user.with('m/f', async (id) => {
    const { handle } = await user.fs.open(user.context, id, O_WRONLY);
    const write = (killPrivileges: boolean) =>
      user.fs.write(user.context, handle, 0, Buffer.from('x'), { killPrivileges, fromCache: false });
    await write(false);
    await turns();
    expect(user.told.inodes).toEqual([]);
    await write(true);
    await turns();
    expect(user.told.inodes).toEqual([id]);
    await write(true);
    await turns();
    expect(user.told.inodes).toHaveLength(1);
    await user.close(handle);
  });
});

test('P8: capabilities go with bytes and owner, also when root changes them', async () => {
  const capability = 'security.capability';
  const actions: [boolean, () => Promise<unknown>][] = [
    [false, () => user.write('m/f', 'other')],
    [false, () => change('m/f', { size: 2 })],
    [false, () => change('m/f', { uid: 5 })],
    [true, () => change('m/f', { mode: 0o700 })],
    [true, () => change('m/f', { mtime: { s: 1, ns: 0 } })],
  ];
  for (const [kept, act] of actions) {
    await set('m/f', capability, Buffer.from([1]));
    await set('m/f', 'user.a', Buffer.from([1]));
    await act();
    expect((await list('m/f')).sort()).toEqual(kept ? [capability, 'user.a'] : ['user.a']);
  }
});

test('P9: trusted attributes are listed for root only', async () => {
  await set('m/f', 'trusted.t', Buffer.from('v'));
  await set('m/f', 'user.u', Buffer.from('v'));
  expect((await list('m/f')).sort()).toEqual(['trusted.t', 'user.u']);
  user.context = contextOf(5, 5);
  expect(await list('m/f')).toEqual(['user.u']);
});

test('P10: security labels and unknown name spaces are not kept, and a name space is no name', async () => {
  for (const [name, code] of [
    ['security.selinux', 'Unsupported'],
    ['system.other', 'Unsupported'],
    ['other', 'Unsupported'],
    ['user.', 'Invalid'],
  ] as const) {
    expect(await outcome(() => set('m/f', name, Buffer.from('v')))).toBe(code);
    expect(await outcome(() => get('m/f', name))).toBe(code);
    expect(await outcome(() => remove('m/f', name))).toBe(code);
  }
});

test('P11: a file has no more attributes than can be listed, and no more than 1 MiB of them', async () => {
  const value = Buffer.alloc(65_536, 1);
  let count = 0;
  while ((await outcome(() => set('m/f', `user.${count}`, value))) === 'ok') count++;
  expect(count).toBe(11);
  expect(await outcome(() => set('m/f', 'user.last', value))).toBe('NoSpace');
  for (let i = 0; i < count; i++) await remove('m/f', `user.${i}`);
  const name = (i: number): string => `user.${String(i).padStart(240, '0')}`;
  await user.with('m/f', async (id) => {
    const add = (i: number) =>
      outcome(() => user.fs.setXattr(user.context, id, name(i), Buffer.alloc(0), plain));
    for (let i = 0; i < Math.floor(65_536 / 246); i++) expect(await add(i)).toBe('ok');
    expect(await add(1000)).toBe('NoSpace');
  });
});

test('P12: setting and removing an attribute changes ctime and nothing else', async () => {
  const before = await user.stat('m/f');
  for (const act of [() => set('m/f', 'user.a', Buffer.from('v')), () => remove('m/f', 'user.a')]) {
    await change('m/f', { ctime: before.ctime });
    await act();
    const after = await user.stat('m/f');
    expect(after.ctime).not.toEqual(before.ctime);
    expect({ ...after, ctime: 0 }).toEqual({ ...before, ctime: 0 });
  }
});

test("P13: control files have the ACL of the artifact's directory, as far as they can be used", async () => {
  expect(await outcome(() => get('m/.artifact/commit', accessAclName))).toBe('NoAttribute');
  await change('m', { mode: 0o750 });
  await set('m', accessAclName, acl(7, 5, 0, 7, 7));
  expect(await get('m/.artifact', accessAclName)).toEqual(acl(5, 5, 0, 5, 5));
  expect(await get('m/.artifact/commit', accessAclName)).toEqual(acl(2, 0, 0, 2, 2));
  expect(await get('m/.artifact/status', accessAclName)).toEqual(acl(4, 4, 0, 4, 4));
  expect(await modeOf('m/.artifact/commit')).toBe(0o220);
  expect(await outcome(() => set('m/.artifact/commit', accessAclName, acl(7, 7, 7)))).toBe('NotPermitted');
});

test('P14: a collection hands its default ACL to new artifacts', async () => {
  const collection = artifacts.create(artifacts.root, 'c', { type: 'collection' });
  await collection.tree.setXattr(collection.tree.root, defaultAclName, acl(7, 5, 0, 7, 7));
  user.context = { ...contextOf(5, 6), umask: 0o077 };
  await user.mkdir('c/new', 0o775);
  expect(await user.stat('c/new')).toMatchObject({ mode: 0o770, uid: 5, gid: 6 });
  expect(await get('c/new', accessAclName)).toEqual(acl(7, 5, 0, 7, 7));
  expect(await get('c/new', defaultAclName)).toEqual(acl(7, 5, 0, 7, 7));
});

test('P15: a listing is told that there are no ACLs while no file that was seen has one, and nobody else is', async () => {
  const label = () => outcome(() => get('m/f', 'security.selinux'));
  const asked = () => outcome(() => get('m/f', accessAclName));
  expect(await asked()).toBe('NoAttribute');
  expect(await label()).toBe('Unsupported');
  expect(await asked(), 'after the label, as ls does').toBe('Unsupported');
  expect(await asked()).toBe('NoAttribute');
  await label();
  expect(await outcome(() => get('m', accessAclName)), 'of another file').toBe('NoAttribute');
  user.context = contextOf(5, 5);
  await label();
  expect(await asked(), 'of somebody else: it may be the kernel that checks rights').toBe('NoAttribute');
  user.context = contextOf();
  await user.write('m/g', '');
  await set('m/g', accessAclName, acl(6, 4, 4));
  await label();
  expect(await asked(), 'what was set is what the mode says').toBe('Unsupported');
  await set('m/g', accessAclName, acl(6, 4, 0, 6, 6));
  await label();
  expect(await asked(), 'once there is an ACL').toBe('NoAttribute');
  const later = new User(artifacts);
  await later.stat('m/g');
  user = later;
  await label();
  expect(await asked(), 'once a file with an ACL was seen').toBe('NoAttribute');
});
