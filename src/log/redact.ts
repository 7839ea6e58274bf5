import { ArtifactError } from '../model/errors.js';

/**
 * A copy of `value` that is safe to write into a log: secrets are replaced by field name and by shape inside texts,
 * errors become plain objects with their causes, and depth, width and lengths are bounded. Never throws.
 */
export function redact(value: unknown): unknown {
  return copy(value, 0, new Set());
}

/** Replaces what looks like a secret inside a text: signed URLs, credentials in URLs, authorization headers, `key=...`. */
export function redactText(text: string): string {
  const bounded = text.length > textLengthMax ? `${text.slice(0, textLengthMax)}...` : text;
  return secretShapes.reduce((result, [shape, replacement]) => result.replace(shape, replacement), bounded);
}

const textLengthMax = 8192;
const depthMax = 6;
const itemsMax = 100;
const causesMax = 8;
const hidden = '[redacted]';

/** Compared without case and punctuation, by the end of the name: `x-amz-security-token` ends in `token`. */
const secretNames =
  /(?:authorization|password|passwd|passphrase|secret|secretkey|secretaccesskey|token|credentials?|cookie|apikey|privatekey|signature)$/;

const isSecretName = (name: string): boolean =>
  secretNames.test(name.toLowerCase().replace(/[^a-z0-9]/g, ''));

const secretShapes: readonly (readonly [RegExp, string])[] = [
  // Query parameters of signed URLs, also when the URL itself was encoded into another.
  [
    /((?:x-amz-(?:signature|credential|security-token)|x-goog-(?:signature|credential)|awsaccesskeyid|signature|sig|credential)(?:=|%3d|%253d))[^&\s"'<>,;%]+(?:%(?!26)[^&\s"'<>,;%]*)*/gi,
    `$1${hidden}`,
  ],
  // https://user:password@host
  [/(\b[a-z][a-z0-9+.-]*:\/\/)[^/\s"'@]+@/gi, `$1${hidden}@`],
  [/\b(bearer|basic)\s+[\w+/=.~-]{6,}/gi, `$1 ${hidden}`],
  // secretAccessKey: ..., "session_token":"...", AWS_SECRET_ACCESS_KEY=..., password = ...
  [
    /((?:secret[_-]?(?:access[_-]?)?key|(?:session|security|access|refresh|auth|api)[_-]?token|\btoken|password|passwd|passphrase|api[_-]?key|private[_-]?key|\bsecret)\\?["']?\s*[:=]\s*\\?["']?)[^\s"'&,;}\\]+/gi,
    `$1${hidden}`,
  ],
];

function copy(value: unknown, depth: number, parents: Set<object>): unknown {
  if (typeof value === 'string') return redactText(value);
  if (typeof value === 'bigint') return value.toString();
  if (typeof value === 'function' || typeof value === 'symbol') return `[${typeof value}]`;
  if (typeof value !== 'object' || value === null) return value;
  if (parents.has(value)) return '[circular]';
  if (depth >= depthMax) return '[too deep]';
  parents.add(value);
  try {
    return copyObject(value, depth + 1, parents);
  } catch (error) {
    return `[unreadable: ${redactText(String(error))}]`;
  } finally {
    parents.delete(value);
  }
}

function copyObject(value: object, depth: number, parents: Set<object>): unknown {
  if (value instanceof Error) return describeError(value, depth, parents);
  if (value instanceof Date) return Number.isNaN(value.getTime()) ? 'Invalid Date' : value.toISOString();
  if (value instanceof URL) return redactText(value.href);
  if (ArrayBuffer.isView(value)) return `[${value.byteLength} bytes]`;
  if (value instanceof Map) return copyFields(value.entries(), depth, parents);
  if (Array.isArray(value) || value instanceof Set) {
    const items = [...value];
    const copies = items.slice(0, itemsMax).map((item) => copy(item, depth, parents));
    return items.length > itemsMax ? [...copies, `[${items.length - itemsMax} more]`] : copies;
  }
  return copyFields(Object.entries(value), depth, parents);
}

function copyFields(fields: Iterable<[unknown, unknown]>, depth: number, parents: Set<object>) {
  const result: Record<string, unknown> = {};
  let count = 0;
  for (const [key, field] of fields) {
    if (++count > itemsMax) {
      result['...'] = 'more fields left out';
      break;
    }
    const name = String(key);
    const secret = isSecretName(name) && field !== undefined && field !== null;
    result[redactText(name)] = secret ? hidden : copy(field, depth, parents);
  }
  return result;
}

/**
 * What an error is worth in a log: type, code, message, details, causes. The stack only where it helps: bugs of ours
 * and errors that nobody gave a code. Of foreign errors a few known fields, because clients hang whole requests, with
 * their headers, on theirs.
 */
function describeError(error: Error, depth: number, parents: Set<object>): Record<string, unknown> {
  const ours = error instanceof ArtifactError;
  const described: Record<string, unknown> = { type: error.name, message: redactText(error.message) };
  const fields = error as Error & Record<string, unknown>;
  if (ours) {
    described['code'] = error.code;
    if (Object.keys(error.details).length > 0) described['details'] = copy(error.details, depth, parents);
  } else {
    for (const name of ['code', 'syscall', 'path', '$metadata']) {
      if (fields[name] !== undefined) described[name] = copy(fields[name], depth, parents);
    }
  }
  if ((!ours || error.code === 'Internal') && error.stack !== undefined) {
    described['stack'] = redactText(error.stack);
  }
  if (error instanceof AggregateError) described['errors'] = copy(error.errors, depth, parents);
  // Causes do not count as depth: the last one is mostly the one that matters.
  if (error.cause !== undefined) {
    described['cause'] = parents.size > causesMax ? '[more causes]' : copy(error.cause, depth - 1, parents);
  }
  return described;
}
