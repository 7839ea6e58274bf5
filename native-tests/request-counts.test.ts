// What the kernel answers by itself, counted: a second look at anything unchanged does not reach the daemon.
import { execFileSync } from 'node:child_process';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { Requests } from './support/requests.js';
import { undisturbed } from './support/undisturbed.js';
import { World } from './support/world.js';

const filesMany = 10_000;
const tree = `
mkdir -p "$MNT/m/tree/"{one,two/deep}
cd "$MNT/m/tree"
for i in {1..40}; do echo "text $i" > one/file-$i; echo $i > two/deep/file-$i; done
ln -s one/file-1 link
ln one/file-2 hard
`;
const dropInodes = (): void => {
  execFileSync('sh', ['-c', 'echo 2 > /proc/sys/vm/drop_caches']);
};

describe.each([false, true])('with the write cache: %s', (writeCache) => {
  const world = new World();
  const a = world.machine('a');
  let requests: Requests;

  beforeAll(async () => {
    await a.mount(`--write-cache=${writeCache}`);
    requests = new Requests(a, { writeCache });
    await a.sh(`mkdir "$MNT/m"\n${tree}`);
    await a.sh('echo first > "$MNT/m/.artifact/commit"');
  });
  afterAll(() => world[Symbol.asyncDispose]());

  /** The first time fetches; the second may ask for the times of what was read in the first: the kernel insists. */
  async function again(script: string): Promise<Record<string, number>> {
    await a.sh(script);
    await a.sh(script);
    return requests.of(script);
  }
  const asksNothing = (script: string): Promise<void> =>
    undisturbed(async () => expect(await again(script)).toEqual({}));

  describe.each([
    ['the working view', 'm'],
    ['a version', 'm@v0'],
    ['a version by its number', 'm/.artifact/versions/v0'],
  ])('%s', (_, root) => {
    test.each([
      ['ls -lR', `ls -lR "$MNT/${root}/tree"`],
      ['stat', `stat -c '%s %y' "$MNT/${root}/tree/one/file-3"`],
      ['open, read, close', `cat "$MNT/${root}/tree/one/"*`],
      ['readlink', `readlink "$MNT/${root}/tree/link" && cat "$MNT/${root}/tree/link"`],
      ['test of missing names', `for i in 1 2 3; do ! test -e "$MNT/${root}/tree/one/missing-$i"; done`],
      [
        'missing names in a row of directories',
        `for d in . one two two/deep; do ! test -e "$MNT/${root}/tree/$d/mod.py"; done`,
      ],
      ['find', `find "$MNT/${root}/tree" -newer /etc/passwd`],
      ['du', `du -s "$MNT/${root}/tree"`],
      ['tar', `tar cf - -C "$MNT/${root}" tree | wc -c`],
    ])('%s asks nothing the next time', (_name, script) => asksNothing(script));

    test('the second listing asks once for each directory it had to read before', () =>
      undisturbed(async () => {
        await a.sh(`ls -lR "$MNT/${root}/tree"`);
        const second = await requests.of(`ls -lR "$MNT/${root}/tree"`);
        expect(Object.keys(second).filter((name) => name !== 'getattr')).toEqual([]);
        expect(second['getattr'] ?? 0).toBeLessThanOrEqual(4);
      }, dropInodes));
  });

  describe('programs', () => {
    test('python imports', async () => {
      await a.sh(
        'mkdir -p "$MNT/m/py/"{a,b,c}; echo "x = 1" > "$MNT/m/py/c/mod.py"; mkdir "$MNT/m/py/c/pkg"; touch "$MNT/m/py/c/pkg/__init__.py"',
      );
      const script = `python3 -B -c "
import sys
sys.path[:0] = ['$MNT/m/py/' + d for d in 'abc']
import mod, pkg, json, email, sqlite3"`;
      await asksNothing(script);
    });

    test('git status', async () => {
      await a.sh(
        'cd "$MNT/m/tree" && git init -q . && git add -A && git -c user.name=t -c user.email=t@t commit -qm x && git status',
      );
      // Without this git makes and removes a lock, which is a change.
      await asksNothing('cd "$MNT/m/tree" && GIT_OPTIONAL_LOCKS=0 git status --porcelain');
    });
  });

  describe('changes', () => {
    test('a commit leaves what the kernel knows', async () => {
      const look = `ls -lR "$MNT/m/tree/one"; cat "$MNT/m/tree/one/"*; ! test -e "$MNT/m/tree/none"`;
      await undisturbed(async () => {
        await again(look);
        await a.sh('echo more >> "$MNT/m/added"; echo second > "$MNT/m/.artifact/commit"');
        expect(await requests.of(look)).toEqual({});
      });
    });

    test('the commit of another touches only what it changed', async () => {
      const b = world.machine('b');
      await b.mount();
      const look = `cat "$MNT/m/tree/one/file-7" "$MNT/m/tree/two/deep/"*`;
      let tries = 0;
      await undisturbed(async () => {
        const made = `new-${++tries}`;
        await again(look);
        const missing = `test ! -e "$MNT/m/tree/${made}"`;
        expect(await requests.of(`${missing}; ${missing}`)).toEqual({ lookup: 1 });
        await b.sh(
          `echo > "$MNT/.artifactfs/refresh"; cd "$MNT/m/tree"; echo changed ${tries} > one/file-7
           echo x > ${made}; echo third > "$MNT/m/.artifact/commit"`,
        );
        await a.sh('echo > "$MNT/.artifactfs/refresh"');
        expect(await a.sh(`cat "$MNT/m/tree/${made}" "$MNT/m/tree/one/file-7"`)).toBe(
          `x\nchanged ${tries}\n`,
        );
        const { read = 0 } = await requests.of('cat "$MNT/m/tree/two/deep/"*');
        expect(read, 'pages of unchanged files stay').toBe(0);
      });
      await b.unmount();
    });

    test('a discard brings names, files and missing names back', async () => {
      await a.sh('cd "$MNT/m/tree"; rm one/file-9; echo other > one/file-10; ! test -e made; echo > made2');
      await a.sh(
        'cd "$MNT/m/tree"; ! cat one/file-9; cat one/file-10 made2; echo > "$MNT/m/.artifact/discard"',
      );
      expect(
        await a.sh('cd "$MNT/m/tree"; cat one/file-9 one/file-10; ! test -e made2; ls one | wc -l'),
      ).toBe('text 9\ntext 10\n40\n');
    });

    test('a name is found that was missing, whoever makes it', async () => {
      for (const made of [
        'x > f',
        'mkdir f',
        'ln -s a f',
        'ln added f',
        'mv g f',
        'mkfifo f',
        'cp added f',
      ]) {
        const make = made === 'x > f' ? 'echo x > f' : made;
        await a.sh(`cd "$MNT/m"; touch g; ! test -e f; ! ls f; ${make}; ls -d f; rm -rf f g; ! ls f; ! ls f`);
      }
      await a.sh('! ls "$MNT/n"; ! ls "$MNT/n@v0"');
      await a.artifactfs('create', '--store', a.store, 'n');
      await a.sh('ls -d "$MNT/n"; echo x > "$MNT/n/f"; ! ls "$MNT/n@v0"');
      await a.sh('echo first > "$MNT/n/.artifact/commit"; cat "$MNT/n@v0/f" "$MNT/n@latest/f"');
    });
  });

  test('a first ls -lR of 10,000 files comes in answers as large as the program takes', async () => {
    await a.sh(`mkdir "$MNT/m/many" && cd "$MNT/m/many" && seq -f file-%05g ${filesMany} | xargs touch`);
    await a.sh('echo many > "$MNT/m/.artifact/commit"');
    // 168 bytes for each entry, 32 KiB for each call of a C library.
    const least = Math.ceil((filesMany * 168) / 32_768);
    await undisturbed(async () => {
      const first = await requests.of('ls -lR "$MNT/m/many" | wc -l');
      const total = Object.values(first).reduce((sum, count) => sum + count, 0);
      console.log(
        `first ls -lR of ${filesMany} files: ${JSON.stringify(first)}, getxattr ${requests.lastXattrs}`,
      );
      expect(total).toBeLessThanOrEqual(least + 20);
    }, dropInodes);
    await asksNothing('ls -lR "$MNT/m/many"');
  });
});
