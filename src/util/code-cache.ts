import { readFileSync, renameSync, writeFileSync } from 'node:fs';
import { createRequire } from 'node:module';
import { join } from 'node:path';
import { Script, constants as vmConstants } from 'node:vm';
import { crc32 } from 'node:zlib';

interface LoadedFile {
  readonly exports: unknown;
}

type Run = (
  exports: unknown,
  require: (name: string) => unknown,
  module: LoadedFile,
  filename: string,
  dirname: string,
) => void;

interface Compiled {
  readonly script: Script;
  readonly sourceCrc: number;
}

/** CRC-32 of the file of the program, and of what V8 made of it, which follows. */
const headerBytes = 8;

/**
 * Runs the files of the bundled program (CommonJS, in one directory) with what V8 compiled of them when it was built, which
 * spares a third of a start. That lies beside each file, so that who can write it could as well write the program: V8 believes
 * it. It is used when it belongs to that very file, is whole, and V8 is the same, with the same flags; without it all goes as well.
 */
export class CodeCache {
  readonly #program: string;
  readonly #modules = new Map<string, LoadedFile>();
  readonly #compiled = new Map<string, Compiled>();
  readonly #outside: NodeJS.Require;

  /** `program` is the directory of the bundle. */
  constructor(program: string) {
    this.#program = program;
    this.#outside = createRequire(join(program, 'main.js'));
  }

  /** What the file `name` of the bundle exports. Throws when it is missing, and what it throws; it may be loaded again then. */
  load(name: string): unknown {
    const loaded = this.#modules.get(name);
    if (loaded !== undefined) return loaded.exports;
    const compiled = this.#compile(name);
    const module: LoadedFile = { exports: {} };
    this.#modules.set(name, module);
    const require = (wanted: string): unknown =>
      wanted.startsWith('./') ? this.load(wanted.slice(2)) : this.#outside(wanted);
    try {
      const run = compiled.script.runInThisContext() as Run;
      run(module.exports, require, module, join(this.#program, name), this.#program);
    } catch (error) {
      this.#modules.delete(name);
      throw error;
    }
    this.#compiled.set(name, compiled);
    return module.exports;
  }

  /** Keeps what V8 has compiled by now, beside the files that were loaded. For the build: a running program writes nothing there. */
  save(): void {
    for (const [name, { script, sourceCrc }] of this.#compiled) {
      const data = script.createCachedData();
      const header = Buffer.alloc(headerBytes);
      header.writeUInt32LE(sourceCrc, 0);
      header.writeUInt32LE(crc32(data), 4);
      const path = this.#keptPath(name);
      writeFileSync(`${path}.tmp`, Buffer.concat([header, data]));
      renameSync(`${path}.tmp`, path);
    }
  }

  #compile(name: string): Compiled {
    const filename = join(this.#program, name);
    const bytes = readFileSync(filename);
    const sourceCrc = crc32(bytes);
    const cachedData = this.#kept(name, sourceCrc);
    const wrapped = `(function (exports, require, module, __filename, __dirname) { ${bytes.toString()}\n})`;
    const script = new Script(wrapped, {
      filename,
      ...(cachedData === undefined ? {} : { cachedData }),
      importModuleDynamically: vmConstants.USE_MAIN_CONTEXT_DEFAULT_LOADER,
    });
    return { script, sourceCrc };
  }

  /** Undefined: nothing is kept that belongs to this file. */
  #kept(name: string, sourceCrc: number): Buffer | undefined {
    let bytes: Buffer;
    try {
      bytes = readFileSync(this.#keptPath(name));
    } catch {
      return undefined;
    }
    if (bytes.length < headerBytes) return undefined;
    const data = bytes.subarray(headerBytes);
    const isWhole = bytes.readUInt32LE(0) === sourceCrc && bytes.readUInt32LE(4) === crc32(data);
    return isWhole ? data : undefined;
  }

  #keptPath(name: string): string {
    return join(this.#program, `${name}.code`);
  }
}
