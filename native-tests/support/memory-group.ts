import { existsSync, mkdirSync, readFileSync, rmdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';

/**
 * A control group with a limit of memory, inside of this process's own: version 1 or 2, whichever has the controller.
 * As root on Linux there must be one; `create` answers null for others, and where no group can be made for lack of a
 * writable hierarchy.
 */
export class MemoryGroup implements Disposable {
  readonly #path: string;
  readonly #killsFile: string;

  private constructor(path: string, killsFile: string) {
    this.#path = path;
    this.#killsFile = killsFile;
  }

  static create(bytes: number): MemoryGroup | null {
    if (process.getuid?.() !== 0) return null;
    const groups = readFileSync('/proc/self/cgroup', 'utf8');
    const [, first] = /^\d+:(?:[^:]*,)?memory(?:,[^:]*)?:(.*)$/m.exec(groups) ?? [];
    const [, second = '/'] = /^0::(.*)$/m.exec(groups) ?? [];
    const name = `artifactfs-test-${process.pid}-${Date.now()}`;
    return first === undefined
      ? MemoryGroup.#make(join('/sys/fs/cgroup', second), name, 'memory.max', 'memory.events', bytes)
      : MemoryGroup.#make(
          join('/sys/fs/cgroup/memory', first),
          name,
          'memory.limit_in_bytes',
          'memory.oom_control',
          bytes,
        );
  }

  static #make(
    parent: string,
    name: string,
    limitFile: string,
    killsFile: string,
    bytes: number,
  ): MemoryGroup | null {
    // In a container the path of the group is not visible; its root is ours.
    const base = existsSync(parent)
      ? parent
      : parent.startsWith('/sys/fs/cgroup/memory')
        ? '/sys/fs/cgroup/memory'
        : '/sys/fs/cgroup';
    const path = join(base, name);
    try {
      mkdirSync(path);
    } catch (error) {
      if ((error as NodeJS.ErrnoException).code === 'EROFS') return null; // as containers have it
      throw error;
    }
    if (!existsSync(join(path, limitFile))) {
      rmdirSync(path);
      return null; // the controller is not handed down to here
    }
    writeFileSync(join(path, limitFile), String(bytes));
    return new MemoryGroup(path, join(path, killsFile));
  }

  /** Put before a command, it starts inside of the group. */
  get command(): readonly string[] {
    return ['/bin/sh', '-c', 'echo $$ > "$0/cgroup.procs" && exec "$@"', this.#path];
  }

  /** Processes that the kernel has killed for taking more. */
  get kills(): number {
    const [, count] = /^oom_kill (\d+)$/m.exec(readFileSync(this.#killsFile, 'utf8')) ?? [];
    return Number(count);
  }

  [Symbol.dispose](): void {
    for (let tries = 0; ; tries++) {
      try {
        rmdirSync(this.#path);
        return;
      } catch (error) {
        if (tries === 0) this.#moveOut();
        if (tries > 100) throw error;
        Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 50);
      }
    }
  }

  /** What still runs in it goes to the group around it. */
  #moveOut(): void {
    const parent = join(this.#path, '..', 'cgroup.procs');
    for (const pid of readFileSync(join(this.#path, 'cgroup.procs'), 'utf8').split('\n').filter(Boolean)) {
      writeFileSync(parent, pid);
    }
  }
}
