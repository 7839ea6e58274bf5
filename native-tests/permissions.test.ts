// Who may do what, against a local disk: each scenario runs there and in a mount, and must say the same. Several users
// share a mount of root's; an ordinary user has one of their own.
import { mkdtempSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ordinaryUser } from './support/ordinary-user.js';
import { Requests } from './support/requests.js';
import { undisturbed } from './support/undisturbed.js';
import { type Machine, World } from './support/world.js';

/** Users and a group that `a` and `c` are in. To the kernel they are numbers: no account is needed. */
const [a, b, c, group] = [61_001, 61_002, 61_003, 61_010];
const program = join(import.meta.dirname, 'python', 'permissions.py');

const world = new World();
const m = world.machine();
const user = ordinaryUser();
const own = new World({ user });
const mine = own.machine();

beforeAll(async () => {
  await m.mount('--allow-other');
  await m.sh(`mkdir "$MNT/m"`);
  await mine.mount();
  await mine.sh(`mkdir "$MNT/m"`);
});
afterAll(async () => {
  await world[Symbol.asyncDispose]();
  await own[Symbol.asyncDispose]();
});

/** What the scenario says in a new directory. */
async function said(machine: Machine, scenario: string, directory: string): Promise<string> {
  return machine.sh(
    `mkdir "${directory}" && cd "${directory}" && python3 "${program}" ${scenario} . ${a} ${b} ${c} ${group}`,
  );
}

async function same(machine: Machine, scenario: string): Promise<string[]> {
  const local = await said(machine, scenario, `${machine.directory}/tmp/${scenario}`);
  const mounted = await said(machine, scenario, `${machine.mnt}/m/${scenario}`);
  expect(mounted.split('\n')).toEqual(local.split('\n'));
  return mounted.split('\n');
}

describe('as on a local disk, by root and several users', () => {
  test('ACLs, modes and chmod change each other', async () => {
    const lines = await same(m, 'acls');
    expect(lines).toContain(
      `0o640 f 0o640 user::rw- user:A:rw-#effective:r-- group::r-- mask::r-- other::---`,
    );
  });
  test('malformed and misplaced ACLs are refused', async () => {
    const lines = await same(m, 'malformed');
    expect(lines).toContain('no mask -> EINVAL');
    expect(lines).toContain('of a symlink -> ENOTSUP');
  });
  test('default ACLs and the umask', async () => {
    const lines = await same(m, 'inherits');
    expect(lines).toContain('none/f77-666 0o600 user::rw- group::--- other::---');
    expect(lines).toContain(
      'd/f77-666 0o660 user::rw- user:A:rwx#effective:rw- group::r-x#effective:r-- mask::rw- other::---',
    );
  });
  test('ACLs decide who may', async () => {
    const lines = await same(m, 'enforced');
    expect(lines).toContain('B: append -> ok');
    expect(lines).toContain('B: append -> EACCES');
    expect(lines).toContain('B: read, B refused -> EACCES');
  });
  test('setgid, of files and directories', async () => {
    expect(await same(m, 'setgid')).toContain('acl-False-False-44 0o775');
  });
  test('sticky directories', async () => {
    expect(await same(m, 'sticky')).toContain('B: remove of A -> EPERM');
  });
  test('setuid, setgid and capabilities go with content and owner', async () => {
    const lines = await same(m, 'privileges');
    expect(lines).toContain('write-6777-1 ok 0o777');
    expect(lines).toContain('write-6777-2 ok 0o6777');
  });
  test('extended attributes', async () => {
    const lines = await same(m, 'attributes');
    expect(lines).toContain('create again -> EEXIST');
    expect(lines).toContain('get none -> ENODATA');
  });
  test('extended attributes of several users', async () => {
    expect(await same(m, 'shared_attributes')).toContain('A: get trusted -> ENODATA');
  });
});

test.each(['acls', 'malformed', 'inherits', 'attributes'])(
  'as on a local disk, by an ordinary user on a mount of their own: %s',
  async (scenario) => {
    await same(mine, scenario);
  },
);

const about = `find . -print0 | sort -z | xargs -0 sh -c 'stat -c "%n %a %u %g %F" "$@"; getfacl -n "$@"; getfattr -h -d -m - -e hex "$@" 2>&1' -`;

