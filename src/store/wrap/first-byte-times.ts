const samplesMax = 256;
/** Fewer tell nothing about one in a hundred. */
const samplesMin = 32;
/** The figure is made anew when so many were added. */
const samplesPerLook = 16;

/** How long the first byte of an answer took lately. */
export class FirstByteTimes {
  readonly #samples = new Float64Array(samplesMax);
  #added = 0;
  #p99: number | undefined;

  add(ms: number): void {
    this.#samples[this.#added++ % samplesMax] = ms;
    if (this.#added < samplesMin || this.#added % samplesPerLook !== 0) return;
    const sorted = this.#samples.slice(0, Math.min(this.#added, samplesMax)).sort();
    this.#p99 = sorted[Math.floor(sorted.length * 0.99)];
  }

  /** Milliseconds that 99 of 100 did not exceed; undefined while too few are known. */
  get p99(): number | undefined {
    return this.#p99;
  }
}
