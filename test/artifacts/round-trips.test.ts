import { afterEach, expect, test } from 'vitest';
import { S3Store } from '../../src/store/s3/s3-store.js';
import { startS3Server } from '../support/s3-server/server.js';
import { openMachine, removeTemporaryDirectories, Shell } from './support/daemon.js';
import { countRoundTrips, type Request } from './support/round-trips.js';

afterEach(removeTemporaryDirectories);

test('what a commit of small files asks an S3 store for, one thing after another', async () => {
  const server = await startS3Server();
  const { endpoint, bucket, accessKeyId, secretAccessKey } = server;
  await using s3 = new S3Store({ bucket, prefix: 'p' }, { endpoint, accessKeyId, secretAccessKey });
  const trips = countRoundTrips(s3);
  const machine = await openMachine({ store: trips.store });
  const { artifacts } = machine;
  const artifact = artifacts.create(artifacts.root, 'model');
  const shell = new Shell(artifact);
  const fill = async (directory: string) => {
    await shell.mkdir(directory);
    for (let i = 0; i < 30; i++) await shell.write(`${directory}/${i}`, `${directory} ${i}`);
  };

  await fill('first');
  trips.take(2, 2);
  await shell.commit();
  expect(rounds(trips.take(3, 2))).toEqual([
    'get log 1, put data',
    'head data, put tree',
    'putIfAbsent log 1',
    'get log 1',
    // The name: in the log of the collection.
    'get root log 1',
    'putIfAbsent root log 1',
    'get root log 1',
  ]);

  await fill('second');
  await shell.commit();
  expect(rounds(trips.take(2))).toEqual([
    'get log 1, get log 2, put data',
    'head data, put tree',
    'putIfAbsent log 2',
    'get log 2',
  ]);

  for (let i = 0; i < 30; i++) await shell.unlink(`first/${i}`);
  await shell.commit();
  expect(rounds(trips.take())).toEqual([
    'get log 2, get log 3',
    'put tree',
    'putIfAbsent log 3',
    'get log 3',
  ]);
  await machine.close();
  await server.close();
});

/** What each round trip asked for. */
function rounds(requests: readonly Request[]): string[] {
  const rounds: string[][] = [];
  for (const { operation, key, round } of requests) {
    const [, artifactId = '', kind = '', last = ''] =
      /^a\/([^/]*)\/([^/]*)\/.*?(\d*)(?:\.\w+)?$/.exec(key) ?? [];
    const names: Record<string, string> = { log: `log ${Number(last)}`, d: 'data', t: 'tree' };
    const whose = artifactId.startsWith('00000000-') ? 'root ' : '';
    const others = rounds[round - 1] ?? [];
    rounds[round - 1] = [...others, `${operation} ${whose}${names[kind] ?? key}`];
  }
  return rounds.map((names) => names.sort().join(', '));
}
