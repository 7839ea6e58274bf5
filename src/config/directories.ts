import { homedir } from 'node:os';
import { isAbsolute, join } from 'node:path';

export type Environment = Readonly<Record<string, string | undefined>>;

/** The base directories of the XDG specification; a relative value there must be ignored. */
export const stateHome = (env: Environment) => xdg(env, 'XDG_STATE_HOME', '.local/state');
export const dataHome = (env: Environment) => xdg(env, 'XDG_DATA_HOME', '.local/share');
export const configHome = (env: Environment) => xdg(env, 'XDG_CONFIG_HOME', '.config');

function xdg(env: Environment, name: string, fallback: string): string {
  const value = env[name];
  if (value !== undefined && isAbsolute(value)) return value;
  return join(env['HOME'] || homedir(), fallback);
}
