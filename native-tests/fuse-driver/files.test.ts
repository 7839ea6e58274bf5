// The driver below programs: files, directories, names and errors, over a memory file system.
import { randomBytes } from 'node:crypto';
import { readFile, writeFile } from 'node:fs/promises';
import { join } from 'node:path';
import { afterAll, beforeAll, beforeEach, describe, expect, test } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import { undisturbed } from '../support/undisturbed.js';
import { Place } from './support.js';

let place: Place;
beforeAll(async () => {
  place = await Place.mount({}, { directIo: ['direct'] });
});
afterAll(() => place[Symbol.asyncDispose]());
beforeEach(() => {
  place.failures.length = 0;
  place.fileSystem.before = () => {};
});

const dropPageCache = (): Promise<void> => writeFile('/proc/sys/vm/drop_caches', '1');

describe('bytes', () => {
  test('come back as they were written, by the kernel and from the daemon', async () => {
    const bytes = randomBytes(5_000_000);
    const outside = join(place.directory, 'bytes');
    await writeFile(outside, bytes);
    await place.sh(`cp ../bytes bytes && cmp bytes ../bytes`);
    await dropPageCache();
    await place.sh(`cmp bytes ../bytes && test "$(stat -c %s bytes)" = ${bytes.length}`);
    expect((await readFile(join(place.mountPoint, 'bytes'))).equals(bytes)).toBe(true);
  });

  test('move in requests of 1 MiB, both ways', async () => {
    const counts = (): Record<string, number> => place.mounted?.requestCounts() ?? {};
    const before = counts();
    await place.sh('dd if=/dev/zero of=big bs=1M count=32 status=none');
    expect((counts()['write'] ?? 0) - (before['write'] ?? 0)).toBe(32);
    let reads = 0;
    await undisturbed(
      async () => {
        await place.sh('dd if=big of=/dev/null bs=1M status=none');
        // One more where read-ahead looks behind the end.
        expect((counts()['read'] ?? 0) - reads).toBeLessThanOrEqual(34);
      },
      async () => {
        await dropPageCache();
        reads = counts()['read'] ?? 0;
      },
    );
  });

  test('in the middle, at the end and behind it', async () => {
    await place.python(`
import os
f = os.open('random', os.O_CREAT | os.O_RDWR)
os.pwrite(f, b'abcdef', 0); os.pwrite(f, b'XY', 2); os.pwrite(f, b'end', 100000)
assert os.pread(f, 6, 0) == b'abXYef'
assert os.fstat(f).st_size == 100003
assert os.pread(f, 99994, 6) == bytes(99994)
os.ftruncate(f, 3); os.ftruncate(f, 6)
assert os.pread(f, 10, 0) == b'abX\\0\\0\\0'
a = os.open('random', os.O_WRONLY | os.O_APPEND)
os.write(a, b'tail'); assert os.pread(f, 10, 6) == b'tail'
t = os.open('random', os.O_WRONLY | os.O_TRUNC); assert os.fstat(t).st_size == 0
`);
  });

  test('are shared with mappings', async () => {
    await place.python(`
import mmap, os
f = os.open('mapped', os.O_CREAT | os.O_RDWR); os.write(f, b'-' * 10000)
m = mmap.mmap(f, 10000); m[5000:5003] = b'abc'; m.flush(); m.close()
assert os.pread(f, 3, 5000) == b'abc'
`);
  });

  test('of many writers at once stay apart, while the file system takes its time', async () => {
    place.fileSystem.before = () => new Promise((resolve) => setImmediate(resolve));
    await place.python(`
import threading, os
def work(i):
    data = bytes([i]) * 700001
    f = os.open(f'writer{i}', os.O_CREAT | os.O_RDWR)
    for k in range(4): os.pwrite(f, data, k * len(data))
    os.close(f)
ts = [threading.Thread(target=work, args=(i,)) for i in range(24)]
[t.start() for t in ts]; [t.join() for t in ts]
for i in range(24): assert open(f'writer{i}', 'rb').read() == bytes([i]) * (4 * 700001), i
`);
  });
});

