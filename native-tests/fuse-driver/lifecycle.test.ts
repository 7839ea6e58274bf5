// Mounting and unmounting, by whom and how it ends; who may; what is said when it cannot work.
import { type ChildProcess, spawn } from 'node:child_process';
import { openSync, readdirSync } from 'node:fs';
import { chown, mkdir, readdir, readFile, rm, stat, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { pathToFileURL } from 'node:url';
import v8 from 'node:v8';
import { runInNewContext } from 'node:vm';
import { afterEach, beforeEach, describe, expect, test } from 'vitest';
import type { MountOptions } from '../../src/fuse/mount-options.js';
import { resolveMountPoint } from '../../src/fuse/mount-point.js';
import { loadNative } from '../../src/fuse/native.js';
import { unmountPath } from '../../src/fuse/unmount.js';
import { ordinaryUser } from '../support/ordinary-user.js';
import { undisturbed } from '../support/undisturbed.js';
import type { User } from '../support/world.js';
import { Place, shell } from './support.js';

let place: Place;
let daemons: Daemon[] = [];
beforeEach(async () => {
  place = await Place.make();
});
afterEach(async () => {
  for (const daemon of daemons) await daemon.stop();
  daemons = [];
  await shell(`umount -l '${place.mountPoint}'`); // what a failed test left
  await place[Symbol.asyncDispose]();
});

/** A daemon in a process of its own (see serve.ts), perhaps of another user. */
class Daemon {
  readonly child: ChildProcess;
  readonly #lines: AsyncIterator<string>;

  constructor(mountPoint: string, options: Partial<MountOptions> = {}, user?: User) {
    const root = join(import.meta.dirname, '..', '..');
    const loader = pathToFileURL(join(root, 'test/support/typescript-loader.mjs')).href;
    const serve = join(import.meta.dirname, 'serve.ts');
    this.child = spawn(process.execPath, ['--import', loader, serve, mountPoint, JSON.stringify(options)], {
      cwd: root,
      stdio: ['ignore', 'pipe', 'inherit'],
      ...(user === undefined ? {} : { uid: user.uid, gid: user.gid }),
    });
    if (this.child.stdout === null) throw new Error('no output');
    this.#lines = createInterface(this.child.stdout)[Symbol.asyncIterator]();
    daemons.push(this);
  }

  async line(): Promise<string> {
    const next = await this.#lines.next();
    return next.done ? 'ended' : next.value;
  }

  async stop(signal: NodeJS.Signals = 'SIGTERM'): Promise<void> {
    if (this.child.exitCode !== null || this.child.signalCode !== null) return;
    const gone = new Promise((resolve) => this.child.once('exit', resolve));
    this.child.kill(signal);
    await gone;
  }
}

const mountLine = async (): Promise<string | undefined> =>
  (await readFile('/proc/self/mounts', 'utf8')).split('\n').find((line) => line.includes(place.mountPoint));

describe('as root', () => {
  test('a mount names itself, ignores setuid and devices, and goes when unmounted', async () => {
    const mounted = await place.mount({ fsName: 's3://bucket/test' });
    expect(await mountLine()).toMatch(/^s3:\/\/bucket\/test \S+ fuse\.artifactfs rw,nosuid,nodev,/);
    expect(Number(mounted.protocol.split('.')[1])).toBeGreaterThanOrEqual(31);
    await place.sh('echo x > file; cp /usr/bin/id id; chown 1 id; chmod 4755 id; test "$(./id -u)" = 0');
    await mounted.unmount();
    await expect(mounted.closed).resolves.toBe('unmounted');
    expect(await place.isMounted()).toBe(false);
    expect(await readdir(place.mountPoint)).toEqual([]);
  });

  test('setuid programs and devices work when asked for', async () => {
    await place.mount({ allowSetuid: true, allowDevices: true, allowOther: true });
    expect(await mountLine()).not.toMatch(/nosuid|nodev/);
    await place.sh('cp /usr/bin/id id; chown 1 id; chmod 4755 id; test "$(./id -u)" = 1');
    await place.sh('mknod zero c 1 5 && head -c 3 zero | wc -c');
  });

  test('a read-only mount refuses before the file system is asked', async () => {
    await place.mount({ readOnly: true });
    expect((await place.try('touch x')).stderr).toContain('Read-only file system');
    expect(place.mounted?.requestCounts()['create']).toBeUndefined();
  });

  test('the kernel reads ahead as far as asked', async () => {
    const mounted = await place.mount({ readAheadBytes: 2 << 20 });
    expect(mounted.readAheadBytes).toBe(2 << 20);
    const device = (await stat(place.mountPoint)).dev;
    const path = `/sys/class/bdi/${Math.floor(device / 256)}:${device % 256}/read_ahead_kb`;
    expect(await readFile(path, 'utf8')).toBe('2048\n');
  });

  test('with the write-back cache small writes are collected', async () => {
    const mounted = await place.mount({ writebackCache: true });
    await undisturbed(async () => {
      const before = mounted.requestCounts()['write'] ?? 0;
      await place.sh('dd if=/dev/zero of=small bs=512 count=2000 status=none; sync small; echo y >> small');
      expect((mounted.requestCounts()['write'] ?? 0) - before).toBeLessThan(20);
    });
    await place.sh('test "$(stat -c %s small)" = 1024002 && test "$(tail -c 1 small | wc -c)" = 1');
  });

  test('others are kept out, or let in by the modes', async () => {
    const user = ordinaryUser();
    await place.mount();
    expect((await shell(`ls '${place.mountPoint}'`, user)).stderr).toContain('Permission denied');
    await place.mounted?.unmount();
    await place.mount({ allowOther: true });
    await place.sh('mkdir open closed; chmod 777 open; chmod 700 closed');
    await place.sh('touch open/mine && test "$(stat -c %u:%g open/mine)" = "$(id -u):$(id -g)"', user);
    expect((await place.try('ls closed', user)).stderr).toContain('Permission denied');
    expect((await place.try('touch x', user)).stderr).toContain('Permission denied');
  });

  test('somebody else’s write takes setuid away, also with O_TRUNC', async () => {
    const user = ordinaryUser();
    await place.mount({ allowOther: true });
    await place.sh('for f in a b c; do echo x > $f; chmod 6777 $f; done');
    await place.sh('echo x >> a; echo x > b; truncate -s 1 c', user);
    expect(await place.sh('stat -c %a a b c')).toBe('777\n777\n777');
    await place.sh('chmod 6777 a && echo root >> a && test $(stat -c %a a) = 6777');
  });

  test('through fusermount3 it works, too', async () => {
    await place.mount({ by: 'fusermount3', allowOther: true });
    expect(await mountLine()).toMatch(/^artifactfs \S+ fuse\.artifactfs rw,nosuid,nodev,.*allow_other/);
    expect(await place.sh('echo hello > x; cat x')).toBe('hello');
  });
});

describe('as an ordinary user', () => {
  let user: User;
  beforeEach(async () => {
    user = ordinaryUser();
    await chown(place.mountPoint, user.uid, user.gid);
  });

  test('a mount works through fusermount3 and is unmounted by its owner', async () => {
    const daemon = new Daemon(place.mountPoint, {}, user);
    expect(await daemon.line()).toMatch(/^mounted 7\.\d+ recovered=false$/);
    expect(await mountLine()).toContain(`user_id=${user.uid},group_id=${user.gid}`);
    const done = await shell(
      `cd '${place.mountPoint}' && mkdir d && echo hello > d/f && cat d/f && dd if=/dev/zero of=big bs=1M count=8 status=none && rm -r d big`,
      user,
    );
    expect(done).toMatchObject({ code: 0, stdout: 'hello\n' });
    expect(await shell(`fusermount3 -u '${place.mountPoint}'`, user)).toMatchObject({ code: 0 });
    expect(await daemon.line()).toBe('closed unmounted');
  });

  test('a daemon that is told to end unmounts', async () => {
    const daemon = new Daemon(place.mountPoint, {}, user);
    await daemon.line();
    await daemon.stop();
    expect(await place.isMounted()).toBe(false);
  });

  test('a dead mount of this user is recovered', async () => {
    const first = new Daemon(place.mountPoint, {}, user);
    await first.line();
    await first.stop('SIGKILL');
    const second = new Daemon(place.mountPoint, {}, user);
    expect(await second.line()).toContain('recovered=true');
  });

  test('sharing the mount needs user_allow_other, and that is said', async () => {
    const before = await readFile('/etc/fuse.conf', 'utf8').catch(() => '');
    const without = before.replace(/^\s*user_allow_other.*$/gm, '');
    try {
      await writeFile('/etc/fuse.conf', without);
      const refused = new Daemon(place.mountPoint, { allowOther: true }, user);
      expect(await refused.line()).toMatch(/^error NotPermitted .*user_allow_other/);
      await writeFile('/etc/fuse.conf', `${without}\nuser_allow_other\n`);
      const allowed = new Daemon(place.mountPoint, { allowOther: true }, user);
      expect(await allowed.line()).toContain('mounted');
      await allowed.stop();
    } finally {
      await writeFile('/etc/fuse.conf', before);
    }
  });

  test('a directory of somebody else is refused', async () => {
    await chown(place.mountPoint, 0, 0);
    const daemon = new Daemon(place.mountPoint, {}, user);
    expect(await daemon.line()).toMatch(/^error NotPermitted /);
  });
});

describe('ends', () => {
  test.each([
    ['umount', 'unmounted'],
    ['fusermount3 -u', 'unmounted'],
    ['umount -l', 'unmounted'],
    ['umount -f', 'unmounted'],
  ])('%s from outside is noticed', async (command, reason) => {
    const mounted = await place.mount();
    await place.sh('echo x > file');
    expect(await shell(`${command} '${place.mountPoint}'`)).toMatchObject({ code: 0 });
    await expect(mounted.closed).resolves.toBe(reason);
    expect(await place.isMounted()).toBe(false);
  });

  test('an abort in /sys is noticed', async () => {
    const mounted = await place.mount();
    const device = (await stat(place.mountPoint)).dev;
    const connections = await shell(
      'mountpoint -q /sys/fs/fuse/connections || mount -t fusectl fusectl /sys/fs/fuse/connections',
    );
    expect(connections).toMatchObject({ code: 0 });
    await writeFile(`/sys/fs/fuse/connections/${device}/abort`, '1');
    await expect(mounted.closed).resolves.toBe('aborted');
  });

  test('a mount in use is Busy and stays; lazily it goes at once and ends with its last user', async () => {
    const mounted = await place.mount();
    await place.sh('echo content > file');
    await writeFile(join(place.directory, 'busy'), '');
    const user = place.start(
      `exec 3< file; touch ready; while [ -e '${place.directory}/busy' ]; do sleep 0.02; done; cat <&3`,
    );
    await expect.poll(() => place.fileSystem.nodes.get(1)?.children.has('ready')).toBe(true);
    await expect(mounted.unmount()).rejects.toMatchObject({ code: 'Busy' });
    expect(await place.sh('cat file')).toBe('content');
    await mounted.unmount({ lazy: true });
    expect(await place.isMounted()).toBe(false);
    await rm(join(place.directory, 'busy'));
    expect(await user.outcome).toMatchObject({ code: 0, stdout: 'content\n' });
    // The last close ends the mount at the same moment: whether its RELEASE is still delivered is the kernel's race.
    await expect(mounted.closed).resolves.toBe('unmounted');
  });

  test('what is being written back is waited for: we are not who has the mount in use', async () => {
    const mounted = await place.mount({ writebackCache: true });
    await place.sh('echo content > file');
    const { nodes } = place.fileSystem;
    const id = nodes.get(1)?.children.get('file')?.node.id ?? 0;
    let goOn = (): void => {};
    let waiting = false;
    Object.assign(place.fileSystem, {
      pathOf: () => '/file',
      fsync: () => {
        waiting = true;
        return new Promise<void>((resolve) => {
          goOn = resolve;
        });
      },
    });
    const written = mounted.notifier.writeBack?.([id]);
    await expect.poll(() => waiting).toBe(true);
    const unmounted = mounted.unmount().then(
      () => 'unmounted',
      (error: { code: string }) => error.code,
    );
    await new Promise((resolve) => setTimeout(resolve, 100));
    goOn();
    await written;
    expect(await unmounted).toBe('unmounted');
  });

  test('requests under way are told, and waited for', async () => {
    const mounted = await place.mount();
    await place.sh('echo content > file');
    await writeFile('/proc/sys/vm/drop_caches', '1');
    let interrupted = false;
    let goOn = (): void => {};
    place.fileSystem.before = (_, context) => {
      context.signal.addEventListener('abort', () => {
        interrupted = true;
      });
      return new Promise((resolve) => {
        goOn = resolve;
      });
    };
    const reader = place.start('exec cat file');
    await expect.poll(() => mounted.pending().count).toBeGreaterThan(0);
    await shell(`umount -f '${place.mountPoint}'; umount -l '${place.mountPoint}'`);
    expect((await reader.outcome).code).not.toBe(0);
    await expect.poll(() => interrupted).toBe(true);
    let closed = false;
    const end = mounted.closed.then(() => {
      closed = true;
    });
    await new Promise(setImmediate);
    expect(closed).toBe(false);
    place.fileSystem.before = () => {};
    goOn();
    await end;
  });

  test('disposing unmounts, twice does no harm', async () => {
    const mounted = await place.mount();
    await mounted[Symbol.asyncDispose]();
    await mounted[Symbol.asyncDispose]();
    expect(await place.isMounted()).toBe(false);
    await place.mount();
    expect(await place.sh('ls -a')).toBe('.\n..');
  });

  test('unmountPath says when nothing is mounted', async () => {
    await expect(unmountPath(place.mountPoint)).rejects.toMatchObject({ code: 'NotFound' });
  });

  test('a hundred mounts leave no descriptor behind', async () => {
    const descriptors = async (): Promise<number> => (await readdir('/proc/self/fd')).length;
    await (await place.mount()).unmount();
    const before = await descriptors();
    for (let i = 0; i < 50; i++) await (await place.mount()).unmount();
    for (let i = 0; i < 50; i++) await (await place.mount({ by: 'fusermount3' })).unmount();
    // Those of ended programs are closed in turns of their own.
    await expect.poll(descriptors).toBeLessThanOrEqual(before);
  });
});

test('a channel that nobody closed lets go of its descriptor when it is collected', async () => {
  v8.setFlagsFromString('--expose-gc');
  const collect = runInNewContext('gc') as () => void;
  const descriptors = (): number => readdirSync('/proc/self/fd').length;
  const before = descriptors();
  const { Channel } = loadNative();
  for (let i = 0; i < 20; i++) new Channel(openSync('/dev/fuse', 'r+'), Buffer.alloc(512), () => {});
  await expect
    .poll(() => {
      collect();
      return descriptors();
    })
    .toBeLessThanOrEqual(before);
});

describe('mount points that cannot be', () => {
  test('mounted already', async () => {
    await place.mount();
    await expect(place.mount()).rejects.toMatchObject({ code: 'Busy' });
    expect(await place.sh('ls -a')).toBe('.\n..');
  });

  test('left behind by a dead daemon: recovered, and said so', async () => {
    const daemon = new Daemon(place.mountPoint);
    await daemon.line();
    await daemon.stop('SIGKILL');
    expect((await shell(`ls '${place.mountPoint}'`)).stderr).toContain('not connected');
    expect(await resolveMountPoint(place.mountPoint)).toBe(place.mountPoint);
    const mounted = await place.mount();
    expect(mounted.recovered).toBe(true);
    expect(await place.sh('echo again > x; cat x')).toBe('again');
  });

  test('with files in it, unless asked for', async () => {
    await mkdir(join(place.mountPoint, 'below'));
    await expect(place.mount()).rejects.toMatchObject({ code: 'NotEmpty' });
    await place.mount({ allowNonEmpty: true });
    expect(await place.sh('ls -a')).toBe('.\n..');
  });

  test('missing, or a file', async () => {
    const missing = join(place.directory, 'missing');
    await expect(place.mount({ mountPoint: missing })).rejects.toMatchObject({ code: 'NotFound' });
    await writeFile(missing, '');
    await expect(place.mount({ mountPoint: missing })).rejects.toMatchObject({ code: 'Invalid' });
  });

  test('with spaces and other letters in its path: works', async () => {
    const mountPoint = join(place.directory, 'naïve \\dir,x');
    await mkdir(mountPoint);
    for (const by of ['mount', 'fusermount3'] as const) {
      const mounted = await place.mount({ mountPoint, by });
      expect((await shell(`echo x > '${mountPoint}/f' && cat '${mountPoint}/f'`)).stdout).toBe('x\n');
      await mounted.unmount();
    }
  });
});
