import { beforeEach, expect, test } from 'vitest';
import { ArtifactError, isCode } from '../../../src/model/errors.js';
import { O_RDONLY, O_RDWR, O_TRUNC, O_WRONLY } from '../../../src/vfs/open-flags.js';
import { contextOf, outcome } from '../support/user.js';
import { World } from '../support/world.js';

let { world, user, artifacts } = {} as Awaited<ReturnType<typeof World.open>>;
beforeEach(async () => {
  ({ world, user, artifacts } = await World.open());
  await user.mkdir('m');
  await user.write('m/f', 'one');
});

const control = 'm/.artifact';
const messages = async (): Promise<string[]> =>
  (await artifacts.find('m')).versions().map((version) => version.message);

test('A1: .artifact is found in every artifact and never listed', async () => {
  expect(await user.ls('m')).toEqual(['f']);
  expect(await user.ls(control)).toEqual([
    'aliases',
    'commit',
    'diff',
    'discard',
    'last-error',
    'log',
    'manifest.json',
    'refresh',
    'status',
    'versions',
  ]);
  expect((await user.stat(control)).kind).toBe('dir');
});

test('A2: a message written to commit publishes before the write returns; the newline at its end is not part of it', async () => {
  await user.write(`${control}/commit`, 'first version\n\nwith reasons\n');
  expect(await messages()).toEqual(['first version\n\nwith reasons']);
  await user.write('m/f', 'two');
  await user.write(`${control}/commit`, '\n');
  expect(await messages()).toEqual(['', 'first version\n\nwith reasons']);
  expect(await user.ls(`${control}/versions`)).toEqual(['v0', 'v1']);
});

test('A3: opening, emptying, touching or closing commit without a write does nothing', async () => {
  const { handle } = await user.open(`${control}/commit`, O_WRONLY | O_TRUNC);
  await user.with(`${control}/commit`, (id) =>
    user.fs.setAttributes(user.context, id, { size: 0, mtime: 'now' }),
  );
  await user.close(handle);
  expect(await messages()).toEqual([]);
});

test('A4: the first write is the message; a further one with text fails, and commits nothing', async () => {
  const { handle } = await user.open(`${control}/commit`, O_WRONLY);
  await user.writeAt(handle, 0, 'part one');
  await user.write('m/f', 'two');
  expect(await user.writeAt(handle, 8, '\n')).toBe(1);
  expect(await outcome(() => user.writeAt(handle, 9, 'part two'))).toBe('Invalid');
  await user.close(handle);
  expect(await messages()).toEqual(['part one']);
});

test('A5: a commit that fails fails the write, and last-error says why until the next action succeeds', async () => {
  await user.commit('m');
  expect(await outcome(() => user.commit('m'))).toBe('NothingStaged');
  expect(await user.read(`${control}/last-error`)).toMatch(/^NothingStaged: nothing has changed/);
  await user.write('m/f', 'two');
  await user.commit('m');
  expect(await user.read(`${control}/last-error`)).toBe('');
  expect(await outcome(() => user.commit('m', 'x'.repeat(5000)))).toBe('TooLarge');
  expect(await user.read(`${control}/last-error`)).toMatch(/4096 bytes/);
});

test('A6: an interrupted write interrupts the commit', async () => {
  const abort = new AbortController();
  user.context = contextOf(0, 0, abort.signal);
  const { handle } = await user.open(`${control}/commit`, O_WRONLY);
  const writing = user.writeAt(handle, 0, 'never');
  abort.abort();
  await expect(writing).rejects.toSatisfy((error) => isCode(error, 'Interrupted'));
  await user.close(handle);
  expect(await messages()).toEqual([]);
});

test('A7: discard answers when the files are as committed and the kernel has been told', async () => {
  await user.commit('m');
  const kept = await user.node('m');
  const file = await user.node('m/f');
  await user.write('m/f', 'changed');
  await user.write('m/new', 'x');
  const made = await user.node('m/new');
  await user.write(`${control}/discard`, '1');
  expect(user.told.entries).toContain(`${kept.nodeId}/new`);
  expect(user.told.inodes).toContain(kept.nodeId);
  expect(user.told.drained).toBeGreaterThan(0);
  expect(await user.read('m/f')).toBe('one');
  expect(await user.exists('m/new')).toBe(false);
  for (const entry of [kept, file, made]) user.forget(entry);
});

