// The working view, used with the programs people use. One mount, one artifact per program; each is compared with the
// same work in a local directory, then committed and read back by a machine that knows nothing.
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { differences, fingerprint } from './support/fingerprint.js';
import { type Machine, World } from './support/world.js';

const world = new World();
const here = world.machine('here');
const local = join(world.directory, 'local');

beforeAll(async () => {
  mkdirSync(local);
  await here.mount();
});
afterAll(() => world[Symbol.asyncDispose]());

/** Runs the same script in a new artifact and in a local directory ($D), and compares the two trees. */
async function same(name: string, script: string, timeoutMs = 120_000): Promise<void> {
  const reference = join(local, name);
  mkdirSync(reference);
  await here.sh(`D='${reference}'\ncd "$D"\n${script}`, { timeoutMs });
  mkdirSync(here.path(name));
  await here.sh(`D='${here.path(name)}'\ncd "$D"\n${script}`, { timeoutMs });
}

const withoutTimes = (lines: string[]): string[] => lines.map((line) => line.replace(/ \d{10,}( |$)/, '$1'));

const preparedTree = `
  mkdir -p src/deep/er && echo one > src/one && echo two > src/deep/two && ln -s ../one src/deep/link && ln -s nowhere src/dangling
  printf '#!/bin/sh\\necho run\\n' > src/deep/er/run && chmod 755 src/deep/er/run && chmod 600 src/one && mkdir src/empty
  touch -d '2001-02-03 04:05:06.123456789 UTC' src/one src/deep && head -c 3000000 /dev/urandom > src/big
  : > src/zero && touch -h -d '1999-01-01 00:00:00.5 UTC' src/deep/link && chmod 2770 src/empty && touch 'src/ünïcode 日本 name'
`;

describe('programs', () => {
  test('cp -a keeps modes, times, links and bytes', async () => {
    await here.sh(`mkdir -p "$TMP/cp" && cd "$TMP/cp" && ${preparedTree}`);
    mkdirSync(here.path('cp'));
    await here.sh('cp -a "$TMP/cp/src" "$MNT/cp/"');
    expect(
      differences(fingerprint(join(here.directory, 'tmp/cp/src')), fingerprint(here.path('cp/src'))),
    ).toEqual([]);
    await here.sh('cd "$MNT/cp" && cp -a src copy && diff -r --no-dereference src copy');
  });

  test('mv moves files and directories, within an artifact and across', async () => {
    await same(
      'mv',
      `${preparedTree}
      mv src/one src/uno && mv src/deep moved && mkdir into && mv moved into/ && mv src/uno into/moved/two
      cat into/moved/two into/moved/er/run; test "$(cat into/moved/two)" = one`,
    );
    mkdirSync(here.path('mv-target'));
    await here.sh(
      'mv "$MNT/mv/into" "$MNT/mv-target/" && test -x "$MNT/mv-target/into/moved/er/run" && test ! -e "$MNT/mv/into"',
    );
  });

  test('rm -r removes everything below', async () => {
    await same('rm', `${preparedTree} rm -r src && test -z "$(ls -A)"`);
  });

  test('tar x restores what tar c stored', async () => {
    await same(
      'tar',
      `${preparedTree} tar cf x.tar src && mkdir out && tar xpf x.tar -C out && diff -r --no-dereference src out/src && tar df x.tar && rm x.tar`,
    );
  });

  test('rsync -a finds nothing to do the second time', async () => {
    // rsync leaves a directory's or link's time alone when only its fraction of a second differs: give all an old one.
    const anOldTime = `find . -exec touch -h -d '2003-04-05 06:07:08.987654321 UTC' {} +`;
    await here.sh(`mkdir -p "$TMP/rsync" && cd "$TMP/rsync" && ${preparedTree} ${anOldTime}`);
    mkdirSync(here.path('rsync'));
    await here.sh('rsync -a "$TMP/rsync/" "$MNT/rsync/"');
    const again = await here.sh('rsync -ai "$TMP/rsync/" "$MNT/rsync/"');
    expect(again.trim()).toBe('');
    expect(
      differences(fingerprint(join(here.directory, 'tmp/rsync')), fingerprint(here.path('rsync'))),
    ).toEqual([]);
  });

  test('vim edits a file, with swap and backup files', async () => {
    await same(
      'vim',
      `printf 'hello\\n' > f && chmod 640 f
      for i in 1 2 3; do vim.tiny -u NONE -n -es -c "set backup writebackup" -c "normal Aedit$i" -c wq f || vi -u NONE -es -c "normal Aedit$i" -c wq f; done
      grep -q edit3 f`,
    );
  });

  test('git init, commit, clone, gc and fsck', async () => {
    await same(
      'git',
      `export GIT_AUTHOR_DATE=2020-01-01T00:00:00Z GIT_COMMITTER_DATE=2020-01-01T00:00:00Z
      git init -q repo && cd repo && git config user.email a@b.c && git config user.name n
      for i in $(seq 60); do mkdir -p d$((i % 7)) && echo $i > d$((i % 7))/f$i; done
      git add -A && git commit -qm one && git mv d1 renamed && git commit -qm two && test -z "$(git status --porcelain)"
      git clone -q . ../clone && git gc -q && git fsck --strict && cd ../clone && git log --oneline | wc -l | grep -q 2 && git checkout -q HEAD~1`,
    );
  });

  test('npm install puts a package with a binary in place', async () => {
    await same(
      'npm',
      `mkdir -p pkg app && cd pkg && printf '{"name":"pkg","version":"1.0.0","bin":{"pkg":"run.js"}}' > package.json
      printf '#!/usr/bin/env node\\nconsole.log("pkg runs")\\n' > run.js && npm pack --silent >/dev/null && cd ../app
      printf '{"name":"app","version":"1.0.0","private":true}' > package.json && npm install --offline --no-audit --no-fund --silent ../pkg/pkg-1.0.0.tgz
      test "$(node_modules/.bin/pkg)" = 'pkg runs'`,
    );
  });

  test('python makes a virtual environment and runs from it', async () => {
    await same(
      'venv',
      `python3 -m venv --without-pip v && v/bin/python -c 'import sys; assert sys.prefix.endswith("/v"), sys.prefix'
      printf 'x = 42\\n' > mod.py && v/bin/python -c 'import mod; assert mod.x == 42' && ls __pycache__ | grep -q mod`,
    );
  });

  test('sqlite3 keeps a database with journal and with WAL', async () => {
    await same(
      'sqlite',
      `sqlite3 a.db 'create table t(x); insert into t values (1),(2); begin; insert into t values (3); commit;'
      test "$(sqlite3 a.db 'select count(*) from t')" = 3
      sqlite3 a.db 'delete from t where x = 1; vacuum; pragma integrity_check' | grep -q ok`,
    );
  });

  test('random writes, append, truncate and an unlinked open file behave as on a local disk', async () => {
    await here.sh(`cat > "$TMP/ops.py" <<"PY"\n${randomOps}\nPY`);
    await same('ops', 'python3 "$TMP/ops.py"');
    expect(
      differences(withoutTimes(fingerprint(join(local, 'ops'))), withoutTimes(fingerprint(here.path('ops')))),
    ).toEqual([]);
  });
});

