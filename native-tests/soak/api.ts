import { request } from 'node:http';
import { join } from 'node:path';
import type { Machine } from '../support/world.js';

const answerMsMax = 30_000;

/** Asks a daemon through its socket, which makes no requests of the kernel. */
export async function ask<T>(machine: Machine, path: string): Promise<T> {
  return JSON.parse(await get(join(stateOf(machine), 'control.sock'), path)) as T;
}

/** The state directory of a mounted machine. */
export function stateOf(machine: Machine): string {
  const line = machine.output.split('\n').find((text) => text.includes('"msg":"ready"'));
  if (line === undefined) throw new Error(`${machine.mnt} is not mounted`);
  return (JSON.parse(line) as { state: string }).state;
}

function get(socketPath: string, path: string): Promise<string> {
  return new Promise((resolve, reject) => {
    const asked = request({ socketPath, path, timeout: answerMsMax }, (response) => {
      let text = '';
      response.setEncoding('utf8');
      response.on('data', (part: string) => {
        text += part;
      });
      response.on('end', () =>
        response.statusCode === 200 ? resolve(text) : reject(new Error(`GET ${path}: ${text}`)),
      );
      response.on('error', reject);
    });
    asked.on('timeout', () => asked.destroy(new Error(`GET ${path}: no answer`)));
    asked.on('error', reject);
    asked.end();
  });
}