test('A8: refresh reads the log, whatever is written', async () => {
  await user.write(`${control}/refresh`, 'x\n');
  expect(await user.read(`${control}/last-error`)).toBe('');
});

test('A9: status is JSON of the stage, log and diff are text, each as it was when opened', async () => {
  await user.write(`${control}/commit`, 'first\n');
  await user.write('m/f', 'two');
  await user.write('m/new\nline', 'x');
  const open = await user.open(`${control}/diff`, O_RDONLY);
  const diff = 'v0 -> stage: 1 added, 1 changed, 0 removed\nM f\nA "new\\nline"\n';
  await user.unlink('m/new\nline');
  expect(await user.readAll(open.handle)).toBe(diff);
  await user.close(open.handle);
  expect(JSON.parse(await user.read(`${control}/status`))).toMatchObject({
    base: 0,
    stagedCount: 1,
    staged: [{ path: 'f', change: 'changed' }],
  });
  const artifact = await artifacts.find('m');
  await world.setAlias(artifact, 'best', null, 0);
  const [version] = artifact.versions();
  expect(await user.read(`${control}/log`)).toBe(
    [
      'version v0 (latest, best)',
      `Commit:  ${version?.commitId}`,
      'Author:  tester@test',
      `Date:    ${new Date(version?.timeMs ?? 0).toISOString()}`,
      'Changes: 1 added, 0 changed, 0 removed',
      '',
      '    first',
      '',
    ].join('\n'),
  );
});

test('A10: texts show size 0 and are read to the end; they cannot be written', async () => {
  for (const name of ['status', 'log', 'diff', 'last-error']) {
    expect((await user.stat(`${control}/${name}`)).size).toBe(0);
    expect(await outcome(() => user.open(`${control}/${name}`, O_WRONLY))).toBe('NotPermitted');
    const open = await user.open(`${control}/${name}`, O_RDONLY);
    expect(open.directIo).toBe(true);
    await user.close(open.handle);
  }
  expect(await user.read(`${control}/commit`)).toBe('');
});

test('A11: control files belong to the owner of the artifact; who may write in it may use them', async () => {
  user.context = contextOf(7, 8);
  await user.mkdir('mine', 0o750);
  expect(await user.stat('mine/.artifact/commit')).toMatchObject({ mode: 0o200, uid: 7, gid: 8 });
  expect(await user.stat('mine/.artifact/status')).toMatchObject({ mode: 0o440 });
  expect(await user.stat('mine/.artifact/manifest.json')).toMatchObject({ mode: 0o640 });
  expect(await user.stat('mine/.artifact')).toMatchObject({ mode: 0o550 });
  const chmod = (mode: number): Promise<string> =>
    outcome(() =>
      user.with('mine/.artifact/commit', (id) => user.fs.setAttributes(user.context, id, { mode })),
    );
  expect(await chmod(0o200)).toBe('ok');
  expect(await chmod(0o666)).toBe('NotPermitted');
});

test('A12: nothing is made, removed or renamed in a control directory', async () => {
  const refused: (() => Promise<unknown>)[] = [
    () => user.write(`${control}/new`, 'x'),
    () => user.mkdir(`${control}/versions/v9`),
    () => user.symlink('x', `${control}/versions/x`),
    () => user.write(`${control}/aliases/new`, 'x'),
    () => user.rename(`${control}/log`, `${control}/aliases/log`),
    () => user.unlink(`${control}/commit`),
    () => user.rename(`${control}/log`, 'm/log'),
    () => user.rename('m/f', `${control}/manifest.json`),
    () => user.rmdir(`${control}/versions`),
  ];
  for (const action of refused) expect(await outcome(action)).toBe('NotPermitted');
});

