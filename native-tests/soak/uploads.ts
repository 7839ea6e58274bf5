import { ListMultipartUploadsCommand, S3Client } from '@aws-sdk/client-s3';
import type { S3Server } from '../../test/support/s3-server/server.js';

/** Keys of multipart uploads that were begun and neither completed nor aborted. */
export async function unfinishedUploads(server: S3Server): Promise<string[]> {
  const { accessKeyId, secretAccessKey, endpoint, bucket } = server;
  const client = new S3Client({
    endpoint,
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: { accessKeyId, secretAccessKey },
  });
  try {
    const { Uploads = [] } = await client.send(new ListMultipartUploadsCommand({ Bucket: bucket }));
    return Uploads.map(({ Key = '' }) => Key);
  } finally {
    client.destroy();
  }
}
