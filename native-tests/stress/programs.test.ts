// Programs that are hard on a file system, and check themselves: databases, version control, package managers, archives
// with hard links and holes, mapped files, an image that is mounted in its turn.
import { mkdirSync } from 'node:fs';
import { afterAll, beforeAll, expect, test } from 'vitest';
import { World } from '../support/world.js';

const world = new World();
const here = world.machine('here');
const slow = { timeout: 300_000 };

beforeAll(() => here.mount());
afterAll(() => world[Symbol.asyncDispose]());

/** Runs the script in a local directory, then in a new artifact; $D is the directory. */
async function works(name: string, script: string): Promise<void> {
  await here.sh(`D="$TMP/${name}"; mkdir -p "$D"; cd "$D"\n${script}`, { timeoutMs: 280_000 });
  mkdirSync(here.path(name));
  await here.sh(`D="$MNT/${name}"; cd "$D"\n${script}`, { timeoutMs: 280_000 });
}

test('SQLite keeps a database with WAL for a writer and readers, and through a kill', slow, () =>
  works(
    'sqlite',
    `sqlite3 db 'pragma journal_mode=wal; create table t(id integer primary key, text); create index i on t(text)' >/dev/null
    for i in $(seq 40); do sqlite3 -cmd '.timeout 20000' db "insert into t(text) select hex(randomblob(50)) from generate_series(1, 100)"; done &
    for i in $(seq 40); do sqlite3 -cmd '.timeout 20000' db 'select count(*), max(text) from t' >/dev/null; done
    wait
    test "$(sqlite3 db 'select count(*) from t')" = 4000
    (echo 'begin immediate;'; echo "insert into t(text) values ('lost');"; sleep 1) | sqlite3 db & P=$!; sleep 0.3; kill -9 $P; wait || true
    sqlite3 -cmd '.timeout 20000' db "delete from t where id % 3 = 0; pragma wal_checkpoint(truncate); vacuum; pragma integrity_check" | grep -q ok
    test "$(sqlite3 db 'select count(*) from t')" = 2667`,
  ),
);

test('git clones, repacks and checks a repository of many files', slow, () =>
  works(
    'git',
    `export GIT_AUTHOR_NAME=n GIT_AUTHOR_EMAIL=a@b.c GIT_COMMITTER_NAME=n GIT_COMMITTER_EMAIL=a@b.c
    git init -q repo && cd repo
    for d in $(seq 20); do mkdir d$d; for f in $(seq 25); do echo "$d $f" > d$d/f$f; done; done
    git add -A && git commit -qm one && for d in $(seq 20); do git mv d$d/f1 d$d/moved; done && git commit -qam two
    cd .. && git clone -q --no-local repo copy && cd copy && git gc -q --aggressive --prune=now && git fsck --strict --no-progress
    git checkout -q HEAD~1 && git checkout -q - && git worktree add -q ../tree HEAD~1 && test -f ../tree/d7/f1 && test -z "$(git status --porcelain)"
    git rebase -q --force-rebase HEAD~1 && git fsck --strict --no-progress`,
  ),
);

test('npm ci installs a project with dependencies and their binaries', slow, () =>
  works(
    'npm',
    `for p in a b c; do mkdir -p pkg-$p/lib && echo "module.exports = '$p'" > pkg-$p/index.js; printf '#!/usr/bin/env node\\nconsole.log(require("..//index.js"))\\n' > pkg-$p/lib/run.js
      for i in $(seq 60); do echo "$i" > pkg-$p/lib/file$i; done
      printf '{"name":"pkg-%s","version":"1.0.0","bin":{"run-%s":"lib/run.js"},"files":["lib","index.js"]}' $p $p > pkg-$p/package.json; (cd pkg-$p && npm pack --silent --pack-destination .. >/dev/null); done
    mkdir app && cd app && printf '{"name":"app","version":"1.0.0","private":true,"dependencies":{"pkg-a":"file:../pkg-a-1.0.0.tgz","pkg-b":"file:../pkg-b-1.0.0.tgz","pkg-c":"file:../pkg-c-1.0.0.tgz"}}' > package.json
    npm install --offline --no-audit --no-fund --silent && rm -rf node_modules && npm ci --offline --no-audit --no-fund --silent
    for p in a b c; do test "$(node_modules/.bin/run-$p)" = $p; test "$(ls node_modules/pkg-$p/lib | wc -l)" = 61; done
    npm ci --offline --no-audit --no-fund --silent && npm ls --offline >/dev/null`,
  ),
);

const richTree = `mkdir -p src/a/b src/c && for i in $(seq 30); do head -c $((i * 997)) /dev/urandom > src/a/f$i; done
    ln src/a/f1 src/c/hard && ln src/a/f1 src/a/b/hard2 && ln -s ../a/f2 src/c/soft && truncate -s 20M src/c/sparse && printf mid | dd of=src/c/sparse bs=1 seek=9000000 conv=notrunc status=none
    setfattr -n user.note -v text src/a/f3 && setfattr -n user.dir -v d src/a && setfacl -m u:1234:rw src/a/f4 && setfacl -d -m g:77:rx src/c && chmod 4755 src/a/f5 && chown 12:34 src/a/f6 && mkfifo src/c/fifo
    touch -d '2001-02-03 04:05:06.789012345' src/a/f7 src/c && chmod 1777 src/a/b`;

test('rsync -aHAX copies everything, and finds nothing to do the second time', slow, () =>
  works(
    'rsync',
    `${richTree}
    rsync -aHAX src/ copy/ && test -z "$(rsync -aHAXi --checksum src/ copy/)" && test "$(stat -c %h copy/c/hard)" = 3
    rsync -aHAXS --inplace src/ copy/ && test -z "$(rsync -aHAXni --delete src/ copy/)"
    test "$(getfattr --only-values -n user.note copy/a/f3)" = text && getfacl -c copy/a/f4 2>/dev/null | grep -q user:1234:rw`,
  ),
);