test('A13: versions/ lists every version; aliases/ holds a symlink for each alias, another one when it moves', async () => {
  await user.commit('m');
  await user.write('m/f', 'two');
  await user.commit('m');
  const artifact = await artifacts.find('m');
  await world.setAlias(artifact, 'best', null, 0);
  expect(await user.ls(`${control}/aliases`)).toEqual(['best']);
  expect(await user.readlink(`${control}/aliases/best`)).toBe('../versions/v0');
  const before = await user.node(`${control}/aliases/best`);
  expect(before.entrySeconds).toBe(0);
  await world.setAlias(artifact, 'best', 0, 1);
  expect(await user.readlink(`${control}/aliases/best`)).toBe('../versions/v1');
  const after = await user.node(`${control}/aliases/best`);
  expect(after.nodeId).not.toBe(before.nodeId);
  for (const entry of [before, after]) user.forget(entry);
  for (const name of [
    'aliases/none',
    'aliases/constructor',
    'versions/v2',
    'versions/latest',
    'versions/v00',
  ])
    expect(await user.exists(`${control}/${name}`), name).toBe(false);
  const listed = await user.entries(`${control}/versions`);
  expect(listed.find((e) => e.name === 'v1')?.ino).toBe((await user.stat(`${control}/versions/v1`)).ino);
});

const manifest = `${control}/manifest.json`;
const generic = async (): Promise<void> => (await artifacts.find('m')).setManifest({ type: 'generic' });

test('A14: manifest.json is the metadata as indented JSON with its real size; closing a changed one stages it', async () => {
  await generic();
  expect(await user.read(manifest)).toBe('{\n  "type": "generic"\n}\n');
  expect((await user.stat(manifest)).size).toBe((await user.read(manifest)).length);
  await user.write(manifest, '{"type":"model","description":"ü"}');
  expect((await artifacts.find('m')).manifest()).toEqual({ type: 'model', description: 'ü' });
});

test('A15: text that is no JSON object is not taken, and fails every fsync and commit until a good one is written', async () => {
  await generic();
  for (const text of ['{not json', '[1]', 'null', '"x"']) {
    const { handle } = await user.open(manifest, O_WRONLY | O_TRUNC);
    await user.writeAt(handle, 0, text);
    expect(await outcome(() => user.fs.fsync(user.context, handle, false)), text).toBe('Invalid');
    user.fs.release(handle);
    expect(await user.read(`${control}/last-error`)).toMatch(/manifest\.json/);
    expect(await outcome(() => user.write(`${control}/commit`, 'with it'))).toBe('Invalid');
  }
  await user.write(`${control}/discard`, 'x');
  await generic();
  expect(await user.read(manifest)).toBe('{\n  "type": "generic"\n}\n');
});

test('A16: programs that empty and write in place work, also when a copy of the descriptor is closed first', async () => {
  await generic();
  const { handle } = await user.open(manifest, O_WRONLY | O_TRUNC);
  await user.fs.flush(user.context, handle);
  expect((await artifacts.find('m')).manifest()).toEqual({ type: 'generic' });
  await user.writeAt(handle, 0, '{"type":');
  expect(await outcome(() => user.fs.flush(user.context, handle))).toBe('Invalid');
  await user.writeAt(handle, 8, '"data"}');
  await user.fs.fsync(user.context, handle, false);
  expect((await artifacts.find('m')).manifest()).toEqual({ type: 'data' });
  await user.close(handle);
});

test('A17: truncate before open, as some programs do, is the same as O_TRUNC', async () => {
  await user.with(manifest, (id) => user.fs.setAttributes(user.context, id, { size: 0 }));
  const { handle } = await user.open(manifest, O_RDWR);
  await user.writeAt(handle, 0, '{"a":1}');
  expect(await user.readAll(handle)).toBe('{"a":1}');
  await user.close(handle);
  expect((await artifacts.find('m')).manifest()).toEqual({ a: 1 });
});

test('A18: an emptied manifest that nobody wrote to changes nothing', async () => {
  await generic();
  await user.write(manifest, '');
  expect((await artifacts.find('m')).manifest()).toEqual({ type: 'generic' });
});

test('A19: a reader of manifest.json keeps the text it opened', async () => {
  await generic();
  const reader = await user.open(manifest, O_RDONLY);
  await user.write(manifest, '{}');
  expect(await user.readAll(reader.handle)).toBe('{\n  "type": "generic"\n}\n');
  await user.close(reader.handle);
});