describe.each([
  ['cp', 'cp -a "$FROM/." "$TO/"'],
  [
    'tar',
    'tar -C "$FROM" --acls --xattrs "--xattrs-include=*" -cf - . | tar -C "$TO" --acls --xattrs "--xattrs-include=*" -xpf -',
  ],
  ['rsync', 'rsync -aAXH "$FROM/" "$TO/"'],
])('%s', (name, copy) => {
  test('carries modes, owners, ACLs and attributes into a mount, through a commit, and out of a version', async () => {
    await m.sh(`
      mkdir -p "$TMP/from" && cd "$TMP/from" && rm -rf -- * && mkdir d && echo x > d/f && echo y > g && ln -s g l && mkfifo p
      chown ${a}:${group} d g && chmod 2770 d && chmod 4755 g
      setfacl -m u:${b}:rw,g:${group}:r d/f && setfacl -d -m u:${c}:rwx d && setfacl -m u:${c}:x d
      setfattr -n user.text -v some d/f && setfattr -n user.bytes -v 0x00ff0a d && setfattr -n trusted.t -v t g
      setfattr -n security.capability -v 0x0100000200040000000000000000000000000000 d/f
      mkdir "$MNT/${name}" "$TMP/back-${name}"
      FROM=$TMP/from TO=$MNT/${name}; ${copy}
    `);
    const before = await m.sh(`cd "$TMP/from" && ${about}`);
    expect(before).toContain(`user:${b}:rw-`);
    expect(before).toContain('user.bytes=0x00ff0a');
    expect(await m.sh(`cd "$MNT/${name}" && ${about}`)).toBe(before);
    await m.sh(`echo done > "$MNT/${name}/.artifact/commit"`);
    expect(await m.sh(`cd "$MNT/${name}" && ${about}`)).toBe(before);
    expect(await m.sh(`cd "$MNT/${name}@v0" && ${about}`)).toBe(before);
    await m.sh(`FROM=$MNT/${name}@v0 TO=$TMP/back-${name}; ${copy}`);
    expect(await m.sh(`cd "$TMP/back-${name}" && ${about}`)).toBe(before);
  });
});

test('ACLs of a version are enforced, and nothing of it changes', async () => {
  await m.sh(`mkdir "$MNT/versioned" && cd "$MNT/versioned" && echo secret > f && chmod 600 f && setfacl -m u:${b}:r f
    setfattr -n user.a -v v f && echo done > .artifact/commit`);
  const as = (uid: number, command: string) =>
    m.try(`cd "$MNT/versioned@v0" && setpriv --reuid=${uid} --regid=${uid} --clear-groups ${command}`);
  expect((await as(b, 'cat f')).stdout).toBe('secret\n');
  expect((await as(c, 'cat f')).stderr).toContain('Permission denied');
  for (const change of [
    'setfacl -m u:1:r f',
    'setfacl -b f',
    'setfattr -n user.a -v w f',
    'setfattr -x user.a f',
    'chmod 644 f',
    'chown 1 f',
  ]) {
    expect((await m.try(`cd "$MNT/versioned@v0" && ${change}`)).stderr, change).toContain('Read-only');
  }
});

test('what an ACL allows changes for everybody at once, also when discard changes it around the kernel', async () => {
  await m.sh(
    `mkdir "$MNT/told" && cd "$MNT/told" && echo text > f && chmod 600 f && setfacl -m u:${b}:r f && echo v0 > .artifact/commit`,
  );
  const asB = `setpriv --reuid=${b} --regid=${b} --clear-groups cat "$MNT/told/f"`;
  expect((await m.try(asB)).code).toBe(0);
  await m.sh(`cd "$MNT/told" && setfacl -b f`);
  expect((await m.try(asB)).code).not.toBe(0);
  await m.sh(`echo now > "$MNT/told/.artifact/discard"`);
  expect((await m.try(asB)).code).toBe(0);
});

test('who may write in an artifact by its ACL may commit it; who may not, may not', async () => {
  await m.sh(`mkdir "$MNT/shared" && cd "$MNT/shared" && echo 1 > f
    chown ${a}:${group} . && chmod 750 . && setfacl -m u:${b}:rwx . && test "$(stat -c %a .)" = 770`);
  const as = (uid: number, command: string) =>
    m.try(
      `setpriv --reuid=${uid} --regid=${uid} --groups ${uid === b ? b : group} bash -c 'cd "$MNT/shared" && ${command}'`,
    );
  expect((await as(c, 'echo mine > .artifact/commit')).stderr).toContain('Permission denied');
  expect((await as(c, 'cat .artifact/status')).stdout).toContain('"base": null');
  expect(await as(b, 'echo mine > .artifact/commit')).toMatchObject({ code: 0 });
  expect(
    await m.sh(`getfacl -cn "$MNT/shared/.artifact/commit" "$MNT/shared/.artifact/status" | tr -d '\\t'`),
  ).toBe(
    `user::-w-\nuser:${b}:-w-\ngroup::---\nmask::-w-\nother::---\n\nuser::r--\nuser:${b}:r--\ngroup::r--\nmask::r--\nother::---\n\n`,
  );
  await m.sh(`cd "$MNT/shared" && setfacl -x u:${b} . && echo 2 > f`);
  expect((await as(b, 'echo mine > .artifact/commit')).stderr).toContain('Permission denied');
});

