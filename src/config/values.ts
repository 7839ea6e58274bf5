import { resolve } from 'node:path';
import { fileURLToPath, pathToFileURL } from 'node:url';
import { ArtifactError } from '../model/errors.js';
import type { OptionSpec } from './options.js';
import { formatBytes, parseBytes } from './sizes.js';

export type OptionValue = string | number | boolean;

/** What a flag, a variable or a file gives as the value of one option. `where` names it: '--cache-size'. */
export function parseValue(spec: OptionSpec, raw: unknown, where: string, cwd: string): OptionValue {
  try {
    return parsers[spec.type](raw, spec, cwd);
  } catch (error) {
    if (!(error instanceof ArtifactError)) throw error;
    throw new ArtifactError(error.code, `${where}: ${error.message}`, error.details);
  }
}

type Parser = (raw: unknown, spec: OptionSpec, cwd: string) => OptionValue;

const parsers: Readonly<Record<OptionSpec['type'], Parser>> = {
  text: (raw) => nonEmpty(raw),
  path: (raw, _spec, cwd) => resolve(cwd, nonEmpty(raw)),
  url: (raw) => httpUrl(nonEmpty(raw)),
  store: (raw, _spec, cwd) => storeUrl(nonEmpty(raw), cwd),
  flag,
  bytes: (raw, spec) => inRange(typeof raw === 'number' ? raw : parseBytes(nonEmpty(raw)), spec, formatBytes),
  seconds: (raw, spec) => inRange(integer(raw), spec, (value) => `${value} seconds`),
  choice(raw, spec) {
    const text = nonEmpty(raw);
    if (spec.choices?.includes(text)) return text;
    throw invalid(`'${text}' is not one of ${spec.choices?.join(', ')}`);
  },
};

function nonEmpty(raw: unknown): string {
  if (typeof raw !== 'string') throw invalid(`${JSON.stringify(raw)} is not text`);
  if (raw === '') throw invalid('the value is empty');
  return raw;
}

function flag(raw: unknown): boolean {
  if (typeof raw === 'boolean') return raw;
  if (raw === '1' || raw === 'true' || raw === 'on' || raw === 'yes') return true;
  if (raw === '0' || raw === 'false' || raw === 'off' || raw === 'no') return false;
  throw invalid(`${JSON.stringify(raw)} is neither true nor false`);
}

function integer(raw: unknown): number {
  const value = typeof raw === 'number' ? raw : /^\d+$/.test(nonEmpty(raw)) ? Number(raw) : Number.NaN;
  if (!Number.isSafeInteger(value) || value < 0) throw invalid(`'${raw}' is no whole number from 0`);
  return value;
}

function inRange(value: number, spec: OptionSpec, show: (value: number) => string): number {
  if (!Number.isSafeInteger(value) || value < 0) throw invalid(`'${value}' is no whole number from 0`);
  if (spec.min !== undefined && value < spec.min)
    throw invalid(`${show(value)} is less than ${show(spec.min)}`);
  if (spec.max !== undefined && value > spec.max)
    throw invalid(`${show(value)} is more than ${show(spec.max)}`);
  return value;
}

function httpUrl(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url?.protocol !== 'http:' && url?.protocol !== 'https:') {
    throw invalid('the value is no http:// or https:// URL');
  }
  if (url.username !== '' || url.password !== '') {
    throw invalid('credentials do not belong into the URL');
  }
  return text;
}

/**
 * A store URL in one spelling, so that the same store is recognised: a path becomes file://, no slash at the end. The
 * text may hold a secret by mistake, so no message repeats it; the store itself checks the rest.
 */
function storeUrl(text: string, cwd: string): string {
  const scheme = /^([a-z][a-z0-9+.-]*):/i.exec(text)?.[1]?.toLowerCase();
  switch (scheme) {
    case undefined:
      return pathToFileURL(resolve(cwd, text)).href;
    case 'file':
      return pathToFileURL(filePath(text)).href;
    case 's3':
      return text.replace(/^s3/i, 's3').replace(/\/+$/, '');
    case 'memory':
      return text.replace(/^memory/i, 'memory');
    default:
      throw new ArtifactError('Invalid', `a store URL cannot begin with '${scheme}:'`, {
        hint: 'use s3://BUCKET/PREFIX, file:///DIRECTORY, a path (./ before one that holds a colon), or memory:',
      });
  }
}

function filePath(text: string): string {
  const url = URL.canParse(text) ? new URL(text) : undefined;
  if (url === undefined || !/^file:\/\//i.test(text) || !['', 'localhost'].includes(url.hostname)) {
    throw new ArtifactError('Invalid', 'a file URL must be file:/// and an absolute path');
  }
  return resolve(fileURLToPath(`file://${url.pathname}`));
}

const invalid = (message: string) => new ArtifactError('Invalid', message);