describe('attributes', () => {
  test('are kept: mode, times to the nanosecond, also before 1970', async () => {
    await place.python(`
import os
open('times', 'w').close()
os.chmod('times', 0o4751)
os.utime('times', ns=(-1_500_000_001, 4_000_000_000_000_000_123))
s = os.stat('times')
assert s.st_mode == 0o104751, oct(s.st_mode)
assert s.st_atime_ns == -1_500_000_001 and s.st_mtime_ns == 4_000_000_000_000_000_123, s
`);
  });

  test('setuid and setgid go when somebody else changes the owner or writes', async () => {
    await place.python(`
import os
open('setid', 'w').close(); os.chmod('setid', 0o6755); os.chown('setid', 7, 8)
assert os.stat('setid').st_mode & 0o7777 == 0o755
assert (os.stat('setid').st_uid, os.stat('setid').st_gid) == (7, 8)
`);
  });

  test('the umask of the caller counts', async () => {
    expect(await place.sh('umask 027; touch masked; mkdir maskeddir; stat -c %a masked maskeddir')).toBe(
      '640\n750',
    );
  });

  test('extended attributes', async () => {
    await place.python(`
import os, errno
open('xattrs', 'w').close()
os.setxattr('xattrs', 'user.a', b'\\0value'); os.setxattr('xattrs', 'user.b', b'x' * 60000, os.XATTR_CREATE)
assert os.getxattr('xattrs', 'user.a') == b'\\0value' and len(os.getxattr('xattrs', 'user.b')) == 60000
assert sorted(os.listxattr('xattrs')) == ['user.a', 'user.b']
for call, number in ((lambda: os.setxattr('xattrs', 'user.a', b'', os.XATTR_CREATE), errno.EEXIST),
                     (lambda: os.setxattr('xattrs', 'user.c', b'', os.XATTR_REPLACE), errno.ENODATA),
                     (lambda: os.getxattr('xattrs', 'user.c'), errno.ENODATA)):
    try: call(); raise SystemExit('no error')
    except OSError as e: assert e.errno == number, e
os.removexattr('xattrs', 'user.a'); assert os.listxattr('xattrs') == ['user.b']
`);
  });

  test('of the whole file system', async () => {
    expect(await place.sh("stat -f -c '%S %b %f %a %l' .")).toBe('4096 1048576 524288 262144 255');
  });
});

describe('directories', () => {
  test('10,000 entries are listed once each, with and without attributes', async () => {
    await place.python(`
import os
os.mkdir('many')
for i in range(10000): os.close(os.open(f'many/file-{i:05}', os.O_CREAT))
assert sorted(os.listdir('many')) == [f'file-{i:05}' for i in range(10000)]
assert sum(1 for e in os.scandir('many') if e.stat().st_size == 0) == 10000
`);
    const counts = place.mounted?.requestCounts() ?? {};
    expect(counts['readdirplus']).toBeGreaterThan(0);
    await place.sh('rm -r many');
  });

  test('a position told is found again', async () => {
    await place.sh('mkdir seek && cd seek && touch $(seq 1000)');
    const script = `opendir(my $d, 'seek'); my @n; my %at;
      while (1) { my $t = telldir $d; defined(my $e = readdir $d) or last; push @n, $e; $at{$e} = $t }
      @n == 1002 or die scalar @n;
      for my $i (0, 1, 2, 500, 998, 1001) { seekdir $d, $at{$n[$i]}; readdir($d) eq $n[$i] or die "at $i" }`;
    await place.sh(`perl - <<'PERL'\n${script}\nPERL`);
  });

  test('nothing the kernel counted stays behind when it forgets', async () => {
    await place.sh(
      'mkdir -p forgotten/d && touch forgotten/d/{1..500} && ls -lR forgotten >/dev/null && rm -r forgotten',
    );
    const known = place.fileSystem.nodes.size;
    await place.sh(
      'mkdir forgotten && touch forgotten/{1..500} && ls -l forgotten >/dev/null && rm -r forgotten',
    );
    await writeFile('/proc/sys/vm/drop_caches', '2');
    await place.sh('ls >/dev/null');
    await expect.poll(() => place.fileSystem.nodes.size).toBeLessThanOrEqual(known);
    expect(place.failures).toEqual([]);
  });
});

