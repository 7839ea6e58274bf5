// Nothing hangs for ever: the store stops answering in the middle, and readers, writers, commits and the unmount end.
// Each test has a watchdog far above what it takes, so that a hang fails here instead of blocking.
import { type ChildProcess, spawn } from 'node:child_process';
import { readFile } from 'node:fs/promises';
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { daemonStats } from './support/daemon-stats.js';
import { type S3Store, testServer } from './support/s3.js';
import { type Machine, sleep, World } from './support/world.js';

let store: S3Store & { server: NonNullable<S3Store['server']> };
let world: World;
const started: Program[] = [];

beforeAll(async () => {
  store = await testServer();
  world = new World(store.options);
  const writer = world.machine('writer');
  await writer.mount();
  await writer.sh(`
    for name in slow other third; do
      mkdir "$MNT/$name"
      head -c 20000000 /dev/urandom > "$MNT/$name/large"
      echo "small file of $name" > "$MNT/$name/small"
      echo one > "$MNT/$name/.artifact/commit"
    done`);
  await writer.unmount();
});
afterAll(async () => {
  await store.server.control.clearFaults();
  await world[Symbol.asyncDispose]();
  await store.close();
});

/** A process on the mount; never waited for without a limit. */
class Program {
  readonly child: ChildProcess;
  output = '';
  #ended: { code: number | null; signal: string | null } | null = null;

