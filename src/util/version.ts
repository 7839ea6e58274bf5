import { readFileSync } from 'node:fs';

/** The version in package.json, which lies at the same distance from sources and from compiled files. */
export const programVersion: string = (
  JSON.parse(readFileSync(new URL('../../package.json', import.meta.url), 'utf8')) as { version: string }
).version;
