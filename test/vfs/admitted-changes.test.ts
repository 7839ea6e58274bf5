// While it is not known whether the store takes commits, everything is shown and every change waits.
import { afterEach, expect, test } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import { type Deferred, deferred } from '../../src/util/deferred.js';
import { O_RDWR, O_TRUNC, O_WRONLY } from '../../src/vfs/open-flags.js';
import {
  type Machine,
  newStore,
  openMachine,
  removeTemporaryDirectories,
} from '../artifacts/support/daemon.js';
import { outcome, turns, User } from './support/user.js';

const machines: Machine[] = [];
afterEach(async () => {
  for (const machine of machines.splice(0)) await machine.close();
  removeTemporaryDirectories();
});

/** A store with the artifact `a`, and a machine that knows nothing yet, not even whether it may change something. */
async function undecided() {
  const store = newStore();
  const first = await openMachine({ store });
  machines.push(first);
  const writer = new User(first.artifacts);
  await writer.mkdir('a');
  await writer.mkdir('a/d');
  await writer.write('a/f', 'text');
  await writer.write('a/d/g', 'more');
  await writer.commit('a');

  const gate: { asked: Deferred<void> | null } = { asked: deferred() };
  const second = await openMachine({ store, admitChange: () => gate.asked?.promise });
  machines.push(second);
  return { gate, user: new User(second.artifacts), artifacts: second.artifacts };
}

const changes: readonly [string, (user: User) => Promise<unknown>][] = [
  ['a new artifact', (user) => user.mkdir('b')],
  ['a new directory', (user) => user.mkdir('a/new')],
  ['a new file', (user) => user.write('a/new', 'x')],
  ['a FIFO', (user) => user.mknod('a/fifo', 'fifo')],
  ['a symbolic link', (user) => user.symlink('f', 'a/symlink')],
  ['a second name', (user) => user.link('a/f', 'a/link')],
  [
    'a file without a name',
    (user) => user.with('a', (id) => user.fs.createUnnamed(user.context, id, 0o600, O_RDWR)),
  ],
  ['a file that is opened for writing', (user) => user.open('a/f', O_WRONLY)],
  ['a file that is opened for both', (user) => user.open('a/d/g', O_RDWR)],
  ['a file that is emptied', (user) => user.open('a/f', O_TRUNC)],
  ['another size', (user) => user.with('a/f', (id) => user.fs.setAttributes(user.context, id, { size: 1 }))],
  [
    'another mode',
    (user) => user.with('a/d', (id) => user.fs.setAttributes(user.context, id, { mode: 0o700 })),
  ],
  [
    'another mode of the artifact',
    (user) => user.with('a', (id) => user.fs.setAttributes(user.context, id, { mode: 0o700 })),
  ],
  [
    'an attribute',
    (user) =>
      user.with('a/f', (id) =>
        user.fs.setXattr(user.context, id, 'user.x', Buffer.from('1'), { create: false, replace: false }),
      ),
  ],
  ['another name', (user) => user.rename('a/f', 'a/d/f')],
  ['a removed file', (user) => user.unlink('a/f')],
  [
    'a removed directory',
    async (user) => {
      await user.unlink('a/d/g');
      await user.rmdir('a/d');
    },
  ],
  ['another manifest', (user) => user.write('a/.artifact/manifest.json', '{"type":"model"}')],
];

test.each(changes)('%s waits, and fails when the store does not tell', async (_name, change) => {
  const { gate, user, artifacts } = await undecided();
  expect(await user.ls('a')).toEqual(['d', 'f']);
  expect(await user.read('a/d/g')).toBe('more');

  const done = outcome(() => change(user));
  await turns();
  gate.asked?.reject(new ArtifactError('StoreUnavailable', 'no answer'));
  expect(await done).toBe('StoreUnavailable');
  expect(artifacts.staged()).toEqual([]);
  expect(artifacts.children(artifacts.root, null, 10)).toEqual(['a']);
  expect(await user.ls('a')).toEqual(['d', 'f']);
});

test.each(changes)('%s waits, and is made when the store takes commits', async (_name, change) => {
  const { gate, user } = await undecided();
  const done = outcome(() => change(user));
  await turns();
  const { asked } = gate;
  gate.asked = null;
  asked?.resolve();
  expect(await done).toBe('ok');
});
