const rangesMax = 32;

/**
 * How far a file has been written from its beginning without a gap. The kernel's requests overtake each other, so a
 * few ranges beyond the frontier are remembered until it reaches them.
 */
export class Frontier {
  #end = 0;
  #beyond: [number, number][] = [];

  get end(): number {
    return this.#end;
  }

  add(offset: number, length: number): void {
    const end = offset + length;
    if (offset > this.#end) {
      this.#beyond.push([offset, end]);
      if (this.#beyond.length > rangesMax) this.#beyond.shift();
      return;
    }
    if (end > this.#end) this.#end = end;
    while (this.#beyond.length > 0) {
      const next = this.#beyond.findIndex(([start]) => start <= this.#end);
      if (next < 0) return;
      const [[, reach]] = this.#beyond.splice(next, 1) as [[number, number]];
      if (reach > this.#end) this.#end = reach;
    }
  }
}