describe('names', () => {
  const renameat2 = `
import ctypes, os, sys
libc = ctypes.CDLL(None, use_errno=True)
def rename(a, b, flags):
    r = libc.renameat2(-100, a.encode(), -100, b.encode(), flags)
    return 0 if r == 0 else ctypes.get_errno()
`;

  test('rename replaces, refuses to, or exchanges, as asked', async () => {
    await place.python(`${renameat2}
import errno
for n in 'ab':
    with open(n, 'w') as f: f.write(n)
assert rename('a', 'b', 1) == errno.EEXIST and open('b').read() == 'b'
assert rename('a', 'b', 2) == 0 and open('a').read() == 'b' and open('b').read() == 'a'
assert rename('a', 'missing', 2) == errno.ENOENT
assert rename('a', 'c', 1) == 0 and not os.path.exists('a')
assert rename('c', 'b', 4) == errno.EINVAL
assert rename('c', 'b', 0) == 0 and open('b').read() == 'b' and not os.path.exists('c')
`);
  });

  test('links, symlinks, FIFOs and devices', async () => {
    const listing = await place.sh(`
      echo x > one && ln one two && ln -s ../any/where sym && mkfifo fifo && mknod dev c 1 3 && mknod sock p
      stat -c '%n %F %h %t:%T' one sym fifo dev; readlink sym; rm one; cat two; stat -c %h two`);
    expect(listing.split('\n')).toEqual([
      'one regular file 2 0:0',
      'sym symbolic link 1 0:0',
      'fifo fifo 1 0:0',
      'dev character special file 1 1:3',
      '../any/where',
      'x',
      '1',
    ]);
  });

  test('an open file outlives its name', async () => {
    await place.python(`
import os
f = os.open('unlinked', os.O_CREAT | os.O_RDWR); os.write(f, b'still here'); os.unlink('unlinked')
assert os.pread(f, 20, 0) == b'still here' and os.fstat(f).st_nlink == 0
os.ftruncate(f, 5); assert os.pread(f, 20, 0) == b'still'
`);
  });

  test('of 255 bytes work, longer ones are ENAMETOOLONG', async () => {
    await place.python(`
import errno
open('é' * 127 + 'x', 'w').close()
try: open('é' * 128, 'w'); raise SystemExit('no error')
except OSError as e: assert e.errno == errno.ENAMETOOLONG, e
`);
  });

  test('that are not UTF-8 are EILSEQ, with the reason for whoever reads the log', async () => {
    await place.python(`
import errno
try: open(b'latin-\\xe9', 'w'); raise SystemExit('no error')
except OSError as e: assert e.errno == errno.EILSEQ, e
`);
    expect(place.failures[0]?.error.message).toContain('"latin-\\xe9" is not UTF-8');
  });
});

describe('failures', () => {
  test.each([
    ['StoreUnavailable', 'EIO'],
    ['ReadOnly', 'EROFS'],
    ['NoSpace', 'ENOSPC'],
    ['Stale', 'ESTALE'],
    ['Busy', 'EBUSY'],
    ['Conflict', 'ECANCELED'],
  ] as const)('%s is seen as %s', async (code, name) => {
    place.fileSystem.before = async (operation) => {
      if (operation === 'write') throw new ArtifactError(code, 'told so');
    };
    await place.python(`
import os, errno
f = os.open('failing', os.O_CREAT | os.O_WRONLY)
try: os.write(f, b'x'); raise SystemExit('no error')
except OSError as e: assert e.errno == errno.${name}, e
`);
  });

  test('missing names, wrong kinds and full directories', async () => {
    const said = await place.sh(`
      mkdir -p e/d; touch e/f
      LC_ALL=C; for c in 'cat e/none' 'rmdir e' 'rmdir e/f' 'unlink e/d' 'cat e/f/x' 'mkdir e' 'ln e/f e/d'; do $c 2>&1 || true; done; rm -r e`);
    expect(said.split('\n').map((line) => line.split(': ').at(-1))).toEqual([
      'No such file or directory',
      'Directory not empty',
      'Not a directory',
      'Is a directory',
      'Not a directory',
      'File exists',
    ]);
  });
});

