import type { S3Server } from '../../test/support/s3-server/server.js';
import { spawnS3Server } from '../../test/support/s3-server/spawn.js';
import type { WorldOptions } from './world.js';

/** A store on an S3 server: what a world needs to use it. */
export interface S3Store {
  readonly options: WorldOptions;
  readonly server?: S3Server;
  close(): Promise<void>;
}

const settings = (endpoint: string, accessKey: string, secretKey: string): Record<string, string> => ({
  AWS_ACCESS_KEY_ID: accessKey,
  AWS_SECRET_ACCESS_KEY: secretKey,
  ARTIFACTFS_ENDPOINT: endpoint,
  ARTIFACTFS_PATH_STYLE: 'true',
});

/** Our test server in a process of its own: this process blocks on the mount. `args` are those of scripts/s3-server. */
export async function testServer(...args: string[]): Promise<S3Store & { readonly server: S3Server }> {
  const server = await spawnS3Server(args);
  const env = settings(server.endpoint, server.accessKeyId, server.secretAccessKey);
  return { server, options: { store: `s3://${server.bucket}/work`, env }, close: () => server.close() };
}

/** Ceph RGW or any other server named by the environment; undefined when none is. */
export function realServer(): S3Store | undefined {
  const {
    ARTIFACTFS_TEST_S3_ENDPOINT: endpoint,
    ARTIFACTFS_TEST_S3_ACCESS_KEY: accessKey = '',
    ARTIFACTFS_TEST_S3_SECRET_KEY: secretKey = '',
    ARTIFACTFS_TEST_S3_BUCKET: bucket = 'artifactfs-test',
  } = process.env;
  if (endpoint === undefined) return undefined;
  const store = `s3://${bucket}/mount-tests/${Date.now().toString(36)}`;
  return { options: { store, env: settings(endpoint, accessKey, secretKey) }, close: async () => undefined };
}
