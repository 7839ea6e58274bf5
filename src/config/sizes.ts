import { ArtifactError } from '../model/errors.js';

const factors: Readonly<Record<string, number>> = {
  '': 1,
  b: 1,
  k: 2 ** 10,
  kib: 2 ** 10,
  m: 2 ** 20,
  mib: 2 ** 20,
  g: 2 ** 30,
  gib: 2 ** 30,
  t: 2 ** 40,
  tib: 2 ** 40,
  kb: 1e3,
  mb: 1e6,
  gb: 1e9,
  tb: 1e12,
};

/** Bytes from '512MiB', '1.5 GiB', '64M' (binary), '10GB' (decimal) or '4096'. Case does not matter. */
export function parseBytes(text: string): number {
  const match = /^\s*(\d+(?:\.\d+)?)\s*([a-z]*)\s*$/i.exec(text);
  const factor = factors[match?.[2]?.toLowerCase() ?? 'none'];
  if (match === null || factor === undefined) {
    throw new ArtifactError('Invalid', `'${text}' is no size`, { hint: 'write it like 512MiB or 20GiB' });
  }
  const bytes = Math.floor(Number(match[1]) * factor);
  if (!Number.isSafeInteger(bytes)) throw new ArtifactError('TooLarge', `size ${text} is too large`);
  return bytes;
}

const units = ['B', 'KiB', 'MiB', 'GiB', 'TiB', 'PiB'] as const;

/** The shortest exact or rounded form that `parseBytes` reads: 512MiB, 1.5GiB, 17B. */
export function formatBytes(bytes: number): string {
  let value = bytes;
  let unit = 0;
  while (Math.abs(value) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  // 1023.96 would print as 1024.0 of the smaller unit.
  if (Math.abs(Number(value.toFixed(1))) >= 1024 && unit < units.length - 1) {
    value /= 1024;
    unit++;
  }
  const digits = value.toFixed(Number.isInteger(value) ? 0 : 1).replace(/\.0$/, '');
  return `${digits}${units[unit]}`;
}
