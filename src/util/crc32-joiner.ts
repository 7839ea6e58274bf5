/** The polynomial of CRC-32, bits reversed. */
const polynomial = 0xedb88320;

/**
 * Joins checksums instead of reading the bytes again: the CRC32 of two byte strings, one after the other, from the CRC32 of
 * each. All second ones have the same length, for which a matrix over single bits is made once.
 */
export class Crc32Joiner {
  /** What a CRC32 with one bit set becomes when so many zero bytes follow. */
  readonly #columns: Uint32Array;

  /** `bytes`: the length of what is appended, above 0. */
  constructor(bytes: number) {
    // For one zero bit, then for twice as many each time.
    let power = Uint32Array.from({ length: 32 }, (_, bit) => (bit === 0 ? polynomial : 2 ** (bit - 1)));
    let columns: Uint32Array | null = null;
    for (let bits = bytes * 8; bits > 0; bits = Math.floor(bits / 2)) {
      if (bits % 2 === 1) columns = columns === null ? power : columns.map((column) => apply(power, column));
      power = power.map((column) => apply(power, column));
    }
    this.#columns = columns ?? power;
  }

  join(first: number, second: number): number {
    return (apply(this.#columns, first) ^ second) >>> 0;
  }
}

function apply(columns: Uint32Array, crc: number): number {
  let sum = 0;
  for (let bit = 0, rest = crc; rest !== 0; bit++, rest >>>= 1) if (rest & 1) sum ^= columns[bit] ?? 0;
  return sum >>> 0;
}