describe('interrupts', () => {
  /** Reads wait until an interrupt or `goOn`. */
  function stall() {
    const seen = { interrupted: 0, waiting: 0, goOn: () => {} };
    const gate = new Promise<void>((resolve) => {
      seen.goOn = resolve;
    });
    place.fileSystem.before = (operation, context) => {
      if (operation !== 'read') return;
      seen.waiting += 1;
      const interrupt = new Promise<never>((_, reject) => {
        context.signal.addEventListener('abort', () => {
          seen.interrupted += 1;
          reject(new ArtifactError('Interrupted', 'given up'));
        });
      });
      return Promise.race([gate, interrupt]);
    };
    return seen;
  }

  // The kernel interrupts requests that somebody waits for directly; reads into the page cache are not among them.
  test('a signal ends a slow read with EINTR', async () => {
    await place.sh('echo content > direct');
    const seen = stall();
    const reader = place.start(`exec python3 -c '
import os, signal, sys
def stop(*_): sys.exit(42)
signal.signal(signal.SIGINT, stop)
os.read(os.open("direct", os.O_RDONLY), 4096)
'`);
    await expect.poll(() => seen.waiting).toBe(1);
    process.kill(reader.pid, 'SIGINT');
    expect(await reader.outcome).toMatchObject({ code: 42 });
    expect(seen).toMatchObject({ waiting: 1, interrupted: 1 });
    expect(place.failures).toEqual([]);
  });

  test('a reader that is killed takes its request back', async () => {
    await place.sh('echo content > direct');
    const seen = stall();
    const reader = place.start('exec cat direct');
    await expect.poll(() => seen.waiting).toBe(1);
    process.kill(reader.pid, 'SIGKILL');
    expect((await reader.outcome).code).not.toBe(0);
    await expect.poll(() => place.mounted?.pending().count).toBe(0);
    expect(seen).toMatchObject({ waiting: 1, interrupted: 1 });
  });

  test('look-ups, reads and interrupts get through while 150 large writes wait', async () => {
    await place.sh('echo content > small; for i in $(seq 150); do : > "out-$i"; done');
    let waiting = 0;
    let goOn = (): void => {};
    const gate = new Promise<void>((resolve) => {
      goOn = resolve;
    });
    place.fileSystem.before = (operation) => {
      if (operation !== 'write') return;
      waiting += 1;
      return gate;
    };
    const writers = place.start(`exec python3 -c '
import os, threading
data = bytes(1 << 20)
def write(i): os.write(os.open(f"out-{i + 1}", os.O_WRONLY), data)
threads = [threading.Thread(target=write, args=(i,)) for i in range(150)]
for thread in threads: thread.start()
for thread in threads: thread.join()
'`);
    await expect.poll(() => waiting).toBe(150);
    expect(
      await place.sh('timeout 100 bash -c "cat small; ls out-150; stat -c %s out-1; mkdir made; rmdir made"'),
    ).toBe('content\nout-150\n0');
    goOn();
    expect((await writers.outcome).code).toBe(0);
  });

  test('a reader of the page cache can be killed, and others go on meanwhile', async () => {
    await place.sh('echo content > slow');
    await dropPageCache();
    const seen = stall();
    const reader = place.start('exec cat slow');
    await expect.poll(() => seen.waiting).toBeGreaterThan(0);
    await place.sh('stat . && touch meanwhile && ls');
    process.kill(reader.pid, 'SIGKILL');
    expect((await reader.outcome).code).not.toBe(0);
    seen.goOn();
    await expect.poll(() => place.mounted?.pending().count).toBe(0);
    expect(await place.sh('cat slow')).toBe('content');
  });
});
