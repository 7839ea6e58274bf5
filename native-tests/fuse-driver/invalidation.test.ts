// What the kernel believes for ever, until it is told.
import { spawn } from 'node:child_process';
import { join } from 'node:path';
import { afterEach, beforeEach, expect, test } from 'vitest';
import type { MemoryNode } from '../../test/support/memory-file-system.js';
import { undisturbed } from '../support/undisturbed.js';
import { Place } from './support.js';

let place: Place;
beforeEach(async () => {
  place = await Place.mount({}, { negativeSeconds: Number.POSITIVE_INFINITY, keepCache: true });
});
afterEach(() => place[Symbol.asyncDispose]());

const notifier = () => {
  const { notifier: found } = place.fileSystem;
  if (found?.drain === undefined) throw new Error('not attached');
  return { kernel: found, drain: () => found.drain?.() };
};

function node(name: string): MemoryNode {
  const found = place.fileSystem.nodes.get(1)?.children.get(name)?.node;
  if (found === undefined) throw new Error(`no ${name}`);
  return found;
}

/** Changes the content behind the kernel's back, keeping its length. */
function change(name: string, text: string): void {
  node(name).bytes.write(text);
}

test('pages stay until their range is invalidated', async () => {
  const { kernel, drain } = notifier();
  await undisturbed(async () => {
    await place.sh('echo aaaa > file; cat file');
    change('file', 'bbbb');
    expect(await place.sh('cat file')).toBe('aaaa');
    kernel.invalidateInode(node('file').id, -1, 0);
    await drain();
    expect(await place.sh('cat file')).toBe('aaaa');
  });
  kernel.invalidateInode(node('file').id, 0, 0);
  await drain();
  expect(await place.sh('cat file')).toBe('bbbb');
});

test('writes of our own do not throw the pages away', async () => {
  await undisturbed(async () => {
    await place.sh('head -c 1000000 /dev/zero > file');
    const before = place.mounted?.requestCounts()['read'] ?? 0;
    await place.sh('cat file > /dev/null; echo more >> file; cat file > /dev/null');
    expect((place.mounted?.requestCounts()['read'] ?? 0) - before).toBeLessThanOrEqual(1);
  });
});

test('attributes and names, also missing ones, stay until they are invalidated', async () => {
  const { kernel, drain } = notifier();
  const root = place.fileSystem.nodes.get(1);
  await undisturbed(async () => {
    root?.children.delete('later');
    kernel.invalidateEntry(1, 'later');
    await drain();
    await place.sh('rm -f file; echo 12345 > file; stat file; cat later 2>/dev/null || true');
    node('file').mode = 0o600;
    root?.children.set('later', { node: node('file'), cookie: 100 });
    expect((await place.try('cat later')).code).toBe(1);
    expect(await place.sh('stat -c %a file')).toBe('644');
  });
  kernel.invalidateInode(node('file').id, -1, 0);
  kernel.invalidateEntry(1, 'later');
  await drain();
  expect(await place.sh('stat -c %a file')).toBe('600');
  expect(await place.sh('cat later')).toBe('12345');
});

test('a current directory survives the invalidation of its name', async () => {
  const { kernel, drain } = notifier();
  await place.sh('mkdir dir');
  const inside = place.start(
    'cd dir && touch ../ready && while [ ! -e ../go ]; do sleep 0.02; ls ..; done && exec pwd -P',
  );
  await expect.poll(() => place.fileSystem.nodes.get(1)?.children.has('ready')).toBe(true);
  kernel.invalidateEntry(1, 'dir');
  kernel.invalidateEntry(1, 'go');
  await drain();
  await place.sh('touch go');
  const outcome = await inside.outcome;
  expect(outcome.stderr).toBe('');
  expect(outcome.stdout.trimEnd().split('\n').at(-1)).toBe(`${place.mountPoint}/dir`);
});

