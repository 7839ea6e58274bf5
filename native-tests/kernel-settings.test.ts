// What the kernel does for a mount beyond the protocol, and what doctor says of it.
import { expect, test } from 'vitest';
import { ordinaryUser } from './support/ordinary-user.js';
import { type Machine, World } from './support/world.js';

interface Finding {
  readonly what: string;
  readonly result: string;
  readonly found: string;
  readonly advice?: string;
}

async function settings(machine: Machine): Promise<Finding | undefined> {
  const { stdout } = await machine.artifactfs('doctor', '--json', '--store', machine.store);
  const { findings } = JSON.parse(stdout) as { findings: readonly Finding[] };
  return findings.find(({ what }) => what === `kernel settings of ${machine.mnt}`);
}

test('root’s mounts read ahead 4 MiB and have 64 requests in the background', async () => {
  await using world = new World();
  const machine = world.machine();
  await machine.mount();
  expect(await settings(machine)).toEqual({
    what: `kernel settings of ${machine.mnt}`,
    result: 'ok',
    found: 'reads ahead 4MiB, 64 requests in the background, congested at 48',
  });
  await machine.unmount();
  expect(await settings(machine)).toBeUndefined();
});

test('an ordinary user is told how to have it', async () => {
  await using world = new World({ user: ordinaryUser() });
  const machine = world.machine();
  await machine.mount();
  const finding = await settings(machine);
  expect(finding).toMatchObject({ result: 'warn' });
  expect(finding?.found).toMatch(/^reads ahead 128KiB, /);
  expect(finding?.advice).toMatch(/echo 4096 \| sudo tee \/sys\/class\/bdi\/0:\d+\/read_ahead_kb/);
});
