import { readFileSync, statSync } from 'node:fs';
import { join, resolve } from 'node:path';
import { ArtifactError } from '../model/errors.js';
import { suggest } from '../util/suggest.js';
import { configHome, type Environment } from './directories.js';
import {
  type Config,
  environmentName,
  type OptionName,
  optionNames,
  optionSpec,
  optionTable,
  propertyName,
} from './options.js';
import { type OptionValue, parseValue } from './values.js';

/** Where a value came from. The earlier in this list, the stronger. */
const origins = ['flag', 'environment', 'file', 'default'] as const;
type Origin = (typeof origins)[number];

export interface LoadedConfig {
  readonly config: Config;
  readonly origin: Readonly<Record<OptionName, Origin>>;
  /** The configuration file that was read, if there is one. */
  readonly file: string | null;
}

export interface ConfigSources {
  /** Values of flags by option name; undefined where the flag was not given. */
  readonly flags: Readonly<Record<string, unknown>>;
  readonly env: Environment;
  readonly cwd: string;
  /** --config; the file must then exist. */
  readonly configFile?: string | undefined;
}

/** Flags over environment over file over defaults; each value checked, and all of them together. Throws `Invalid`. */
export function loadConfig(sources: ConfigSources): LoadedConfig {
  const file = readConfigFile(sources);
  const values = new Map<OptionName, OptionValue | undefined>();
  const origin = new Map<OptionName, Origin>();
  for (const name of optionNames) {
    const found = lookUp(name, sources, file);
    values.set(name, found.value);
    origin.set(name, found.origin);
  }
  const loaded: LoadedConfig = {
    // The table gives each name its type, and lookUp went over all names.
    config: Object.freeze(
      Object.fromEntries(optionNames.map((name) => [propertyName(name), values.get(name)])),
    ) as unknown as Config,
    origin: Object.freeze(Object.fromEntries(origin)) as Record<OptionName, Origin>,
    file: file?.path ?? null,
  };
  rejectContradictions(loaded, values);
  return withoutUseless(loaded);
}

function lookUp(
  name: OptionName,
  { flags, env, cwd }: ConfigSources,
  file: ConfigFile | undefined,
): { value: OptionValue | undefined; origin: Origin } {
  const spec = optionSpec(name);
  const flag = flags[name];
  if (flag !== undefined) {
    if (Array.isArray(flag)) throw new ArtifactError('Invalid', `--${name} is given more than once`);
    return { value: parseValue(spec, flag, `--${name}`, cwd), origin: 'flag' };
  }
  // An empty variable is how shells and units say "not set".
  const variable = env[environmentName(name)];
  if (variable !== undefined && variable !== '') {
    return { value: parseValue(spec, variable, environmentName(name), cwd), origin: 'environment' };
  }
  const setting = file?.settings[name];
  if (file !== undefined && setting !== undefined) {
    return { value: parseValue(spec, setting, `${file.path}: ${name}`, cwd), origin: 'file' };
  }
  return { value: spec.default?.(env), origin: 'default' };
}

interface ConfigFile {
  readonly path: string;
  readonly settings: Readonly<Record<string, unknown>>;
}

const defaultConfigFile = (env: Environment) => join(configHome(env), 'artifactfs', 'config.json');

function readConfigFile({ env, cwd, configFile }: ConfigSources): ConfigFile | undefined {
  const named = configFile ?? (env['ARTIFACTFS_CONFIG'] || undefined);
  const path = named === undefined ? defaultConfigFile(env) : resolve(cwd, named);
  let text: string;
  try {
    text = readFileSync(path, 'utf8');
  } catch (error) {
    const code = (error as NodeJS.ErrnoException).code;
    if (named === undefined && (code === 'ENOENT' || code === 'ENOTDIR')) return undefined;
    if (code === 'ENOENT') throw new ArtifactError('NotFound', `no configuration file ${path}`, {}, error);
    throw new ArtifactError('AccessDenied', `configuration file ${path} cannot be read: ${code}`, {}, error);
  }
  const settings = parseSettings(path, text);
  refusePublicSecrets(path, settings);
  return { path, settings };
}