test('a collection hands its group, setgid and default ACL to new artifacts', async () => {
  await m.sh(`mkdir "$MNT/gallery" && echo '{"type":"collection"}' > "$MNT/gallery/.artifact/manifest.json" && cd "$MNT/gallery"
    chown root:${group} . && chmod 2775 . && setfacl -d -m u:${b}:rwx . && umask 077 && mkdir one && echo x > one/f`);
  const acl = await m.sh(
    `cd "$MNT/gallery" && stat -c '%a %g' one one/f && getfacl -cn one one/f | tr -d '\\t'`,
  );
  expect(acl).toContain(`2775 ${group}\n664 ${group}`);
  expect(acl).toContain(`user:${b}:rwx#effective:rw-`);
  expect(acl).toContain(`default:user:${b}:rwx`);
});

test('attributes: large values, long lists, and no more than can be listed', async () => {
  const script = `
import errno, os
f = 'f'
open(f, 'w').close()
os.setxattr(f, 'user.large', bytes(65536))
assert os.getxattr(f, 'user.large') == bytes(65536)
os.removexattr(f, 'user.large')
names = 0
try:
    while True:
        os.setxattr(f, 'user.' + str(names).zfill(200), b'v')
        names += 1
except OSError as error:
    print(errno.errorcode[error.errno], names, len(os.listxattr(f)))
`;
  const directory = mkdtempSync(join(m.directory, 'script-'));
  try {
    const path = join(directory, 'names.py');
    await m.sh(`cat > ${path} <<'END'\n${script}\nEND\nmkdir "$MNT/m/names" && cd "$MNT/m/names"`);
    const [code, made, listed] = (await m.sh(`cd "$MNT/m/names" && python3 ${path}`)).trim().split(' ');
    expect(code).toBe('ENOSPC');
    expect(Number(made)).toBe(Math.floor(65_536 / 206));
    expect(listed).toBe(made);
  } finally {
    rmSync(directory, { recursive: true });
  }
});

describe('what is asked of the daemon', () => {
  const quiet = new World();
  const q = quiet.machine();
  const files = 300;
  beforeAll(async () => {
    await q.mount('--allow-other');
    await q.sh(
      `mkdir -p "$MNT/asks/d" && cd "$MNT/asks/d" && for i in $(seq ${files}); do echo $i > $i; done`,
    );
  });
  afterAll(() => quiet[Symbol.asyncDispose]());

  /** Requests for attributes while the script runs. */
  async function xattrsOf(script: string): Promise<number> {
    const requests = new Requests(q, { writeCache: true });
    await requests.of(script);
    return requests.lastXattrs;
  }

  test('labels and ACLs once by each ls -l, while there are no ACLs', async () => {
    expect(await xattrsOf('ls -lR "$MNT/asks"')).toBeLessThanOrEqual(3);
    expect(await xattrsOf('ls -lR "$MNT/asks"')).toBeLessThanOrEqual(3);
    await q.sh('cp -a "$MNT/asks/d" "$MNT/asks/copy"');
    expect(await xattrsOf('ls -lR "$MNT/asks"'), 'ACLs that say what the mode says').toBeLessThanOrEqual(3);
  });

  test('each file once for its capabilities, however often it is written', async () => {
    const append = `cd "$MNT/asks/d" && for i in $(seq ${files}); do echo more >> $i; done`;
    await undisturbed(async () => {
      await q.sh(append);
      expect(await xattrsOf(append)).toBeLessThan(10);
    });
  });

  test('each file once for its ACL, when there are any', async () => {
    await q.sh('cd "$MNT/asks/d" && setfacl -m u:61001:r 7 77');
    await undisturbed(async () => {
      const marked = await q.sh(`ls -lR "$MNT/asks" | grep '^[^ ]*+' | awk '{ print $NF }'`);
      expect(marked).toBe('7\n77\n');
      expect(await xattrsOf('ls -lR "$MNT/asks"')).toBeLessThanOrEqual(3);
    });
  });

  test('rights are checked as before for others, whatever a listing was told', async () => {
    const as = (command: string) =>
      q.try(`setpriv --reuid=61001 --regid=61001 --clear-groups bash -c 'cd "$MNT/asks" && ${command}'`);
    await q.sh('mkdir "$MNT/asks/other" && cd "$MNT/asks/other" && echo x > f && chmod 640 f && echo x > g');
    expect((await as('ls -l other other/f other/g && cat other/g')).code).toBe(0);
    expect((await as('cat other/f')).stderr).toContain('Permission denied');
  });
});