test('every name is asked for again in the next epoch, also missing ones, and a current directory survives', async () => {
  const { kernel, drain } = notifier();
  const { invalidateEveryEntry } = kernel;
  if (invalidateEveryEntry === undefined) throw new Error('this kernel counts no epochs (Linux 6.16 does)');
  await place.sh('mkdir dir; echo 1 > dir/file');
  const inside = place.start(
    'cd dir && touch ../ready && while [ ! -e ../go ]; do sleep 0.02; ls .. >/dev/null; done && cat file && exec pwd -P',
  );
  await expect.poll(() => place.fileSystem.nodes.get(1)?.children.has('ready')).toBe(true);
  const dir = node('dir');
  const file = dir.children.get('file');
  if (file === undefined) throw new Error('no file');
  const bothNames = 'cat dir/file; ! cat dir/later 2>/dev/null';
  await undisturbed(async () => {
    dir.children.set('file', file);
    dir.children.delete('later');
    invalidateEveryEntry();
    await drain();
    expect(await place.sh(bothNames)).toBe('1');
    dir.children.set('later', file);
    dir.children.delete('file');
    expect(await place.sh(bothNames), 'it still believes').toBe('1');
  });
  invalidateEveryEntry();
  await drain();
  expect(await place.sh('! cat dir/file 2>/dev/null; cat dir/later')).toBe('1');
  dir.children.set('file', file);
  invalidateEveryEntry();
  await drain();
  await place.sh('touch go; stat dir');
  const outcome = await inside.outcome;
  expect(outcome.stderr).toBe('');
  expect(outcome.stdout.trimEnd().split('\n')).toEqual(['1', `${place.mountPoint}/dir`]);
});

test('without epochs the file system is told that there are none', async () => {
  await using older = await Place.mount({ epochs: false });
  expect(older.fileSystem.notifier?.invalidateEveryEntry).toBeUndefined();
});

test('names nobody knows are no failure', async () => {
  const { kernel, drain } = notifier();
  for (let i = 0; i < 1000; i++) kernel.invalidateEntry(1, `unknown-${i}`);
  kernel.invalidateInode(987_654, 0, 0);
  await drain();
  expect(place.failures).toEqual([]);
});

test('an invalidation that waits for a lock of a slow request holds up nothing else', async () => {
  const { kernel, drain } = notifier();
  await place.sh('mkdir other');
  let goOn = (): void => {};
  const gate = new Promise<void>((resolve) => {
    goOn = resolve;
  });
  const made = place.fileSystem.create.bind(place.fileSystem);
  let waiting = false;
  place.fileSystem.create = (...args) => {
    if (args[2] !== 'slow') return made(...args);
    waiting = true;
    return gate.then(() => made(...args)) as never;
  };
  const creator = place.start('exec touch slow'); // holds the lock of the root directory
  await expect.poll(() => waiting).toBe(true);
  kernel.invalidateEntry(1, 'other');
  let drained = false;
  const drain1 = Promise.resolve(drain()).then(() => {
    drained = true;
  });
  await place.sh('stat -f . && touch other/x');
  expect(drained).toBe(false);
  goOn();
  await drain1;
  expect((await creator.outcome).code).toBe(0);
});

test('the kernel forgets nodes when it is asked to, but no directory that somebody works in', async () => {
  const { kernel, drain } = notifier();
  await place.sh('mkdir d; echo 1 > idle; stat idle');
  const [idle, directory] = [node('idle'), node('d')];
  expect(idle.lookups).toBeGreaterThan(0);
  const worker = spawn('sh', ['-c', 'echo; read line; stat -c %F .; pwd -P'], {
    cwd: join(place.mountPoint, 'd'),
  });
  const output = worker.stdout.toArray();
  try {
    kernel.prune?.([
      { id: idle.id, parent: 1, name: 'idle', isDirectory: false },
      { id: directory.id, parent: 1, name: 'd', isDirectory: true },
    ]);
    await drain();
    // FORGET comes when the kernel finds the time for it.
    await expect.poll(() => idle.lookups).toBe(0);
    expect(directory.lookups).toBeGreaterThan(0);
  } finally {
    worker.stdin.end('go\n');
  }
  expect(Buffer.concat(await output).toString()).toBe(`\ndirectory\n${join(place.mountPoint, 'd')}\n`);
  expect(await place.sh('cat idle')).toBe('1');
});
