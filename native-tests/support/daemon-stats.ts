import { request } from 'node:http';
import { join } from 'node:path';
import type { Machine } from './world.js';

/** What `stats` shows, asked of the daemon through its socket: that makes no request of the kernel, and no process. */
export async function daemonStats<Stats>(machine: Machine): Promise<Stats> {
  const line = machine.output.split('\n').find((text) => text.includes('"msg":"ready"')) ?? '{}';
  const { state } = JSON.parse(line) as { state: string };
  return JSON.parse(await get(join(state, 'control.sock'), '/v1/stats')) as Stats;
}

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('end', () => resolve(text));
    });
    asked.on('error', reject);
    asked.end();
  });
}
