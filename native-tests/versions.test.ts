// Versions, control files and a second machine, through real mounts.
import { closeSync, mkdirSync, openSync, readdirSync, readFileSync, statSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { World } from './support/world.js';

/** Linux: a descriptor of the file that opens nothing. */
const O_PATH = 0o10000000;

const world = new World();
const a = world.machine('a');
beforeAll(() => a.mount());
afterAll(() => world[Symbol.asyncDispose]());

const code = (action: () => unknown): string => {
  try {
    action();
    return 'ok';
  } catch (error) {
    return (error as NodeJS.ErrnoException).code ?? String(error);
  }
};

describe('commit by control file', () => {
  test('each message makes a version; both stay readable side by side', async () => {
    mkdirSync(a.path('model'));
    writeFileSync(a.path('model', 'w.bin'), 'one');
    await a.sh('echo first > "$MNT/model/.artifact/commit"');
    writeFileSync(a.path('model', 'w.bin'), 'two two');
    await a.sh('echo second > "$MNT/model/.artifact/commit"');
    expect(readdirSync(a.path('model/.artifact/versions')).sort()).toEqual(['v0', 'v1']);
    expect(readFileSync(a.path('model/.artifact/versions/v0/w.bin'), 'utf8')).toBe('one');
    expect(readFileSync(a.path('model@v1/w.bin'), 'utf8')).toBe('two two');
    expect(readFileSync(a.path('model@latest/w.bin'), 'utf8')).toBe('two two');
    const log = readFileSync(a.path('model/.artifact/log'), 'utf8');
    expect(log).toContain('first');
    expect(log).toContain('second');
  });

  test('nothing staged: the write fails, last-error says why, nothing is published', async () => {
    const before = readdirSync(a.path('model/.artifact/versions')).length;
    expect(code(() => writeFileSync(a.path('model/.artifact/commit'), 'again\n'))).not.toBe('ok');
    expect(readFileSync(a.path('model/.artifact/last-error'), 'utf8')).toMatch(/nothing/i);
    expect(readdirSync(a.path('model/.artifact/versions')).length).toBe(before);
  });

  test('status lists what is staged, discard drops it', async () => {
    writeFileSync(a.path('model', 'new'), 'x'.repeat(10));
    writeFileSync(a.path('model', 'w.bin'), 'changed');
    const status = JSON.parse(readFileSync(a.path('model/.artifact/status'), 'utf8'));
    expect(status.base).toBe(1);
    expect(
      status.staged.map((s: { path: string; change: string }) => `${s.change} ${s.path}`).sort(),
    ).toEqual(['added new', 'changed w.bin']);
    expect(readFileSync(a.path('model/.artifact/diff'), 'utf8')).toContain('new');
    await a.sh('echo > "$MNT/model/.artifact/discard"');
    expect(readFileSync(a.path('model', 'w.bin'), 'utf8')).toBe('two two');
    expect(code(() => statSync(a.path('model', 'new')))).toBe('ENOENT');
  });

  test('what is discarded leaves the disk at once, though a program holds on to it without having it open', async () => {
    const state = join(world.directory, 'a', 'state');
    const staged = () =>
      readdirSync(state, { encoding: 'utf8', recursive: true }).filter((path) => path.includes('/staging/'));
    writeFileSync(a.path('model', 'held'), 'x'.repeat(3 << 20));
    const held = openSync(a.path('model', 'held'), O_PATH);
    expect(staged()).not.toEqual([]);
    await a.sh('echo > "$MNT/model/.artifact/discard"');
    expect(staged()).toEqual([]);
    // ESTALE, which Node has no name for.
    expect(code(() => openSync(`/proc/self/fd/${held}`, 'r'))).toMatch(/-116$|^ENOENT$/);
    closeSync(held);
  });

  test('the manifest is staged, committed, and seen elsewhere', async () => {
    writeFileSync(
      a.path('model/.artifact/manifest.json'),
      JSON.stringify({ description: 'a model', tags: ['x'] }),
    );
    await a.sh('echo manifest > "$MNT/model/.artifact/commit"');
    // libfuse says it at the close; our own driver is asked nothing then.
    code(() => writeFileSync(a.path('model/.artifact/manifest.json'), '{not json'));
    await expect(a.sh('echo more > "$MNT/model/.artifact/commit"')).rejects.toThrow(/Invalid argument/);
    expect(readFileSync(a.path('model/.artifact/last-error'), 'utf8')).toMatch(/manifest\.json/);
    await a.sh('echo > "$MNT/model/.artifact/discard"');
    const b = world.machine();
    await b.mount();
    expect(JSON.parse(readFileSync(b.path('model/.artifact/manifest.json'), 'utf8'))).toMatchObject({
      description: 'a model',
    });
    expect(readFileSync(b.path('model@v0/w.bin'), 'utf8')).toBe('one');
    await b.unmount();
  });

  test('the control directory is found by name and never listed', () => {
    expect(readdirSync(a.path('model'))).not.toContain('.artifact');
    expect(statSync(a.path('model/.artifact')).isDirectory()).toBe(true);
    expect(readdirSync(a.mnt)).not.toContain('.artifactfs');
    expect(statSync(a.path('.artifactfs')).isDirectory()).toBe(true);
  });
});

describe('what is refused', () => {
  test('a version never changes: EROFS', () => {
    const v0 = a.path('model/.artifact/versions/v0');
    expect(code(() => writeFileSync(`${v0}/w.bin`, 'x'))).toBe('EROFS');
    expect(code(() => writeFileSync(`${v0}/new`, 'x'))).toBe('EROFS');
    expect(code(() => mkdirSync(`${v0}/dir`))).toBe('EROFS');
    expect(code(() => writeFileSync(a.path('model@v0/w.bin'), 'x'))).toBe('EROFS');
  });

  test('a regular file in the root: EPERM', () => {
    expect(code(() => writeFileSync(a.path('file'), 'x'))).toBe('EPERM');
  });

  test('names: too long, not UTF-8, reserved', async () => {
    expect(code(() => writeFileSync(a.path('model', 'n'.repeat(256)), 'x'))).toBe('ENAMETOOLONG');
    expect(code(() => writeFileSync(a.path('model', 'é'.repeat(127)), 'x'))).toBe('ok');
    expect(
      code(() =>
        writeFileSync(Buffer.concat([Buffer.from(`${a.path('model')}/`), Buffer.from([0x66, 0xff])]), 'x'),
      ),
    ).toBe('EILSEQ');
    expect(code(() => mkdirSync(a.path('.hidden')))).not.toBe('ok');
    expect(code(() => mkdirSync(a.path('@at')))).not.toBe('ok');
    expect((await a.try('rm "$MNT"/model/é*')).code).toBe(0);
  });

  test('rmdir of an artifact that has versions: EPERM, and it stays', async () => {
    const outcome = await a.try('rm -rf "$MNT/model"');
    expect(outcome.code).not.toBe(0);
    expect(readFileSync(a.path('model@v0/w.bin'), 'utf8')).toBe('one');
    await a.sh('echo > "$MNT/model/.artifact/discard"');
    expect(readFileSync(a.path('model/w.bin'), 'utf8')).toBe('two two');
  });

  test('an artifact never committed just goes', () => {
    mkdirSync(a.path('temporary'));
    writeFileSync(a.path('temporary/f'), 'x');
    expect(code(() => statSync(a.path('temporary/f')))).toBe('ok');
  });
});

describe('names in the root', () => {
  test('two mounts that make the same new name: the first commit wins it, the other is told', async () => {
    const b = world.machine();
    await b.mount();
    mkdirSync(a.path('contested'));
    mkdirSync(b.path('contested'));
    writeFileSync(a.path('contested/f'), 'from a');
    writeFileSync(b.path('contested/f'), 'from b');
    await a.sh('echo mine > "$MNT/contested/.artifact/commit"');
    const outcome = await b.try('echo mine > "$MNT/contested/.artifact/commit"');
    expect(outcome.code).not.toBe(0);
    expect(readFileSync(b.path('contested/.artifact/last-error'), 'utf8')).toMatch(/contested/);
    const c = world.machine();
    await c.mount();
    expect(readFileSync(c.path('contested/f'), 'utf8')).toBe('from a');
    await c.unmount();
    await b.unmount();
  });
});
