// The same file system for somebody without rights: mounted through fusermount3, state and sockets private.
import { execFileSync } from 'node:child_process';
import { readdirSync, statSync } from 'node:fs';
import { join } from 'node:path';
import { expect, test } from 'vitest';
import { ordinaryUser } from './support/ordinary-user.js';
import { World } from './support/world.js';

test('an ordinary user mounts, writes, commits, unmounts; others see nothing', async () => {
  const user = ordinaryUser();
  await using world = new World({ user });
  const m = world.machine();
  await m.mount();
  await m.sh(`mkdir "$MNT/mine" && cd "$MNT/mine" && echo hello > f && chmod 600 f && ln -s f link && mkdir -m 700 d && cp -a /etc/os-release d/
    echo first > .artifact/commit && test "$(stat -c %U f)" = "$(id -un)" && test "$(cat ../mine@v0/link)" = hello`);
  expect((await m.try('chown root "$MNT/mine/f"')).code).not.toBe(0);
  // A mount without allow_other is its owner's alone: not even root looks in.
  expect(() => readdirSync(m.mnt)).toThrow(/EACCES|permission/);
  const stateRoot = join(m.directory, 'state', 'artifactfs');
  expect(statSync(stateRoot).mode & 0o077).toBe(0);
  for (const line of (
    await m.sh(
      `find "$XDG_STATE_HOME" -mindepth 1 \\( -type f -o -type s -o -type d \\) -printf '%m %y %p\\n'`,
    )
  )
    .trim()
    .split('\n')) {
    expect(line).toMatch(/^[67]00 /);
  }
  expect((await m.unmount()).code).toBe(0);
  expect(m.isMounted()).toBe(false);
});

test('a mount in the background is found from inside, and ended by its path', async () => {
  const user = ordinaryUser();
  await using world = new World({ user });
  const m = world.machine();
  const started = await m.artifactfs('mount', '--store', m.store, m.mnt);
  expect(started.stderr + started.stdout).toContain(m.mnt);
  expect(started.code).toBe(0);
  try {
    await m.sh('mkdir "$MNT/a" && echo x > "$MNT/a/f"');
    const inside = await m.exec(
      process.execPath,
      [join(import.meta.dirname, '../dist/bin/main.js'), 'commit', '--json', '-m', 'from inside'],
      {
        cwd: m.directory,
      },
    );
    expect(inside.code, 'a directory outside selects no artifact').not.toBe(0);
    const cli = join(import.meta.dirname, '../dist/bin/main.js');
    const committed = await m.sh(`cd "$MNT/a" && node '${cli}' commit --json -m 'from inside'`);
    expect(JSON.parse(committed.trim().split('\n').at(-1) ?? '')).toMatchObject({ version: 0 });
    const status = await m.artifactfs('status', '--json', m.mnt);
    expect(status.code).toBe(0);
  } finally {
    expect((await m.artifactfs('unmount', m.mnt)).code).toBe(0);
  }
  expect(m.isMounted()).toBe(false);
});

test('what root mounts is open to others where modes let them in, unless they are kept out', async () => {
  const { uid, gid } = ordinaryUser();
  await using world = new World();
  const m = world.machine();
  const asUser = (script: string) =>
    execFileSync('sh', ['-c', script], { uid, gid, encoding: 'utf8', env: { MNT: m.mnt }, stdio: 'pipe' });
  await m.mount();
  await m.sh('mkdir "$MNT/a" && cd "$MNT/a" && echo open > f && echo closed > g && chmod 600 g');
  expect(asUser('cat "$MNT/a/f"')).toBe('open\n');
  expect(() => asUser('cat "$MNT/a/g"')).toThrow(/Permission denied/);
  expect(() => asUser('touch "$MNT/a/new"')).toThrow(/Permission denied/);
  await m.unmount();
  await m.mount('--no-allow-other');
  expect(() => asUser('ls "$MNT"')).toThrow(/Permission denied/);
});
