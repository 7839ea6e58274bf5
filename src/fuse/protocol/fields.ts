const twoTo32 = 2 ** 32;

/** Seconds the kernel may believe something: more than it can count to means for ever. */
const secondsMax = 2 ** 31;

/** Memory seen as the fields of the protocol's structures; places are counted in 4-byte words. */
export class Fields {
  readonly bytes: Buffer;
  readonly #words: Uint32Array;
  readonly #wide: BigUint64Array;

  constructor(length: number) {
    this.bytes = Buffer.allocUnsafeSlow(length);
    this.#words = new Uint32Array(this.bytes.buffer, 0, length >> 2);
    this.#wide = new BigUint64Array(this.bytes.buffer, 0, length >> 3);
  }

  zero(word: number, words: number): void {
    this.#words.fill(0, word, word + words);
  }

  /** Two 16-bit fields in one word. */
  u16(word: number, first: number, second: number): void {
    this.#words[word] = (first & 0xffff) | (second << 16);
  }

  /** Any integer, kept modulo 2^32. */
  u32(word: number, value: number): void {
    this.#words[word] = value;
  }

  /** Any integer a double holds exactly; negative ones in two's complement. */
  u64(word: number, value: number): void {
    this.#words[word] = value;
    this.#words[word + 1] = Math.floor(value / twoTo32);
  }

  /** What `u64` put there, from 0 on. */
  u64At(word: number): number {
    return (this.#words[word] as number) + (this.#words[word + 1] as number) * twoTo32;
  }

  u32At(word: number): number {
    return this.#words[word] as number;
  }

  /** `word` is even. */
  big64(word: number, value: bigint): void {
    this.#wide[word >> 1] = value;
  }

  /** A time-out: 64-bit seconds at one place, nanoseconds at another. Infinity means for ever. */
  seconds(secondsWord: number, nanosecondsWord: number, value: number): void {
    const seconds = value > 0 ? Math.min(value, secondsMax) : 0;
    const whole = Math.floor(seconds);
    this.#words[secondsWord] = whole;
    this.#words[secondsWord + 1] = 0;
    this.#words[nanosecondsWord] = Math.floor((seconds - whole) * 1e9);
  }
}