test('tar keeps hard links, holes, attributes and ACLs', slow, () =>
  works(
    'tar',
    `${richTree}
    tar --xattrs --acls -cSf all.tar src && test "$(stat -c %s all.tar)" -lt 2000000 && mkdir out && tar --xattrs --acls -xSpf all.tar -C out
    diff -r --no-dereference --exclude=fifo src out/src && test -p out/src/c/fifo && test "$(stat -c %h out/src/c/hard)" = 3 && test "$(stat -c %b out/src/c/sparse)" -lt 1000
    test "$(stat -c '%a %U:%G %y' src/a/f7)" = "$(stat -c '%a %U:%G %y' out/src/a/f7)" && test "$(stat -c %a out/src/a/f5)" = 4755
    test "$(getfattr --only-values -n user.dir out/src/a)" = d && getfacl -c out/src/c 2>/dev/null | grep -q default:group:77:r-x`,
  ),
);

test('cp keeps holes, attributes and links, and shares or copies ranges', slow, () =>
  works(
    'cp',
    `${richTree}
    cp -a --sparse=auto src one && cp -a --reflink=auto one two && diff -r --no-dereference --exclude=fifo src two
    test "$(stat -c %h two/c/hard)" = 3 && cmp src/c/sparse two/c/sparse && getfacl -c two/a/f4 2>/dev/null | grep -q user:1234:rw`,
  ),
);

test('vim saves by backup and rename, again and again', slow, () =>
  works(
    'vim',
    `printf 'start\\n' > text && chmod 640 text && chown 7:8 text && ln text other
    for copy in yes no auto; do vim.tiny -u NONE -n -es -c "set backup writebackup backupcopy=$copy" -c "normal A $copy" -c wq text; done
    test "$(cat text)" = 'start yes no auto' && test "$(stat -c '%a %u:%g' text)" = '640 7:8'`,
  ),
);

test('Python maps an array over a file and shares it between processes', slow, () =>
  works(
    'python',
    `cat > work.py <<'END'
import mmap, multiprocessing, os, struct
N = 200000
def fill(part):
    with open('array', 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
        for i in range(part, N, 4): m[8 * i:8 * i + 8] = struct.pack('q', i * i)
        m.flush()
if __name__ == '__main__':
    with open('array', 'wb') as f: f.truncate(8 * N)
    with multiprocessing.get_context('fork').Pool(4) as pool: pool.map(fill, range(4))
    with open('array', 'rb') as f: data = f.read()
    assert all(struct.unpack_from('q', data, 8 * i)[0] == i * i for i in range(N))
    with open('array', 'r+b') as f, mmap.mmap(f.fileno(), 0) as m:
        m.resize(16 * N); m[8 * N:] = data
    assert open('array', 'rb').read() == data + data
END
    python3 work.py`,
  ),
);

test('an image of ext4 is made, mounted, filled and checked', slow, async () => {
  const script = `truncate -s 64M image && mkfs.ext4 -q image && mkdir -p "$TMP/inside" && mount -o loop image "$TMP/inside"
    trap 'umount "$TMP/inside" 2>/dev/null || true' EXIT
    for i in $(seq 200); do head -c 50000 /dev/urandom > "$TMP/inside/f$i"; done && sha256sum "$TMP"/inside/f* > sums
    rm "$TMP"/inside/f1?? && sync -f "$TMP/inside" && umount "$TMP/inside" && e2fsck -fn image >/dev/null 2>&1
    mount -o loop,ro image "$TMP/inside" && sha256sum --quiet --ignore-missing -c sums && umount "$TMP/inside"`;
  await works('image', script);
  await here.sh('echo image > "$MNT/image/.artifact/commit"');
  const version = (await here.sh('ls -v "$MNT/image/.artifact/versions" | tail -n 1')).trim();
  await here.sh(`e2fsck -fn "$MNT/image/.artifact/versions/${version}/image" >/dev/null 2>&1`);
});

test('a file that grows by logging is followed by tail -f, also over its rotation', slow, () =>
  works(
    'log',
    `touch log
    tail -n +1 -F log > "$TMP/seen" 2>/dev/null & P=$!
    echo 'line 1' >> log; for i in $(seq 600); do grep -q line "$TMP/seen" && break; sleep 0.1; done
    for i in $(seq 2 100); do echo "line $i" >> log; done; mv log log.1; for i in $(seq 101 200); do echo "line $i" >> log; done
    for i in $(seq 600); do test "$(grep -c line "$TMP/seen")" -ge 200 && break; sleep 0.1; done; kill $P
    test "$(grep -c line "$TMP/seen")" = 200`,
  ),
);

test('what the programs left is committed, and another machine reads it', slow, async () => {
  const names = ['sqlite', 'git', 'npm', 'rsync', 'tar', 'cp', 'vim', 'python'];
  for (const name of names) await here.sh(`echo all > "$MNT/${name}/.artifact/commit"`);
  const there = world.machine('there');
  await there.mount();
  await there.sh('test "$(sqlite3 "file:$MNT/sqlite/db?immutable=1" "pragma integrity_check")" = ok');
  await there.sh('cd "$MNT/git/copy" && git -c safe.directory="*" fsck --strict --no-progress');
  const compared = await there.sh(`rsync -aHAXni --checksum --delete "${here.path('rsync/')}" "$MNT/rsync/"`);
  expect(compared).toBe('');
  await there.unmount();
});