  constructor(machine: Machine, file: string, args: readonly string[]) {
    this.child = spawn(file, args, {
      env: { ...machine.env, MNT: machine.mnt },
      cwd: machine.directory,
      stdio: ['ignore', 'pipe', 'pipe'],
    });
    this.child.stdout?.on('data', (chunk: Buffer) => (this.output += chunk.toString('latin1')));
    this.child.stderr?.on('data', (chunk: Buffer) => (this.output += chunk.toString('latin1')));
    this.child.on('exit', (code, signal) => (this.#ended = { code, signal }));
    started.push(this);
  }

  get hasEnded(): boolean {
    return this.#ended !== null;
  }

  kill(signal: NodeJS.Signals): void {
    this.child.kill(signal);
  }

  async end(watchdogMs = 150_000): Promise<{ code: number | null; signal: string | null }> {
    const deadline = Date.now() + watchdogMs;
    while (this.#ended === null) {
      if (Date.now() > deadline) throw new Error(`still running after ${watchdogMs} ms: ${this.output}`);
      await sleep(20);
    }
    return this.#ended;
  }
}

const shell = (machine: Machine, script: string): Program =>
  new Program(machine, '/bin/bash', ['-c', `exec ${script}`]);
const python = (machine: Machine, script: string): Program =>
  new Program(machine, 'python3', ['-c', `import os, mmap, signal, sys\nmnt = os.environ["MNT"]\n${script}`]);

/** GETs of data of one artifact, or of everything, are never answered. */
const stallData = (): Promise<void> =>
  store.server.control.addFault({ on: 'GetObject', key: '/d/', effect: { kind: 'stall' } });
const stallEverything = (): Promise<void> => store.server.control.addFault({ effect: { kind: 'stall' } });

interface Stats {
  readonly requests: { readonly pending: number; readonly oldestPendingMs: number; readonly givenUp: number };
  readonly loopDelay: { readonly maxMs: number };
  readonly counters: Record<string, number>;
}

/** Until a request waits, and has waited for so long. */
async function untilPending(machine: Machine, ms = 0): Promise<void> {
  await expect
    .poll(
      async () => {
        const { requests } = await daemonStats<Stats>(machine);
        return requests.pending > 0 && requests.oldestPendingMs > ms;
      },
      { timeout: 60_000 },
    )
    .toBe(true);
}

async function untilCommitting(machine: Machine, name: string): Promise<void> {
  const status = machine.path(name, '.artifact/status');
  await expect.poll(async () => JSON.parse(await readFile(status, 'utf8')).committing).not.toBeNull();
}

let m: Machine;
let count = 0;
beforeEach(async () => {
  m = world.machine(`m${count++}`);
});
afterEach(async () => {
  for (const program of started.splice(0)) if (!program.hasEnded) program.kill('SIGKILL');
  await store.server.control.clearFaults();
  await m.kill('SIGKILL');
});

describe('a store that stops answering', () => {
  test.each(['SIGINT', 'SIGTERM', 'SIGKILL'] as const)('%s ends cat of a file at once', async (signal) => {
    await m.mount();
    await stallData();
    const cat = shell(m, 'cat "$MNT/slow/large"');
    await untilPending(m);
    cat.kill(signal);
    expect((await cat.end()).signal).toBe(signal);
  });

  test.each(['SIGINT', 'SIGKILL'] as const)(
    '%s ends a read with O_DIRECT, which the kernel says nothing of',
    async (signal) => {
      await m.mount();
      await stallData();
      const reader = python(
        m,
        'signal.signal(signal.SIGINT, signal.SIG_DFL)\nfd = os.open(mnt + "/slow/large", os.O_RDONLY | os.O_DIRECT)\nos.preadv(fd, [mmap.mmap(-1, 1 << 20)], 0)',
      );
      await untilPending(m);
      reader.kill(signal);
      expect((await reader.end()).signal).toBe(signal);
    },
  );

  test('a program that catches Ctrl-C gets EINTR from a look-up', async () => {
    await m.mount();
    await stallEverything();
    const program = python(
      m,
      'def stop(*_):\n  print("caught", flush=True); sys.exit(42)\nsignal.signal(signal.SIGINT, stop)\nos.stat(mnt + "/third/small")',
    );
    await untilPending(m);
    program.kill('SIGINT');
    expect((await program.end()).code).toBe(42);
  });

  test('a signal that ends nothing does not interrupt a look-up', async () => {
    await m.mount();
    await store.server.control.set({ latencyMs: 700 });
    const program = python(
      m,
      'signal.signal(signal.SIGALRM, lambda *_: None)\nsignal.setitimer(signal.ITIMER_REAL, 0.05, 0.05)\nimport ctypes\nlibc = ctypes.CDLL(None, use_errno=True)\nfd = libc.open((mnt + "/third/small").encode(), 0)\nprint(fd >= 0, ctypes.get_errno(), flush=True)',
    );
    await program.end();
    await store.server.control.set({ latencyMs: 0 });
    expect(program.output).toBe('True 0\n');
  });

  test.each([
    ['ls', 'ls "$MNT/other"'],
    ['find', 'find "$MNT/other"'],
    ['cat', 'cat "$MNT/other/small"'],
    ['a version', 'stat "$MNT/other@v0/small"'],
    ['touch', 'touch "$MNT/other/new"'],
    ['mkdir', 'mkdir "$MNT/other/dir"'],
    ['rm', 'rm "$MNT/other/small"'],
    ['mv', 'mv "$MNT/other/small" "$MNT/other/else"'],
  ])('Ctrl-C ends %s in an artifact that was never opened', async (_, command) => {
    await m.mount();
    await stallEverything();
    const program = shell(m, command);
    await untilPending(m);
    program.kill('SIGINT');
    expect((await program.end()).signal).toBe('SIGINT');
  });

  test('what is cached works, in the same artifact, too', async () => {
    await m.mount();
    await m.sh('cat "$MNT/slow/small" "$MNT/other/large" > /dev/null; ls -lR "$MNT/slow" "$MNT/other"');
    await stallData();
    const readers = Array.from({ length: 40 }, () => shell(m, 'cat "$MNT/slow/large"'));
    await untilPending(m);
    const outcome = shell(
      m,
      'timeout 140 bash -c \'cat "$MNT/slow/small" && ls -lR "$MNT/slow" "$MNT/other" > /dev/null && cat "$MNT/other/large" | wc -c && echo new > "$MNT/slow/new" && cat "$MNT/slow/new" && rm "$MNT/slow/new"\'',
    );
    expect((await outcome.end()).code).toBe(0);
    expect(outcome.output).toBe('small file of slow\n20000000\nnew\n');
    expect(readers.every((reader) => !reader.hasEnded)).toBe(true);
  });

  test('one artifact whose data does not come stops no other', async () => {
    await m.mount();
    const { artifactId } = JSON.parse(await m.sh('cat "$MNT/slow/.artifact/status"'));
    await store.server.control.addFault({
      on: 'GetObject',
      key: `${artifactId}/d/`,
      effect: { kind: 'stall' },
    });
    const readers = [0, 1, 2, 3, 4, 5].flatMap((part) => [
      python(m, `os.pread(os.open(mnt + "/slow/large", os.O_RDONLY), 1 << 20, ${part} * 3000000)`),
      shell(m, 'cat "$MNT/slow/large"'),
    ]);
    await untilPending(m);
    await sleep(500);
    const other = shell(m, 'cat "$MNT/third/large"');
    expect((await other.end()).code).toBe(0);
    expect(readers.every((reader) => !reader.hasEnded)).toBe(true);
  });
});

describe('--request-timeout', () => {
  test('fails a look-up with ETIMEDOUT, in words in the log', async () => {
    await m.mount('--request-timeout', '2');
    await stallEverything();
    const program = shell(m, 'stat "$MNT/other/small"');
    expect((await program.end()).code).toBe(1);
    expect(program.output).toMatch(/timed out/i);
    expect(m.output).toMatch(/no answer within 2 s/);
  });

  test('fails a read, in words in last-error, and the file can be read later', async () => {
    await m.mount('--request-timeout', '5');
    await m.sh('ls "$MNT/slow"');
    await stallData();
    const program = shell(m, 'cat "$MNT/slow/large"');
    expect((await program.end()).code).toBe(1);
    expect(program.output).toMatch(/timed out|input\/output error/i);
    expect(await m.sh('cat "$MNT/slow/.artifact/last-error"')).toMatch(
      /read \/slow\/large: no answer within 5 s/,
    );
    await store.server.control.clearFaults();
    const again = shell(m, 'cat "$MNT/slow/large"');
    expect((await again.end()).code).toBe(0);
    expect(again.output).toHaveLength(20_000_000);
  });

  test('does not end a commit, which Ctrl-C does', async () => {
    await m.mount('--request-timeout', '2');
    await m.sh('mkdir "$MNT/new"; echo text > "$MNT/new/file"');
    await stallEverything();
    const commit = shell(m, 'sh -c \'echo message > "$MNT/new/.artifact/commit"\'');
    await untilCommitting(m, 'new');
    await untilPending(m, 3_000);
    expect(commit.hasEnded).toBe(false);
    await untilCommitting(m, 'new');
    commit.kill('SIGINT');
    await commit.end();
    await store.server.control.clearFaults();
    await m.sh('echo message > "$MNT/new/.artifact/commit"');
    expect(await m.sh('cat "$MNT/new@v0/file"')).toBe('text\n');
  });
});

describe('the end of a mount whose store is away', () => {
  test('unmount --force takes it away although a reader hangs, and the daemon ends within --stop-timeout', async () => {
    await m.mount('--stop-timeout', '2');
    await stallData();
    const cat = shell(m, 'cat "$MNT/slow/large"');
    await untilPending(m);
    const busy = new Program(m, process.execPath, [cli(), 'unmount', m.mnt]);
    expect((await busy.end()).code).not.toBe(0);
    expect(busy.output).toMatch(/in use/);
    const forced = new Program(m, process.execPath, [cli(), 'unmount', '--force', m.mnt]);
    expect((await forced.end()).code).toBe(0);
    expect(m.isMounted()).toBe(false);
    await cat.end();
    await expect.poll(() => m.running, { timeout: 60_000 }).toBe(false);
  });

  test('SIGTERM ends the daemon within --stop-timeout and leaves no mount', async () => {
    await m.mount('--stop-timeout', '2');
    await stallEverything();
    const ls = shell(m, 'ls "$MNT/other"');
    await untilPending(m);
    process.kill(m.pid, 'SIGTERM');
    await expect.poll(() => m.running, { timeout: 60_000 }).toBe(false);
    expect(m.isMounted()).toBe(false);
    expect((await ls.end()).code).not.toBe(0);
  });

  test('a second SIGTERM ends it at once and leaves no mount', async () => {
    await m.mount('--stop-timeout', '600');
    await m.sh('mkdir "$MNT/mine"; echo text > "$MNT/mine/file"');
    await stallEverything();
    const commit = new Program(m, process.execPath, [cli(), 'commit', '-m', 'never', m.path('mine')]);
    await untilCommitting(m, 'mine');
    process.kill(m.pid, 'SIGTERM');
    await sleep(500);
    expect(m.running, 'the first waits for the commit').toBe(true);
    process.kill(m.pid, 'SIGTERM');
    await expect.poll(() => m.running, { timeout: 60_000 }).toBe(false);
    expect(m.isMounted()).toBe(false);
    await commit.end();
  });
});

describe('the health of a mount', () => {
  test('stats tells what waits and for how long', async () => {
    await m.mount();
    await stallEverything();
    const program = shell(m, 'ls "$MNT/other"');
    await untilPending(m, 250);
    const { stdout } = await m.artifactfs('stats', '--json', m.mnt);
    const { requests, loopDelay, counters } = JSON.parse(stdout) as Stats;
    expect(requests.pending).toBeGreaterThan(0);
    expect(requests.oldestPendingMs).toBeGreaterThan(250);
    expect(loopDelay.maxMs).toBeGreaterThan(0);
    expect(counters['fuse.lookup']).toBeGreaterThan(0);
    program.kill('SIGKILL');
    await program.end();
    expect((await m.artifactfs('stats', m.mnt)).stdout).toMatch(/event loop/);
  });

  test.each([
    ['cat', 'cat "$MNT/.artifactfs/accesslog"', '--write-cache'],
    // With the write cache the kernel keeps sizes and times of files by itself, and tail looks at these.
    ['tail -f', 'tail -f "$MNT/.artifactfs/accesslog"', '--no-write-cache'],
  ])('accesslog can be followed with %s', async (_, command, flag) => {
    await m.mount(flag);
    const reader = shell(m, command);
    await expect
      .poll(
        async () => {
          await m.sh('ls "$MNT/slow" > /dev/null; cat "$MNT/missing $RANDOM$RANDOM" 2> /dev/null || true');
          return reader.output;
        },
        { timeout: 60_000 },
      )
      .toMatch(/ lookup "\/missing \d+" \[uid:\d+,gid:\d+,pid:\d+\] ENOENT \d+\.\d{3}ms$/m);
    expect(reader.output).toMatch(/^\d{4}-\S+Z opendir \/slow \[uid:\d+,gid:\d+,pid:\d+\] OK \d+\.\d{3}ms$/m);
    expect(reader.output).not.toMatch(/accesslog/);
    reader.kill('SIGINT');
    expect((await reader.end()).signal).toBe('SIGINT');
  });
});

function cli(): string {
  return `${import.meta.dirname}/../dist/bin/main.js`;
}
