import { setTimeout as sleep } from 'node:timers/promises';
import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import type { S3Server } from '../../test/support/s3-server/server.js';

/** Keys of multipart uploads that were begun and neither completed nor aborted; waits until there are none, for a while. */
export async function unfinishedUploads(server: S3Server, waitMs = 60_000): Promise<string[]> {
  const { accessKeyId, secretAccessKey, endpoint, bucket } = server;
  const client = new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
  try {
    for (const deadline = Date.now() + waitMs; ; await sleep(500)) {
      const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
      if (Uploads.length === 0 || Date.now() > deadline) return Uploads.map(({ Key = '' }) => Key);
    }
  } finally {
    client.destroy();
  }
}
