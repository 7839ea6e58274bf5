import { randomUUID } from 'node:crypto';
import { mkdtemp, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { FileStore } from '../../src/store/file/file-store.js';
import { MemoryStore } from '../../src/store/memory/memory-store.js';
import { openStore } from '../../src/store/open-store.js';
import type { S3Options } from '../../src/store/s3/s3-options.js';
import { S3Store } from '../../src/store/s3/s3-store.js';
import { FaultStore } from '../../src/store/wrap/fault.js';
import { LimitStore } from '../../src/store/wrap/limit.js';
import { LogStore } from '../../src/store/wrap/log.js';
import { RetryStore } from '../../src/store/wrap/retry.js';
import { type S3ServerOptions, startS3Server } from '../support/s3-server/server.js';
import { type StoreUnderTest, storeContract } from './contract.js';

const overHttp = { presign: true };
const local = { presign: false };

storeContract('memory', async () => ({ store: new MemoryStore() }), local);

async function openFile(): Promise<StoreUnderTest> {
  const dir = await mkdtemp(join(tmpdir(), 'artifactfs-store-'));
  return { store: await FileStore.open(dir), dispose: () => rm(dir, { recursive: true }) };
}
storeContract('file', openFile, local);

const openS3 =
  (options: S3Options, server: S3ServerOptions, prefix = '') =>
  async (): Promise<StoreUnderTest> => {
    const s3 = await startS3Server(server);
    const store = new S3Store({ bucket: s3.bucket, prefix }, { ...keysOf(s3), ...options });
    return { store, dispose: s3.close };
  };
const keysOf = ({ endpoint, accessKeyId, secretAccessKey }: S3Options) =>
  ({ endpoint, accessKeyId, secretAccessKey }) as S3Options;

storeContract('s3', openS3({}, {}, 'some/prefix'), overHttp);
storeContract(
  's3, a strict server',
  openS3({ checksums: 'crc32' }, { features: { strictPartChecksums: true } }),
  overHttp,
);
storeContract(
  's3, an old server, content in files',
  openS3(
    { checksums: 'required' },
    { features: { trailers: false, checksums: false }, memoryBytesMax: 0 },
    'p',
  ),
  overHttp,
);

storeContract('retry over memory', async () => ({ store: new RetryStore(new MemoryStore()) }), local);
storeContract('limit over memory', async () => ({ store: new LimitStore(new MemoryStore(), 2) }), local);
storeContract(
  'log over memory',
  async () => ({ store: new LogStore(new MemoryStore(), { debug: () => undefined }) }),
  local,
);
storeContract('fault over memory', async () => ({ store: new FaultStore(new MemoryStore()) }), local);
storeContract('openStore memory', async () => ({ store: await openStore(`memory:${randomUUID()}`) }), local);
storeContract(
  'openStore s3 with failures and lost answers, which retries hide',
  async () => {
    const s3 = await startS3Server();
    const store = await openStore(`s3://${s3.bucket}/p`, {
      s3: keysOf(s3),
      retry: { delayMsMin: 0, attemptsMax: 20 },
    });
    // Creates are not repeated (a PutObject may be one); nobody repeats the GET of a signed URL.
    const on = [
      'GetObject',
      'HeadObject',
      'CreateMultipartUpload',
      'UploadPart',
      'UploadPartCopy',
      'ListParts',
      'CompleteMultipartUpload',
      'AbortMultipartUpload',
    ] as const;
    const rule = { on, key: '^p/t/', probability: 0.1 };
    await s3.control.addFault({ ...rule, effect: { kind: 'status', status: 503, code: 'SlowDown' } });
    await s3.control.addFault({ ...rule, effect: { kind: 'reset' } });
    await s3.control.addFault({ ...rule, effect: { kind: 'truncate' } });
    await s3.control.addFault({ ...rule, effect: { kind: 'loseAnswer' } });
    await s3.control.addFault({ on: 'ListObjectsV2', probability: 0.2, effect: { kind: 'reset' } });
    return { store, dispose: s3.close };
  },
  overHttp,
);

// A real server, where one is at hand: scripts/ceph-rgw start DIR prints these variables.
const {
  ARTIFACTFS_TEST_S3_ENDPOINT: endpoint,
  ARTIFACTFS_TEST_S3_ACCESS_KEY: accessKeyId,
  ARTIFACTFS_TEST_S3_SECRET_KEY: secretAccessKey,
  ARTIFACTFS_TEST_S3_BUCKET: bucket = 'artifactfs-test',
  ARTIFACTFS_TEST_S3_LEAVES_OUT_PARTS: leavesOutParts,
} = process.env;
if (endpoint === undefined || accessKeyId === undefined || secretAccessKey === undefined)
  console.log(
    'The contract does not run over a real S3 server: ARTIFACTFS_TEST_S3_ENDPOINT, _ACCESS_KEY, _SECRET_KEY are not set.',
  );
else
  storeContract(
    `s3 at ${endpoint}`,
    async () => {
      const s3 = { endpoint, accessKeyId, secretAccessKey };
      return { store: await openStore(`s3://${bucket}/contract-${randomUUID()}`, { s3 }) };
    },
    // ARTIFACTFS_TEST_S3_LEAVES_OUT_PARTS=no: a service such as Ceph 16 that wants every part listed.
    { ...overHttp, leavesOutParts: leavesOutParts !== 'no' },
  );