const randomOps = `
import os, random
r = random.Random(7)
f = os.open('file', os.O_RDWR | os.O_CREAT, 0o644)
model = bytearray()
for i in range(600):
    op = r.randrange(5)
    if op == 0:
        n = r.randrange(1, 70000); off = r.randrange(0, len(model) + 20000); b = r.randbytes(n)
        os.pwrite(f, b, off)
        if off > len(model): model.extend(b'\\0' * (off - len(model)))
        model[off:off + n] = b
    elif op == 1:
        n = r.randrange(0, len(model) + 50000); os.ftruncate(f, n)
        if n < len(model): del model[n:]
        else: model.extend(b'\\0' * (n - len(model)))
    elif op == 2:
        b = r.randbytes(r.randrange(1, 5000)); a = os.open('file', os.O_WRONLY | os.O_APPEND); os.write(a, b); os.close(a); model.extend(b)
    else:
        off = r.randrange(0, len(model) + 10); n = r.randrange(1, 100000)
        assert os.pread(f, n, off) == bytes(model[off:off + n]), (i, off, n)
assert os.fstat(f).st_size == len(model)
assert open('file', 'rb').read() == bytes(model)
g = os.open('gone', os.O_RDWR | os.O_CREAT); os.write(g, b'still here'); os.unlink('gone')
assert not os.path.exists('gone') and os.pread(g, 100, 0) == b'still here' and os.fstat(g).st_nlink == 0
os.close(g); os.close(f)
`;

describe('commit and back', () => {
  test('another machine sees every artifact byte for byte, mode for mode, time for time', async () => {
    const names = (await here.sh('ls "$MNT"')).trim().split('\n');
    expect(names.length).toBeGreaterThan(8);
    const before = new Map<string, string[]>();
    for (const name of names) {
      before.set(name, fingerprint(here.path(name)));
      await here.sh(
        `echo 'all of ${name}' > "$MNT/${name}/.artifact/commit" || grep -q 'othing' "$MNT/${name}/.artifact/last-error"`,
      );
      expect(
        differences(before.get(name) ?? [], fingerprint(here.path(name))),
        `${name} after its commit`,
      ).toEqual([]);
    }
    const there: Machine = world.machine('there');
    await there.mount();
    for (const name of names) {
      if ((before.get(name) ?? []).length === 0) continue;
      expect(differences(before.get(name) ?? [], fingerprint(there.path(name))), name).toEqual([]);
      expect(
        differences(before.get(name) ?? [], fingerprint(there.path(`${name}@v0`))),
        `${name}@v0`,
      ).toEqual([]);
    }
  });
});
