import { expect } from 'vitest';
import { HashPool } from '../../../src/content/upload/hash-pool.js';
import type { ObjectStore } from '../../../src/store/object-store.js';
import { fsck } from '../../../src/workspace/fsck/fsck.js';
import { NamedLogs } from '../../../src/workspace/fsck/named-logs.js';
import { verify } from '../../../src/workspace/fsck/verify.js';
import { logKey } from '../../../src/workspace/keys.js';
import { encodeRecord } from '../../../src/workspace/record-codec.js';
import type { RecordBody } from '../../../src/workspace/records.js';
import { Workspace } from '../../../src/workspace/workspace.js';
import { readTree } from '../../workspace/helpers.js';
import { openMachine, Shell } from './daemon.js';

const large = Buffer.alloc((9 << 20) + 1, 'weights ');

/** An artifact with three versions and all kinds of files, an alias, a manifest of its own, and one version expired. */
export async function fill(store: ObjectStore): Promise<void> {
  const machine = await openMachine({ store });
  const shell = new Shell(machine.artifacts.create(machine.artifacts.root, 'model', { type: 'model' }));
  const { tree } = shell.artifact;
  await shell.mkdir('dir');
  await shell.write('dir/weights.bin', large);
  await shell.write('empty', '');
  await shell.write('ü ?#&%41\n', 'odd');
  await shell.symlink('link', '../no where');
  await shell.write('sparse', 'end', 30 << 20);
  await shell.link('dir/weights.bin', 'hard');
  const file = await shell.write('labelled', 'text');
  await tree.setXattr(file, 'user.colour', Buffer.from('red'), {});
  await shell.commit('first');
  await shell.write('only here', 'gone with v1');
  shell.artifact.setManifest({ type: 'model', name: 'the model' });
  await shell.commit('second\nof two lines');
  await shell.unlink('only here');
  await shell.write('dir/weights.bin', 'W', 1 << 20);
  await shell.commit('third');
  await machine.close();
  await append(store, shell.artifact.id, { type: 'alias', alias: 'best', expected: null, version: 0 });
  await append(store, shell.artifact.id, { type: 'expire', versions: [1] });
}

async function append(store: ObjectStore, artifactId: string, body: RecordBody): Promise<void> {
  const { log } = await new NamedLogs(store).find(['model']);
  const { headSeq, headHash, headTimeMs, versions } = log.state;
  const header = { seq: headSeq + 1, prev: headHash, host: 'h', user: 'u', time: headTimeMs + 1 };
  const commitId = versions[0]?.commitId ?? '';
  await store.putIfAbsent(logKey(artifactId, header.seq), encodeRecord({ ...header, commitId }, body));
}

/** Everything that a log and its trees say. */
export async function told(store: ObjectStore, path: string) {
  const workspace = await Workspace.open(store, { create: false });
  const { log } = await new NamedLogs(store).find([path]);
  const trees = [];
  for (const { tree, expired } of log.state.versions)
    if (!expired) trees.push((await readTree(workspace, tree, log.place.artifactId)).entries);
  return { state: log.state, trees };
}

export async function expectSound(store: ObjectStore): Promise<void> {
  await using hashing = new HashPool();
  const checked = { last: () => 0, note: () => undefined, keep: () => undefined };
  for await (const found of fsck(store)) expect(found).toMatchObject({ severity: 'info' });
  for await (const found of verify(store, { hashing, checked })) expect(found).toBeUndefined();
}
