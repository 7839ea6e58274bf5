// What the driver fuse-native does of its own: names and sizes that libfuse needs, and when it takes over.
import { stat } from 'node:fs/promises';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { unmountPath } from '../src/fuse/unmount.js';
import { mountWithFuseNative } from '../src/fuse-native/mount.js';
import { MemoryFileSystem } from '../test/support/memory-file-system.js';
import { Place } from './fuse-driver/support.js';
import { ordinaryUser } from './support/ordinary-user.js';
import { type Machine, World } from './support/world.js';

const viaLibfuse = { ARTIFACTFS_DRIVER: 'fuse-native' };

describe.each([
  ['root', undefined],
  ['an ordinary user', ordinaryUser()],
])('with --driver fuse-native as %s', (_, user) => {
  const world = new World(user === undefined ? {} : { user });
  const m = world.machine('m', viaLibfuse);
  const sh = (script: string): Promise<string> => m.sh(`cd "$MNT/a"\n${script}`);

  beforeAll(async () => {
    await m.mount();
    await m.sh('mkdir "$MNT/a"');
  });
  afterAll(() => world[Symbol.asyncDispose]());

  test('the mount is served by libfuse', async () => {
    const counters = JSON.parse(await m.sh('cat "$MNT/.artifactfs/stats"')).counters as Record<
      string,
      number
    >;
    expect(counters['fuse.getattr']).toBeGreaterThan(0);
    expect(counters['fuse.LOOKUP'] ?? counters['fuse.lookup']).toBeUndefined();
  });

  test('a control file can be read whole, also as it changes, and has no size when it is not open', async () => {
    await sh('for i in 1 2 3; do echo $i > f$i; test "$(cat .artifact/status | wc -c)" -gt 100; done');
    const status = JSON.parse(await sh('cat .artifact/status'));
    expect(status.stagedCount).toBe(3);
    expect(await sh('stat -c %s .artifact/status')).toBe('0\n');
  });

  test('commit and discard are over when the writer goes on', async () => {
    await sh('echo kept > c; echo one > .artifact/commit; echo changed > c; rm f1; mkdir new');
    await sh('echo yes > .artifact/discard; test "$(cat c)" = kept; test "$(cat f1)" = 1; test ! -e new');
    expect(await sh('cat .artifact/versions/v0/c; ls .artifact/versions')).toBe('kept\nv0\n');
  });

  test('a failed commit fails its writer', async () => {
    const refused = await m.try('echo again > "$MNT/a/.artifact/commit"');
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('No data available')]);
  });

  test('a removed file lives on while it is open, and its directory is empty', async () => {
    const held = await sh(
      `mkdir h; exec 5<> h/f; echo text >&5; rm h/f; ls -A h; echo more >&5; stat -L -c '%h %s' /proc/self/fd/5
      rmdir h; mkdir h; echo over > h/g; exec 6< h/g; echo new > h/n; mv h/n h/g; ls -A h; cat h/g; cat <&6`,
    );
    expect(held).toBe('0 10\ng\nnew\nover\n');
  });

  test('names of one file are one file', async () => {
    expect(
      await sh(
        `echo 1 > l1; ln l1 l2; stat -c '%h %i' l1 l2 | uniq | wc -l; echo 22 >> l2; cat l1; rm l1; stat -c %h l2`,
      ),
    ).toBe('1\n1\n22\n1\n');
  });

  test('both times arrive, to the millisecond; libfuse keeps the time of change alone to itself', async () => {
    await sh(
      `echo 1 > times; python3 -c "import os; os.utime('times', ns=(1500000000123456789, 1600000000987654321))"`,
    );
    expect(await sh('stat -c "%.Y %.X" times; touch -m -d @1000000000 times; stat -c %Y times')).toBe(
      '1600000000.987000000 1500000000.123000000\n1600000000\n',
    );
  });

  test('attributes of bytes, none, and too many', async () => {
    await sh(
      `echo x > x; setfattr -n user.a -v 1 x; setfattr -n user.empty -v "" x; getfattr -n user.empty x`,
    );
    expect(await sh('getfattr --only-values -n user.a x')).toBe('1');
    expect((await m.try('getfattr -n user.none "$MNT/a/x"')).code).toBe(1);
    const acl = await m.try('setfacl -m u:1234:r "$MNT/a/x"');
    expect([acl.code, acl.stderr]).toEqual([1, expect.stringContaining('not supported')]);
  });

  test('a large directory is listed whole', async () => {
    await sh('mkdir many; cd many; seq -f "name-%g" 3000 | xargs touch');
    expect(await sh('ls many | wc -l; ls -f many | sort | uniq -d | wc -l')).toBe('3000\n0\n');
    expect(await sh('rm -r many; ls | grep -c many || true')).toBe('0\n');
  });

  test('a name that is not UTF-8 is refused', async () => {
    const refused = await m.try(`touch "$MNT/a/"$'bad\\xff'`);
    expect([refused.code, refused.stderr]).toEqual([1, expect.stringContaining('multibyte')]);
  });
});

test('an unmount by umount ends the daemon', async () => {
  await using world = new World();
  const m = world.machine('m', viaLibfuse);
  await m.mount();
  await m.sh('umount "$MNT"');
  await expect.poll(() => m.running).toBe(false);
  expect(m.isMounted()).toBe(false);
});

describe('without the compiled addon', () => {
  /** The program as it is where nothing could be built: the same files, but for `build`. */
  const world = new World();
  const m: Machine = world.machine('m', { ARTIFACTFS_DRIVER: 'kernel' });
  afterAll(() => world[Symbol.asyncDispose]());

  test('a mount falls back and says so, and doctor does', async () => {
    const program = m.withoutAddon();
    await program.mount();
    expect(program.output).toContain('mounting with fuse-native');
    await program.sh('mkdir "$MNT/a"; echo 1 > "$MNT/a/f"; echo one > "$MNT/a/.artifact/commit"');
    expect(await program.sh('cat "$MNT/a@v0/f"')).toBe('1\n');
    const doctor = await program.artifactfs('doctor', '--store', program.store);
    expect(doctor.stdout).toMatch(/compiled addon.*\n?.*mounts use fuse-native/);
    expect((await program.unmount()).code).toBe(0);
  });
});

test('a mount that is over does not end the one that has its number in the kernel since', async () => {
  await using before = await Place.make();
  const ended = await mountWithFuseNative(new MemoryFileSystem(), {
    mountPoint: before.mountPoint,
    onError: () => {},
  });
  const number = async (place: Place): Promise<number> => (await stat(place.mountPoint)).dev;
  const was = await number(before);
  await unmountPath(before.mountPoint);
  await ended.closed;
  const places: Place[] = [];
  // Lower ones may have become free meanwhile.
  do places.push(await Place.mount());
  while ((await number(places.at(-1) ?? before)) < was);
  await ended[Symbol.asyncDispose]();
  for (const place of places) {
    expect(await place.sh('echo there > file; cat file')).toBe('there');
    await place[Symbol.asyncDispose]();
  }
});
