import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';
import { promisify } from 'node:util';
import { remoteControl } from './control.js';
import type { S3Server } from './server.js';

const script = fileURLToPath(new URL('../../../scripts/s3-server', import.meta.url));

/** The server in a process of its own, so that it does not share the caller's event loop. It ends with the caller. */
export async function spawnS3Server(args: readonly string[] = []): Promise<S3Server> {
  await promisify(execFile)(script, ['--build-only']);
  const child = spawn(script, ['--until-stdin-ends', ...args], { stdio: ['pipe', 'pipe', 'inherit'] });
  const exited = once(child, 'exit');
  const firstLine = once(createInterface({ input: child.stdout }), 'line');
  const [line] = await Promise.race([
    firstLine,
    exited.then(([code]) => Promise.reject(new Error(`the S3 server ended with ${code} at its start`))),
  ]);
  const { endpoint, accessKeyId, secretAccessKey, bucket } = JSON.parse(String(line));
  return {
    endpoint,
    accessKeyId,
    secretAccessKey,
    bucket,
    control: remoteControl(endpoint),
    close: async () => {
      child.stdin.end();
      await exited;
    },
  };
}
