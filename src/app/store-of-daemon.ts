import { readFile } from 'node:fs/promises';
import { join } from 'node:path';
import type { Config } from '../config/options.js';
import { within } from '../util/within.js';
import type { DaemonRecord } from './registry.js';

const configMsMax = 2_000;

/** The settings with which `daemon` has its store open, secrets excepted; without one, `config` as it is. */
export async function configOfDaemon(config: Config, daemon: DaemonRecord | null): Promise<Config> {
  if (daemon === null) return config;
  const { store, mountPoint } = daemon;
  // A mount that hangs must not hang who looks for damage.
  const text =
    mountPoint === null
      ? undefined
      : await within(
          configMsMax,
          readFile(join(mountPoint, '.artifactfs', 'config'), 'utf8').catch(() => undefined),
        );
  if (text === undefined) return { ...config, store };
  const { accessKeyId, secretAccessKey } = config;
  const keys = {
    ...(accessKeyId === undefined ? {} : { accessKeyId }),
    ...(secretAccessKey === undefined ? {} : { secretAccessKey }),
  };
  return { ...config, ...(JSON.parse(text) as Config), ...keys, store };
}
