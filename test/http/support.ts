import { mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { type App, startApp } from '../../src/app/start.js';
import { loadConfig } from '../../src/config/load.js';
import { ControlClient } from '../../src/http/client.js';
// Made ready for the first request, which would wait for it to be compiled.
import '../../src/http/server.js';

/** A real app on a file store in a directory of its own, and a client of it. */
export interface TestApp extends AsyncDisposable {
  readonly app: App;
  readonly client: ControlClient;
  readonly directory: string;
}

export async function startTestApp(flags: Record<string, unknown> = {}): Promise<TestApp> {
  const directory = mkdtempSync(join(tmpdir(), 'artifactfs-app-'));
  const env = { HOME: directory };
  const { config } = loadConfig({
    flags: { store: join(directory, 'store'), 'log-level': 'silent', 'refresh-interval': '0', ...flags },
    env,
    cwd: directory,
  });
  const app = await startApp(config, { env });
  const client = new ControlClient(app.socketPath);
  return {
    app,
    client,
    directory,
    [Symbol.asyncDispose]: async () => {
      client[Symbol.dispose]();
      await app[Symbol.asyncDispose]();
      rmSync(directory, { recursive: true, force: true });
    },
  };
}
