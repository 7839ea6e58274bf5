import fc from 'fast-check';
import { expect, test } from 'vitest';
import { runs } from '../../support/seed.js';
import { World } from '../support/world.js';
import { type Command, command, Pair } from './commands.js';
import { describeNaive } from './naive-file-system.js';

async function runAll(commands: readonly Command[]): Promise<void> {
  const { user, world } = await World.open();
  await user.mkdir('m');
  const pair = new Pair(user, 'm');
  for (const each of commands) {
    const { real, naive } = await pair.run(each);
    expect(real, JSON.stringify(each)).toBe(naive);
  }
  expect(await pair.describeReal()).toEqual(pair.describeNaive());
  for (const [number, version] of pair.versions.entries()) {
    expect(await pair.describeReal(`m@v${number}`), `v${number}`).toEqual(describeNaive(version));
  }
  await pair.closeAll();
  user.fs.checkInvariants();
  expect(user.fs.counts()).toEqual({ nodes: 1, files: 0, directories: 0 });
  await world.close();
}

test('any sequence of operations, commits and discards leaves what a naive file system has', async () => {
  await fc.assert(fc.asyncProperty(fc.array(command, { maxLength: 60 }), runAll), {
    numRuns: runs(120),
  });
});
