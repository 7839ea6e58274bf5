import { type Finding, findingPathsMax } from './findings.js';

/** Versions and files that one damage concerns, gathered while trees are walked. */
export class Affected {
  readonly #versions = new Set<number>();
  readonly #files = new Set<string>();
  #names = 0;

  version(version: number): void {
    this.#versions.add(version);
  }

  file(path: string): void {
    this.#files.add(path);
  }

  /** So many files of which the names are not known. */
  unnamed(files: number): void {
    this.#names = Math.max(this.#names, files);
  }

  completed(finding: Finding): Finding {
    const files = [...this.#files].sort();
    return {
      ...finding,
      versions: [...this.#versions].sort((a, b) => a - b),
      files: files.slice(0, findingPathsMax),
      fileCount: Math.max(this.#names, files.length),
    };
  }
}
