// Aliases, expiry and removal on two mounts of one store: the kernel keeps targets of symlinks and names of versions, and is
// told when they mean something else.
import { afterAll, beforeAll, expect, test } from 'vitest';
import { type Machine, World } from './support/world.js';

const world = new World();
let here: Machine;
let there: Machine;

beforeAll(async () => {
  here = world.machine();
  there = world.machine();
  for (const machine of [here, there]) await machine.mount('--refresh-interval=0');
  await here.sh('mkdir m; for n in 0 1 2; do echo $n > m/f; echo . > m/.artifact/commit; done', {
    cwd: here.mnt,
  });
  await refresh();
});
afterAll(() => world[Symbol.asyncDispose]());

const seen = (script: string) => there.sh(script, { cwd: there.mnt });
const refresh = () => seen('echo . > .artifactfs/refresh');
const verb = async (...args: string[]) => {
  const outcome = await here.artifactfs(...args);
  expect(outcome.stderr.replace(/^until gc .*\n$/, '')).toBe('');
  return outcome.stdout;
};

test('an alias that the other mount moves leads elsewhere after a refresh, and is gone when it was deleted', async () => {
  const look = 'readlink m/.artifact/aliases/best; cat m/.artifact/aliases/best/f m@best/f';
  await verb('alias', `${here.mnt}/m`, 'best', 'v0');
  await refresh();
  expect(await seen(look)).toBe('../versions/v0\n0\n0\n');
  expect(await verb('alias', `${here.mnt}/m`, 'best', 'v1', '--expected', 'v0')).toBe('best: v0 -> v1\n');
  expect(await here.sh(look, { cwd: here.mnt })).toBe('../versions/v1\n1\n1\n');
  await refresh();
  expect(await seen(look)).toBe('../versions/v1\n1\n1\n');
  await verb('alias', `${here.mnt}/m`, 'best', '--delete');
  await refresh();
  expect(await seen('ls m/.artifact/aliases; test ! -e m@best')).toBe('');
});

test('ln, mv and rm change aliases in the mount, and refuse to where the other mount was first', async () => {
  const aliases = (script: string) => here.sh(`cd m/.artifact/aliases; ${script}`, { cwd: here.mnt });
  expect(await aliases('ln -s v0 best; ln -sfn v1 best; readlink best; cat best/f; ls')).toBe(
    '../versions/v1\n1\nbest\n',
  );
  await refresh();
  expect(await seen('cat m@best/f; mv m/.artifact/aliases/best m/.artifact/aliases/prod; cat m@prod/f')).toBe(
    '1\n1\n',
  );
  expect(
    await aliases(
      'ls; rm best 2>&1 || echo $?; cat ../last-error; ls; rm prod; ls; test ! -e ../../../m@prod',
    ),
  ).toBe(
    `best\nrm: cannot remove 'best': Operation canceled\n1\nConflict: best of m does not exist now; it was expected to be v1\n` +
      `look what moved it (artifactfs log), then name what it is now with --expected\nprod\n`,
  );
  await refresh();
});

test('a version that the other mount lets expire is gone after a refresh; who reads it goes on', async () => {
  const look = 'cat m@v0/f m/.artifact/versions/v0/f; ls m/.artifact/versions';
  expect(await seen(look)).toBe('0\n0\nv0\nv1\nv2\n');
  await verb('expire', `${here.mnt}/m`, 'v0', '--yes');
  expect(
    await seen(
      `exec 3< m@v0/f; echo . > .artifactfs/refresh; test ! -e m@v0; cat <&3; ls m/.artifact/versions`,
    ),
  ).toBe('0\nv1\nv2\n');
});

test('an artifact that the other mount removes is gone after a refresh, and comes back when it is restored', async () => {
  expect(await seen('cat m/f')).toBe('2\n');
  await verb('rm', `${here.mnt}/m`, '--yes');
  expect(await here.sh('ls', { cwd: here.mnt })).toBe('');
  await refresh();
  expect(await seen('test ! -e m; test ! -e m@v1; ls')).toBe('');
  const outcome = await here.artifactfs('restore', 'm', '--store', world.store);
  expect(outcome).toMatchObject({ code: 0, stdout: 'm: restored\n' });
  await refresh();
  expect(await seen('cat m/f m@v1/f')).toBe('2\n1\n');
});
