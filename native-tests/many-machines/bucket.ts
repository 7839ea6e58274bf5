import { open, readdir, readFile, stat } from 'node:fs/promises';
import { join } from 'node:path';
import {
  GetObjectCommand,
  ListMultipartUploadsCommand,
  ListObjectsV2Command,
  S3Client,
} from '@aws-sdk/client-s3';

/** A workspace's keys and bytes as they lie in the store, read without any of the product. */
export interface Bucket {
  /** Key -> size, without what the store keeps for itself. */
  list(): Promise<Map<string, number>>;
  /** null: there is no such key. */
  get(key: string): Promise<Buffer | null>;
  part(key: string, offset: number, length: number): Promise<Buffer>;
  /** Multipart uploads that were begun and neither completed nor aborted. */
  unfinished(): Promise<number>;
}

export function directoryBucket(root: string): Bucket {
  return {
    async list() {
      const found = new Map<string, number>();
      for (const entry of await readdir(root, { recursive: true, withFileTypes: true })) {
        const path = join(entry.parentPath, entry.name);
        // A name in the directory of a store never begins with a dot.
        const key = path.slice(root.length + 1).replace(/^%2E/, '.');
        if (entry.isFile() && !key.startsWith('.tmp/')) found.set(key, (await stat(path)).size);
      }
      return found;
    },
    get: (key) =>
      readFile(join(root, key)).catch((error: NodeJS.ErrnoException) => {
        if (error.code === 'ENOENT') return null;
        throw error;
      }),
    async part(key, offset, length) {
      const file = await open(join(root, key));
      try {
        const { buffer, bytesRead } = await file.read(Buffer.alloc(length), 0, length, offset);
        if (bytesRead < length) throw new Error(`${key} ends at ${offset + bytesRead}`);
        return buffer;
      } finally {
        await file.close();
      }
    },
    unfinished: async () => 0,
  };
}

export function s3Bucket(url: string, env: Readonly<Record<string, string>>): Bucket {
  const { hostname: name, pathname } = new URL(url);
  const prefix = `${pathname.slice(1)}/`;
  const client = new S3Client({
    endpoint: env['ARTIFACTFS_ENDPOINT'] ?? '',
    region: 'us-east-1',
    forcePathStyle: true,
    credentials: {
      accessKeyId: env['AWS_ACCESS_KEY_ID'] ?? '',
      secretAccessKey: env['AWS_SECRET_ACCESS_KEY'] ?? '',
    },
  });
  const bytes = async (key: string, range?: string): Promise<Buffer> => {
    const { Body } = await client.send(
      new GetObjectCommand({
        Bucket: name,
        Key: prefix + key,
        ...(range === undefined ? {} : { Range: range }),
      }),
    );
    return Buffer.from((await Body?.transformToByteArray()) ?? []);
  };
  return {
    async list() {
      const found = new Map<string, number>();
      for (let token: string | undefined; ; ) {
        const page = await client.send(
          new ListObjectsV2Command({ Bucket: name, Prefix: prefix, ContinuationToken: token }),
        );
        for (const { Key = '', Size = 0 } of page.Contents ?? []) found.set(Key.slice(prefix.length), Size);
        token = page.NextContinuationToken;
        if (token === undefined) return found;
      }
    },
    get: (key) =>
      bytes(key).catch((error: Error) => {
        if (error.name === 'NoSuchKey') return null;
        throw error;
      }),
    part: (key, offset, length) => bytes(key, `bytes=${offset}-${offset + length - 1}`),
    async unfinished() {
      const { Uploads = [] } = await client.send(
        new ListMultipartUploadsCommand({ Bucket: name, Prefix: prefix }),
      );
      return Uploads.length;
    },
  };
}
