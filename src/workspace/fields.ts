import { ArtifactError } from '../model/errors.js';

/**
 * Strict reading of a parsed JSON object that came from a store: every getter throws `Corrupt` naming the object it
 * was in, the field, what is expected and what was found. Fields that nobody asks for are allowed.
 */
export class Fields {
  readonly where: string;
  readonly #values: Readonly<Record<string, unknown>>;

  /** `where` names the stored thing for messages: 'log record a/.../log/...json'. */
  constructor(where: string, value: unknown) {
    this.where = where;
    if (!isObject(value)) throw corrupt(where, `is ${shown(value)}, not a JSON object`);
    this.#values = value;
  }

  has(name: string): boolean {
    return Object.hasOwn(this.#values, name);
  }

  get(name: string): unknown {
    return this.has(name) ? this.#values[name] : undefined;
  }

  string(name: string): string {
    const value = this.get(name);
    if (typeof value !== 'string') throw this.wrong(name, 'a string');
    return value;
  }

  literal(name: string, expected: string): void {
    if (this.get(name) !== expected) throw this.wrong(name, JSON.stringify(expected));
  }

  matching(name: string, pattern: RegExp, meaning: string): string {
    const value = this.string(name);
    if (!pattern.test(value)) throw this.wrong(name, meaning);
    return value;
  }

  integer(name: string, min = 0, max = Number.MAX_SAFE_INTEGER): number {
    const value = this.get(name);
    if (typeof value !== 'number' || !Number.isSafeInteger(value) || value < min || value > max)
      throw this.wrong(name, `a whole number in ${min}..${max}`);
    return value;
  }

  integerOrNull(name: string): number | null {
    return this.get(name) === null ? null : this.integer(name);
  }

  integers(name: string): readonly number[] {
    const isWhole = (value: unknown) => Number.isSafeInteger(value) && Number(value) >= 0;
    return this.array(name, isWhole, 'a list of whole numbers') as readonly number[];
  }

  strings(name: string): readonly string[] {
    return this.array(name, (value) => typeof value === 'string', 'a list of strings') as readonly string[];
  }

  array(name: string, fits: (item: unknown) => boolean = () => true, meaning = 'a list'): readonly unknown[] {
    const value = this.get(name);
    if (!Array.isArray(value) || !value.every(fits)) throw this.wrong(name, meaning);
    return value;
  }

  object(name: string): Fields {
    return new Fields(`${this.where}: ${name}`, this.get(name));
  }

  /** `formatVersion` above `max` is `UnsupportedFormat`. */
  formatVersion(max: number): number {
    const version = this.integer('formatVersion', 1);
    if (version > max) throw newerFormat(this.where, `formatVersion ${version}`);
    return version;
  }

  wrong(name: string, expected: string): ArtifactError {
    const found = this.has(name) ? shown(this.#values[name]) : 'nothing';
    return corrupt(this.where, `has ${found} as ${name}, not ${expected}`);
  }
}

export function parseJson(where: string, text: string): unknown {
  try {
    return JSON.parse(text) as unknown;
  } catch (error) {
    throw corrupt(where, `is not JSON: ${shown(text)}`, error);
  }
}

export const isObject = (value: unknown): value is Record<string, unknown> =>
  typeof value === 'object' && value !== null && !Array.isArray(value);

export const corrupt = (where: string, what: string, cause?: unknown): ArtifactError =>
  new ArtifactError('Corrupt', `${where} ${what}`, {}, cause);

export const newerFormat = (where: string, what: string): ArtifactError =>
  new ArtifactError('UnsupportedFormat', `${where} was written by a newer artifactfs: ${what}`, {
    hint: 'install a newer artifactfs on this machine',
  });

/** A value cut short for a message. */
export function shown(value: unknown): string {
  const text = JSON.stringify(value) ?? String(value);
  return text.length <= 80 ? text : `${text.slice(0, 77)}...`;
}