function parseSettings(path: string, text: string): Record<string, unknown> {
  let settings: unknown;
  try {
    settings = JSON.parse(text);
  } catch (error) {
    throw new ArtifactError('Invalid', `${path} is no JSON: ${(error as Error).message}`, {}, error);
  }
  if (typeof settings !== 'object' || settings === null || Array.isArray(settings)) {
    throw new ArtifactError('Invalid', `${path} must hold one JSON object of options`);
  }
  for (const key of Object.keys(settings)) {
    if (Object.hasOwn(optionTable, key)) continue;
    const near = suggest(key, optionNames);
    throw new ArtifactError('Invalid', `${path}: unknown option '${key}'`, {
      ...(near === undefined ? {} : { hint: `did you mean '${near}'?` }),
    });
  }
  return settings as Record<string, unknown>;
}

function refusePublicSecrets(path: string, settings: Record<string, unknown>): void {
  const secret = optionNames.find((name) => optionSpec(name).secret && settings[name] !== undefined);
  if (secret !== undefined && (statSync(path).mode & 0o077) !== 0) {
    throw new ArtifactError('AccessDenied', `${path} holds '${secret}' but others may read it`, {
      hint: `run: chmod 600 ${path}`,
    });
  }
}

type Values = ReadonlyMap<OptionName, OptionValue | undefined>;

const strength = (origin: Origin) => origins.length - origins.indexOf(origin);

/**
 * Options that deny each other are refused by name. One that came from a weaker source than the store is only
 * ignored: who names another store on the command line does not mean what the file says about the usual one.
 */
function rejectContradictions(loaded: LoadedConfig, values: Values): void {
  const { config, origin } = loaded;
  const asStrong = (name: OptionName) =>
    origin[name] !== 'default' && strength(origin[name]) >= strength(origin.store);
  if (!config.store.startsWith('s3:')) {
    const useless = optionNames.find((name) => optionSpec(name).s3 && asStrong(name));
    if (useless !== undefined) {
      throw contradiction(`${label(useless, loaded)} is for s3:// stores, but the store is ${config.store}`);
    }
  }
  if (config.store.startsWith('memory:') && asStrong('state-dir')) {
    throw contradiction(`${label('state-dir', loaded)}: a memory: store keeps no state`);
  }
  rejectHalfOfPair(values);
  if (config.profile !== undefined && config.accessKeyId !== undefined) {
    const [a, b] = [label('profile', loaded), label('access-key-id', loaded)];
    throw contradiction(`${a} and ${b} both name credentials: give one of them`);
  }
}

function rejectHalfOfPair(values: Values): void {
  const pair = ['access-key-id', 'secret-access-key'] as const;
  const missing = pair.filter((name) => values.get(name) === undefined);
  const given = pair.find((name) => !missing.includes(name));
  if (missing.length === 1 && given !== undefined) {
    throw contradiction(`'${given}' is set without '${missing[0]}'`);
  }
}

/** What the store cannot use is dropped, so that nothing below has to ask again. */
function withoutUseless(loaded: LoadedConfig): LoadedConfig {
  if (loaded.config.store.startsWith('s3:')) return loaded;
  const kept = Object.entries(loaded.config).map(([property, value]) => {
    const name = optionNames.find((candidate) => propertyName(candidate) === property);
    const spec = name === undefined ? undefined : optionSpec(name);
    return [property, spec?.s3 && spec.default === undefined ? undefined : value];
  });
  // The same properties as before; one without a default may be undefined.
  return { ...loaded, config: Object.freeze(Object.fromEntries(kept)) as Config };
}

/** How the user wrote it: a flag, a variable, or a key of the file. */
function label(name: OptionName, { origin, file }: LoadedConfig): string {
  if (origin[name] === 'environment') return environmentName(name);
  if (origin[name] === 'file') return `'${name}' in ${file}`;
  return `--${name}`;
}

const contradiction = (message: string) => new ArtifactError('Invalid', message);