test('S1: .artifactfs is found in the root only, and never listed', async () => {
  expect(await user.ls('')).toEqual(['m']);
  expect(await user.ls('.artifactfs')).toEqual([
    'accesslog',
    'config',
    'refresh',
    'stats',
    'status',
    'version',
  ]);
  expect(await user.exists('m/.artifactfs')).toBe(false);
  expect(await outcome(() => user.rmdir('.artifactfs'))).toBe('NotPermitted');
});

test('S2: its status is JSON of all staged artifacts, the rest texts of the program; refresh reads all logs', async () => {
  const status = JSON.parse(await user.read('.artifactfs/status'));
  expect(status).toMatchObject({
    workspaceId: artifacts.workspaceId,
    storeUrl: 'memory:',
    readOnly: null,
    staged: [{ path: 'm', stagedCount: 1 }],
  });
  expect(await user.read('.artifactfs/version')).toBe('test 1\n');
  expect(await user.read('.artifactfs/stats')).toBe('requests 0\n');
  expect(await user.read('.artifactfs/config')).toBe('store=memory:\n');
  await user.write('.artifactfs/refresh', '1');
});

const access = (node: number, name: string, errno = 0) => ({
  operation: 'lookup',
  node,
  about: [{ parent: node, name }],
  uid: 1,
  gid: 2,
  pid: 3,
  errno,
  durationMs: 0.25,
});
const readLog = async (handle: number, offset: number, length = 1 << 16): Promise<string> =>
  (await user.fs.read(user.context, handle, offset, length)).toString();

test('S3: accesslog has a line for each request while it is open, and its end waits for the next one', async () => {
  const { accesses } = user.fs;
  accesses.record(access(1, 'before'));
  expect(accesses.isOpen).toBe(false);
  const { handle } = await user.open('.artifactfs/accesslog', O_RDONLY);
  expect(accesses.isOpen).toBe(true);
  const waiting = readLog(handle, 0);
  accesses.record(access(1, 'm'));
  const first = await waiting;
  expect(first).toMatch(/^\d{4}-\d\d-\d\dT[\d:.]{12}Z lookup \/m \[uid:1,gid:2,pid:3\] OK 0\.250ms\n$/);
  accesses.record(access(1, 'a b', 2));
  expect(await readLog(handle, first.length)).toMatch(/ lookup "\/a b" \[uid:1,gid:2,pid:3\] ENOENT /);
  await user.with('.artifactfs/accesslog', (id) => accesses.record(access(id, '')));
  const stopping = new AbortController();
  user.context = contextOf(0, 0, stopping.signal);
  const never = readLog(handle, 1 << 20);
  stopping.abort();
  await expect(never).rejects.toSatisfy((error) => isCode(error, 'Interrupted'));
  user.context = contextOf();
  await user.close(handle);
  expect(accesses.isOpen).toBe(false);
});

