import { Readable } from 'node:stream';
import fc from 'fast-check';
import { expect, test } from 'vitest';
import type { WorkspaceArtifacts } from '../../../src/artifacts/artifacts.js';
import { runs } from '../../support/seed.js';
import { outcome, turns } from '../support/user.js';
import { World } from '../support/world.js';
import { BelievingKernel } from './believing-kernel.js';

const path = fc.constantFrom('a', 'b', 'd', 'd/a', 'e/b');
const text = fc.constantFrom('one', 'two', 'three3');

/** Through the kernel of the one mount. */
const inside = fc.oneof(
  fc.record({
    by: fc.constant('kernel' as const),
    type: fc.constantFrom('stat' as const, 'read', 'list'),
    path,
  }),
  fc.record({ by: fc.constant('kernel' as const), type: fc.constantFrom('mkdir' as const, 'remove'), path }),
  fc.record({ by: fc.constant('kernel' as const), type: fc.constant('write' as const), path, text }),
  fc.record({
    by: fc.constant('kernel' as const),
    type: fc.constantFrom('rename' as const, 'link'),
    path,
    to: path,
  }),
);
/** Around it: by the API of the same daemon, or by another machine. */
const around = fc.oneof(
  fc.record({
    by: fc.constantFrom('api' as const, 'other'),
    type: fc.constantFrom('mkdir' as const, 'remove'),
    path,
  }),
  fc.record({
    by: fc.constantFrom('api' as const, 'other'),
    type: fc.constant('write' as const),
    path,
    text,
  }),
  fc.record({
    by: fc.constantFrom('api' as const, 'other'),
    type: fc.constantFrom('commit' as const, 'discard', 'refresh'),
  }),
);
const step = fc.oneof({ weight: 3, arbitrary: inside }, { weight: 2, arbitrary: around });
type Inside = typeof inside extends fc.Arbitrary<infer S> ? S : never;
type Around = typeof around extends fc.Arbitrary<infer S> ? S : never;

function throughKernel(kernel: BelievingKernel, step: Inside): Promise<unknown> {
  const at = `m/${step.path}`;
  switch (step.type) {
    case 'stat':
      return kernel.stat(at);
    case 'read':
      return kernel.read(at);
    case 'list':
      return kernel.list(at);
    case 'mkdir':
      return kernel.mkdir(at);
    case 'remove':
      return kernel.remove(at);
    case 'write':
      return kernel.write(at, step.text);
    case 'rename':
      return kernel.rename(at, `m/${step.to}`);
    case 'link':
      return kernel.link(at, `m/${step.to}`);
  }
}

async function aroundKernel(artifacts: WorkspaceArtifacts, step: Around): Promise<unknown> {
  const artifact = await artifacts.find('m');
  const { files } = artifacts;
  switch (step.type) {
    case 'mkdir':
      return files.mkdir(artifact, step.path);
    case 'remove':
      return files.remove(artifact, step.path, { recursive: true });
    case 'write':
      return files.write(artifact, step.path, Readable.from([Buffer.from(step.text)]));
    case 'commit':
      return artifact.commit({ message: 'm', onConflict: 'theirs' });
    case 'discard':
      return artifact.discard();
    case 'refresh':
      return artifacts.refresh();
  }
}

async function run(steps: readonly (Inside | Around)[]): Promise<void> {
  const { world, user, artifacts } = await World.open();
  await user.mkdir('m');
  await user.mkdir('m/d');
  await user.mkdir('m/e');
  await user.write('m/d/a', 'first');
  await user.commit('m');
  const other = await world.machine();
  const kernel = new BelievingKernel(user.fs);
  for (const step of steps) {
    await outcome(() =>
      step.by === 'kernel'
        ? throughKernel(kernel, step)
        : aroundKernel(step.by === 'api' ? artifacts : other.artifacts, step),
    );
    // Not after each step: to check is to look up, which would tell the file system where everything is.
    if (step.by === 'kernel') continue;
    await turns();
    expect(await kernel.check(), JSON.stringify(step)).toEqual([]);
  }
  kernel.forgetAll();
  expect(user.fs.counts()).toEqual({ nodes: 1, files: 0, directories: 0 });
  await world.close();
}

test('whatever happens around the kernel, nothing it still believes is untrue', async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { maxLength: 30 }), run), {
    numRuns: runs(60),
  });
});
