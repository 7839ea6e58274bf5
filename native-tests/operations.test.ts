// Every file operation of a local Linux file system through a real mount: what test/vfs/semantics/ states about ranges,
// files without a name, sizes, times and handles, as root and as somebody without rights.
import { execFileSync } from 'node:child_process';
import { chownSync, mkdirSync, readdirSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { ordinaryUser } from './support/ordinary-user.js';
import { casesOf, program } from './support/programs.js';
import { type Machine, World } from './support/world.js';

const world = new World();
const here = world.machine('here');

beforeAll(() => here.mount());
afterAll(() => world[Symbol.asyncDispose]());

/** A Python script in a directory of the mount; what it prints. */
const python = (machine: Machine, directory: string, script: string): Promise<string> =>
  machine.sh(`cd '${directory}' && python3 - <<'PYTHON'\nimport os, errno, ctypes\n${script}\nPYTHON`);

/** For scripts: runs a call and gives the name of its errno. */
const failing = `
def failing(call, *arguments, **options):
    try: call(*arguments, **options)
    except OSError as error: return errno.errorcode[error.errno]
    return 'ok'
libc = ctypes.CDLL(None, use_errno=True)
def system(name, *arguments):
    ctypes.set_errno(0)
    if getattr(libc, name)(*arguments) == -1: raise OSError(ctypes.get_errno(), name)
long = ctypes.c_long
`;

const binary = program('range-cases');

describe.each([true, false])('ranges of files, with the write cache: %s', (writeCache) => {
  const machine = world.machine(`ranges-${writeCache}`);
  const local = join(machine.directory, 'local');
  beforeAll(async () => {
    mkdirSync(local);
    await machine.mount('--allow-other', `--write-cache=${writeCache}`);
    mkdirSync(machine.path('a'));
  });
  test.each(casesOf(binary))('%s', async (name) => {
    for (const directory of [join(local, name), machine.path('a', name)]) {
      mkdirSync(directory);
      const outcome = await machine.exec(binary, ['run', name, directory]);
      expect(outcome, directory).toMatchObject({ code: 0, stderr: '' });
      rmSync(directory, { recursive: true });
    }
  });
});

test('ranges of files, for an ordinary user', async () => {
  const user = ordinaryUser();
  await using others = new World({ user });
  const machine = others.machine();
  const local = join(others.directory, 'local');
  mkdirSync(local);
  chownSync(local, user.uid, user.gid);
  await machine.mount();
  await machine.sh('mkdir "$MNT/a"');
  for (const name of casesOf(binary)) {
    const outcomes = await Promise.all(
      [join(local, name), machine.path('a', name)].map(async (directory) => {
        await machine.sh(`mkdir '${directory}'`);
        return machine.exec(binary, ['run', name, directory]);
      }),
    );
    expect(outcomes[1], name).toEqual(outcomes[0]);
    expect([0, 77], name).toContain(outcomes[0]?.code);
  }
});

describe('what only some file systems do is refused with the errno that programs know', () => {
  test('collapsing and inserting ranges, whiteouts, links to removed files', async () => {
    mkdirSync(here.path('refused'));
    const said = await python(
      here,
      here.path('refused'),
      `${failing}
fd = os.open('f', os.O_RDWR | os.O_CREAT)
os.write(fd, b'x' * 8192)
for mode in (0x08, 0x20, 0x40, 0x02): print(failing(system, 'fallocate', fd, mode, long(0), long(4096)))
print(failing(system, 'fallocate', fd, 0, long(0), long(1 << 50)), os.fstat(fd).st_size)
print(failing(system, 'renameat2', -100, b'f', -100, b'g', 4))
print(failing(system, 'renameat2', -100, b'f', -100, b'g', 3))
os.unlink('f')
print(failing(system, 'linkat', -100, f'/proc/self/fd/{fd}'.encode(), -100, b'again', 0x400))
print(os.listdir('.'))`,
    );
    expect(said.trim().split('\n')).toEqual([
      ...['ENOTSUP', 'ENOTSUP', 'ENOTSUP', 'ENOTSUP'],
      'ENOSPC 8192', // at once: a local disk would be filled first
      ...['EINVAL', 'EINVAL', 'ENOENT', '[]'],
    ]);
  });

  test('every change in a version is EROFS', async () => {
    mkdirSync(here.path('fixed'));
    await here.sh(`cd "$MNT/fixed" && echo text > f && mkdir d && echo one > .artifact/commit`);
    const said = await python(
      here,
      here.path('fixed@v0'),
      `${failing}
R = os.O_RDONLY
fd = os.open('f', R)
print(failing(os.open, 'f', os.O_RDWR), failing(os.open, 'f', os.O_WRONLY | os.O_TRUNC))
print(failing(os.open, '.', os.O_TMPFILE | os.O_RDWR), failing(os.open, 'new', os.O_CREAT | os.O_RDWR))
print(failing(os.truncate, 'f', 0), failing(os.utime, 'f'), failing(os.chmod, 'f', 0o600), failing(os.chown, 'f', 1, 1))
print(failing(os.mkdir, 'n'), failing(os.mkfifo, 'n'), failing(os.mknod, 'n', 0o60600, 0x100), failing(os.symlink, 'x', 'n'))
print(failing(os.link, 'f', 'n'), failing(os.rename, 'f', 'n'), failing(os.unlink, 'f'), failing(os.rmdir, 'd'))
print(failing(os.setxattr, 'f', 'user.k', b'v'), failing(os.removexattr, 'f', 'user.k'))
print(failing(system, 'fallocate', fd, 0, long(0), long(10)), failing(os.ftruncate, fd, 0))
print(os.lseek(fd, 0, os.SEEK_HOLE), os.lseek(fd, 0, os.SEEK_DATA))
out = os.open('../fixed/copy', os.O_RDWR | os.O_CREAT)
print(os.copy_file_range(fd, out, 100), os.pread(out, 100, 0))`,
    );
    const lines = said.trim().split('\n');
    expect(new Set(lines.slice(0, 6).join(' ').split(' '))).toEqual(new Set(['EROFS']));
    expect(lines.slice(6)).toEqual(['EBADF EINVAL', '5 0', "5 b'text\\n'"]);
  });
});

describe('copies', () => {
  beforeAll(async () => {
    mkdirSync(here.path('copies'));
    mkdirSync(here.path('elsewhere'));
    await here.sh('cd "$MNT/copies" && head -c 134217728 /dev/urandom > big && echo big > .artifact/commit');
  });
  const stagedBytes = async (artifact: string): Promise<number> =>
    JSON.parse(await here.sh(`cat "$MNT/${artifact}/.artifact/status"`)).bytesToUpload as number;

  test.each(['cp', 'cp --reflink=auto', 'cp --sparse=always'])(
    '%s of a committed file within an artifact moves no bytes',
    async (command) => {
      await here.sh(`cd "$MNT/copies" && ${command} big copy`);
      if (!command.includes('sparse')) expect(await stagedBytes('copies')).toBe(0);
      await here.sh(
        'cd "$MNT/copies" && cmp big copy && echo copied > .artifact/commit && cmp big ../copies@latest/copy',
      );
      await here.sh('rm "$MNT/copies/copy"');
    },
  );

  test('a clone that must be one is refused', async () => {
    const outcome = await here.try('cd "$MNT/copies" && cp --reflink=always big clone');
    expect(outcome.code).toBe(1);
    expect(outcome.stderr).toContain('Operation not supported');
  });

  test('between artifacts, and from a version, the bytes are the same', async () => {
    await here.sh('cd "$MNT" && cp copies/big elsewhere/ && cmp copies/big elsewhere/big');
    await here.sh('cd "$MNT" && cp copies@v0/big copies/old && cmp copies/big copies/old');
  });
});

test('a killed daemon leaves nothing of a file without a name', async () => {
  const machine = world.machine('killed');
  await machine.mount();
  mkdirSync(machine.path('a'));
  await machine.sh('echo kept > "$MNT/a/f"');
  await python(
    machine,
    machine.path('a'),
    `
fd = os.open('.', os.O_TMPFILE | os.O_RDWR)
os.write(fd, b'x' * 5000000)
os.fsync(fd)
os.kill(${machine.pid}, 9)`,
  );
  await machine.kill();
  await machine.mount();
  const staged = await machine.sh(`find "$XDG_STATE_HOME" -path '*stag*' -type f -size +1M`);
  expect(staged).toBe('');
  expect(readdirSync(machine.path('a'))).toEqual(['f']);
  await machine.stop();
});

test('a file without a name, once linked, is committed, and survives a killed daemon', async () => {
  const machine = world.machine('linked');
  await machine.mount();
  mkdirSync(machine.path('a'));
  await python(
    machine,
    machine.path('a'),
    `${failing}
fd = os.open('.', os.O_TMPFILE | os.O_RDWR, 0o640)
os.write(fd, b'x' * 5000000)
os.setxattr(fd, 'user.k', b'v')
system('linkat', -100, f'/proc/self/fd/{fd}'.encode(), -100, b'f', 0x400)
assert os.fstat(fd).st_ino == os.stat('f').st_ino and os.fstat(fd).st_nlink == 1
os.fsync(fd)
os.kill(${machine.pid}, 9)`,
  );
  await machine.kill();
  await machine.mount();
  await machine.sh(`cd "$MNT/a" && test "$(stat -c '%s %a' f)" = '5000000 640' && test "$(getfattr --only-values -n user.k f)" = v
    echo one > .artifact/commit && cmp f ../a@v0/f && test "$(tr -d x < ../a@v0/f | wc -c)" = 0`);
  await machine.stop();
});

test('writes with O_SYNC and O_DSYNC reach stable storage: each is followed by an fsync', async () => {
  mkdirSync(here.path('synced'));
  const count = async (): Promise<number> => {
    const stats = await here.sh('cat "$MNT/.artifactfs/stats"');
    return Number(/fsync[^\d]*(\d+)/.exec(stats)?.[1] ?? 0);
  };
  const before = await count();
  await here.sh('cd "$MNT/synced" && dd if=/dev/zero of=a bs=4k count=5 oflag=sync status=none');
  const after = await count();
  expect(after).toBeGreaterThanOrEqual(before + 5);
  await here.sh('cd "$MNT/synced" && dd if=/dev/zero of=b bs=4k count=5 oflag=dsync status=none');
  expect(await count()).toBeGreaterThanOrEqual(after + 5);
});

test('times of every age go through commit and into another mount', async () => {
  const times = [
    '1901-12-13 20:45:51.000000001',
    '1969-12-31 23:59:59.999999999',
    '2106-02-07 06:28:17.5',
    '2500-01-01 00:00:00.123456789',
    '9999-12-31 23:59:59.987654321',
  ];
  mkdirSync(here.path('times'));
  const script = times
    .map((time, i) => `touch -d '${time} UTC' f${i}; touch -h -d '${time} UTC' l${i}`)
    .join('\n');
  const links = times.map((_, i) => `ln -s f${i} l${i}`).join('; ');
  const show = (machine: Machine) => machine.sh(`cd "$MNT/times" && stat -c '%n %.9X %.9Y' f? l?`);
  await here.sh(`cd "$MNT/times" && ${links} && ${script}`);
  const shown = await show(here);
  expect(shown).toContain('f1 -0.000000001 -0.000000001');
  expect(shown).toContain('f4 253402300799.987654321');
  await here.sh('echo times > "$MNT/times/.artifact/commit"');
  expect(await show(here)).toBe(shown);
  const other = world.machine('other');
  await other.mount();
  expect(await show(other)).toBe(shown);
  await other.stop();
});

describe('file handles', () => {
  const helper = `${failing}
class Handle(ctypes.Structure): _fields_ = [('bytes', ctypes.c_uint), ('type', ctypes.c_int), ('data', ctypes.c_char * 128)]
def handle_of(path):
    handle, mount = Handle(128), ctypes.c_int()
    system('name_to_handle_at', -100, path.encode(), ctypes.byref(handle), ctypes.byref(mount), 0)
    return handle
def ino_of(handle):
    fd = libc.open_by_handle_at(at, ctypes.byref(handle), os.O_RDONLY)
    if fd < 0: return errno.errorcode[ctypes.get_errno()]
    try: return os.fstat(fd).st_ino
    finally: os.close(fd)
def forget():
    with open('/proc/sys/vm/drop_caches', 'w') as f: f.write('2')
def same(a, b): return a.data == b.data
at = os.open('/', os.O_RDONLY)
`;
  test('lead to files, directories and versions that the kernel has forgotten, and after renames', async () => {
    mkdirSync(here.path('handles'));
    await here.sh(`cd "$MNT/handles" && mkdir -p d/e && echo x > d/e/f && echo one > .artifact/commit`);
    const said = await python(
      here,
      '/',
      `${helper}
at = os.open('${here.mnt}', os.O_RDONLY)
top = '${here.path('handles')}'
paths = [top, top + '/d', top + '/d/e', top + '/d/e/f', top + '@v0/d/e/f']
found = [(handle_of(p), os.stat(p).st_ino) for p in paths]
for round in range(3):
    forget()
    print([ino_of(h) == ino for h, ino in found])
forget()
print(all(same(handle_of(p), h) for p, (h, _) in zip(paths, found)))
os.rename(top + '/d/e/f', top + '/d/g')
os.rename(top + '/d', top + '/moved')
forget()
print(ino_of(found[3][0]) == found[3][1], ino_of(found[1][0]) == found[1][1])
os.rename(top + '/moved/g', top + '/moved/h')
os.unlink(top + '/moved/h')
forget()
print(ino_of(found[3][0]))`,
    );
    const all = '[True, True, True, True, True]';
    expect(said.trim().split('\n')).toEqual([all, all, all, 'True', 'True True', 'ESTALE']);
  });
});

test('statfs shows the file system that holds the state, and 255 bytes of name', async () => {
  const figures = `stat -f -c '%S %b %l' `;
  const local = await here.sh(`${figures} "$XDG_STATE_HOME"`);
  expect(await here.sh(`${figures} "$MNT"`)).toBe(local);
});

test('FIFOs, sockets and devices are made by who may, and programs talk through them', async () => {
  const user = ordinaryUser();
  await using others = new World({ user });
  const machine = others.machine();
  await machine.mount();
  await machine.sh('mkdir "$MNT/a"');
  const said = await python(
    machine,
    machine.path('a'),
    `${failing}
import socket, threading
os.mkfifo('fifo', 0o600)
writer = threading.Thread(target=lambda: open('fifo', 'w').write('through'))
writer.start()
print(open('fifo').read())
server = socket.socket(socket.AF_UNIX)
server.bind('sock')
server.listen()
client = socket.socket(socket.AF_UNIX)
client.connect('sock')
peer, _ = server.accept()
client.send(b'hello')
print(peer.recv(9).decode())
print(failing(os.open, 'sock', os.O_RDONLY), failing(os.mknod, 'dev', 0o20600, 0x103), failing(os.mknod, 'sock2', 0o140600))
print(oct(os.stat('fifo').st_mode), oct(os.stat('sock').st_mode & 0o170000))`,
  );
  expect(said.trim().split('\n')).toEqual(['through', 'hello', 'ENXIO EPERM ok', '0o10600 0o140000']);
  mkdirSync(here.path('nodes'));
  execFileSync('mknod', ['-m', '600', here.path('nodes', 'null'), 'c', '1', '3']);
  execFileSync('mknod', [here.path('nodes', 'disk'), 'b', '259', '70000']);
  await here.sh('echo nodes > "$MNT/nodes/.artifact/commit"');
  const shown = await here.sh(`stat -c '%F %Hr:%Lr' "$MNT/nodes@v0/null" "$MNT/nodes/disk"`);
  expect(shown.trim().split('\n')).toEqual(['character special file 1:3', 'block special file 259:70000']);
});