test('S4: a slow reader of accesslog is told what he missed, and goes on with a whole line', async () => {
  const { accesses } = user.fs;
  const { handle } = await user.open('.artifactfs/accesslog', O_RDONLY);
  for (let i = 0; i < 20_000; i++) accesses.record(access(1, `name-${i}`));
  const note = await readLog(handle, 0);
  expect(note).toMatch(/^# \d+ bytes dropped: read too slowly\n$/);
  const rest = await readLog(handle, note.length, 2 << 20);
  expect(rest).toMatch(/^\d{4}-\S+ lookup \/name-\d+ /);
  expect(rest).toMatch(/\/name-19999 [^\n]*\n$/);
  expect(rest.length).toBeLessThanOrEqual(1 << 20);
  await user.close(handle);
});

test('S5: a request that was given up says so in last-error of its artifact, with its path', async () => {
  await user.node('m');
  await user.with('m/f', (id) => {
    expect(user.fs.pathOf(id)).toBe('/m/f');
    user.fs.noteFailure(
      id,
      new ArtifactError('TimedOut', `read ${user.fs.pathOf(id)}: no answer within 120 s`),
    );
  });
  expect(await user.read('m/.artifact/last-error')).toBe('TimedOut: read /m/f: no answer within 120 s\n');
});

test('S6: a read that is interrupted ends at once, and the others get their bytes', async () => {
  await user.commit('m');
  const other = await world.machine();
  const reader = other.user;
  const { handle } = await reader.open('m/f', O_RDONLY);
  const stopping = new AbortController();
  const interrupted = reader.fs.read(contextOf(0, 0, stopping.signal), handle, 0, 100);
  const going = reader.fs.read(contextOf(), handle, 0, 100);
  stopping.abort(new ArtifactError('Interrupted', 'by a signal'));
  await expect(interrupted).rejects.toSatisfy((error) => isCode(error, 'Interrupted'));
  expect((await going).toString()).toBe('one');
  await reader.close(handle);
});

/** Two versions, and another machine's view of the aliases. */
async function twoVersions() {
  await user.commit('m');
  await user.write('m/f', 'two');
  await user.commit('m');
  const artifact = await artifacts.find('m');
  return { artifact, lastError: () => user.read(`${control}/last-error`) };
}

test('A20: links in aliases/ that are made, moved, renamed and removed are aliases for everybody', async () => {
  const { artifact, lastError } = await twoVersions();
  const best = `${control}/aliases/best`;
  expect((await user.stat(`${control}/aliases`)).mode).toBe((await user.stat('m')).mode);
  await user.symlink('v0', best);
  expect(artifact.aliases()).toEqual({ best: 0 });
  expect(await user.readlink(best)).toBe('../versions/v0');
  expect(await outcome(() => user.symlink('v1', best))).toBe('Exists');
  await user.unlink(best);
  await user.symlink('../versions/v1', best);
  await user.rename(best, `${control}/aliases/prod`);
  await user.symlink('prod', best);
  expect(artifact.aliases()).toEqual({ best: 1, prod: 1 });
  await user.symlink('latest', `${control}/aliases/newest`);
  expect(artifact.aliases()).toEqual({ best: 1, newest: 1, prod: 1 });
  for (const target of ['../../f', '/elsewhere/v1', '..', '../versions'])
    expect(await outcome(() => user.symlink(target, `${control}/aliases/x`)), target).toBe('Invalid');
  expect(await outcome(() => user.symlink('v9', `${control}/aliases/x`))).toBe('NotFound');
  expect(await lastError()).toContain('m has no version v9');
  expect(await outcome(() => user.symlink('v1', `${control}/aliases/v7`))).toBe('InvalidName');
  expect(await outcome(() => user.rename(best, 'm/best'))).not.toBe('ok');
  await user.unlink(best);
  expect(await lastError()).toBe('');
  expect(artifact.aliases()).toEqual({ newest: 1, prod: 1 });
});

test('of A20: an alias that others have moved since it was shown stays where it is', async () => {
  const { artifact, lastError } = await twoVersions();
  const best = `${control}/aliases/best`;
  await user.symlink('v0', best);
  await world.setAlias(artifact, 'best', 0, 1, { refresh: false });
  expect(await outcome(() => user.unlink(best))).toBe('Conflict');
  expect(await lastError()).toContain('best of m is v1 now, not v0');
  expect(artifact.aliases()).toEqual({ best: 1 });
  await world.setAlias(artifact, 'best', 1, 0, { refresh: false });
  await user.symlink('v1', `${control}/aliases/.new`);
  expect(await outcome(() => user.rename(`${control}/aliases/.new`, best))).toBe('Conflict');
  expect(artifact.aliases()).toEqual({ best: 0 });
});

test('A21: a link that waits to be renamed is seen here alone, and moves the alias then', async () => {
  const { artifact } = await twoVersions();
  await user.symlink('v0', `${control}/aliases/best`);
  for (const name of ['CuAbC123', '.best.tmp']) {
    await user.symlink('v1', `${control}/aliases/${name}`);
    expect(artifact.aliases()).toEqual({ best: 0 });
    expect(await user.readlink(`${control}/aliases/${name}`)).toBe('../versions/v1');
    await user.rename(`${control}/aliases/${name}`, `${control}/aliases/best`);
    expect(artifact.aliases()).toEqual({ best: 1 });
    expect(await user.ls(`${control}/aliases`)).toEqual(['best']);
    await artifact.setAlias('best', 'v0');
  }
  await user.symlink('v1', `${control}/aliases/.gone`);
  await user.unlink(`${control}/aliases/.gone`);
  expect(await user.ls(`${control}/aliases`)).toEqual(['best']);
});
