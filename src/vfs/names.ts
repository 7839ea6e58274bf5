import { ArtifactError } from '../model/errors.js';
import { limits } from '../model/limits.js';

export const controlName = '.artifact';
export const workspaceControlName = '.artifactfs';

/** Throws for a name that no directory can hold. A UTF-16 unit is at most three bytes of UTF-8, so most need no count. */
export function checkName(name: string): void {
  if (name.length * 3 > limits.nameBytesMax && Buffer.byteLength(name) > limits.nameBytesMax) {
    throw new ArtifactError('NameTooLong', `${name.slice(0, 40)}...: over ${limits.nameBytesMax} bytes`);
  }
}

/** Splits 'NAME@REF' at its last '@'; undefined for any other name. */
export function splitReference(name: string): { name: string; reference: string } | undefined {
  const at = name.lastIndexOf('@');
  if (at <= 0 || at === name.length - 1) return undefined;
  return { name: name.slice(0, at), reference: name.slice(at + 1) };
}
