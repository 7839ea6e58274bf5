// What changes around the kernel reaches programs at once and exactly, while others read, list and write; nothing waits
// for ever.
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { afterAll, beforeAll, describe, expect, test } from 'vitest';
import { type Machine, World } from './support/world.js';

/** Reads, lists, looks up and writes until the stop file is there; counts its rounds in a file. */
const busy = `
import os, sys
mnt, mine, stop, progress = sys.argv[1:5]
rounds = 0
def attempt(call):
    try: call()
    except FileNotFoundError: pass
    except NotADirectoryError: pass
def read(path):
    with open(path, 'rb') as f: f.read()
def walk(top):
    for at, dirs, files in os.walk(top):
        for name in ('bulk', 'quiet'):
            if name in dirs: dirs.remove(name)
        for name in files: attempt(lambda: os.lstat(os.path.join(at, name)))
        for name in files: attempt(lambda: read(os.path.join(at, name)))
while not os.path.exists(stop):
    for name in ('model', 'shared', 'own'): walk(os.path.join(mnt, name))
    for i in range(20): os.path.exists(os.path.join(mnt, 'model', 'quiet', 'f-%d' % i)); os.path.exists(os.path.join(mnt, 'own', 'none-%d' % i))
    scratch = os.path.join(mnt, 'scratch', mine)
    os.makedirs(scratch, exist_ok=True)
    for i in range(10):
        with open(os.path.join(scratch, 'f%d' % i), 'w') as f: f.write('x' * 5000)
        os.rename(os.path.join(scratch, 'f%d' % i), os.path.join(scratch, 'g%d' % i))
        os.unlink(os.path.join(scratch, 'g%d' % i))
    rounds += 1
    with open(progress + '.tmp', 'w') as f: f.write(str(rounds))
    os.replace(progress + '.tmp', progress)
`;

/** Sits in a directory and says where it is. */
const sitter = `
import os, sys, time
here, stop, progress = sys.argv[1:4]
os.chdir(here)
lost = good = 0
while not os.path.exists(stop):
    try:
        assert os.getcwd() == here, os.getcwd()
        good += 1
    except FileNotFoundError: lost += 1
    os.listdir('.')
    with open(progress + '.tmp', 'w') as f: f.write('%d %d' % (good, lost))
    os.replace(progress + '.tmp', progress)
    time.sleep(0.005)
`;

describe.each([
  ['each name by itself', 0, 12],
  ['all names in one word', 21_000, 4],
])('%s', (_, bulk, rounds) => {
  const world = new World();
  const [a, b] = [world.machine('a'), world.machine('b')];
  const stop = join(world.directory, 'stop');
  const started: ChildProcess[] = [];
  const failures: string[] = [];

  const start = (code: string, ...args: string[]): void => {
    const child = spawn('python3', ['-c', code, ...args], { cwd: '/', stdio: ['ignore', 'ignore', 'pipe'] });
    child.stderr.on('data', (text: Buffer) => failures.push(text.toString()));
    started.push(child);
  };

  beforeAll(async () => {
    await Promise.all([a.mount(), b.mount()]);
    await a.sh(`cd "$MNT"; mkdir model shared own scratch
      mkdir model/stays model/bulk model/quiet; echo 0 > model/content; echo 0 > model/new-0; echo same > model/stays/same
      cd model/bulk; [ ${bulk} = 0 ] || seq ${bulk} | xargs touch; cd "$MNT"
      for m in model shared own scratch; do echo 0 > $m/start; echo first > $m/.artifact/commit; done`);
    await b.sh('echo > "$MNT/.artifactfs/refresh"');
    mkdirSync(join(world.directory, 'progress'));
  });
  afterAll(async () => {
    writeFileSync(stop, '');
    await world[Symbol.asyncDispose]();
  });

  const counts = (name: string): number[] => {
    try {
      return readFileSync(join(world.directory, 'progress', name), 'utf8')
        .split(' ')
        .map(Number);
    } catch {
      return [0, 0];
    }
  };
  const names = ['a0', 'a1', 'a2', 'b0', 'b1'];

  test('programs go on, and see after each round what is there', { timeout: 300_000 }, async () => {
    const progress = (name: string): string => join(world.directory, 'progress', name);
    for (const name of names) start(busy, (name < 'b' ? a : b).mnt, name, stop, progress(name));
    start(sitter, a.path('model', 'stays'), stop, progress('sitter'));
    for (let round = 1; round <= rounds; round++) {
      const before = names.map((name) => counts(name)[0] ?? 0);
      const [good = 0] = counts('sitter');
      await play(a, b, round, bulk);
      for (const machine of [a, b]) expect(await machine.sh(look(round))).toBe(expected(round));
      for (const [i, name] of names.entries()) {
        await expect.poll(() => counts(name)[0], { timeout: 60_000 }).toBeGreaterThan(before[i] ?? 0);
      }
      await expect.poll(() => counts('sitter')[0], { timeout: 60_000 }).toBeGreaterThan(good);
    }
    if (bulk === 0) expect(counts('sitter')[1], 'the directory was never lost').toBe(0);
    writeFileSync(stop, '');
    const codes = started.map((child) =>
      child.exitCode === null
        ? new Promise((resolve) => child.once('exit', resolve))
        : Promise.resolve(child.exitCode),
    );
    expect(await Promise.all(codes), failures.join('')).toEqual(started.map(() => 0));
  });
});

/** Others commit, we commit on top of them, discard, and read the log. */
async function play(a: Machine, b: Machine, round: number, bulk: number): Promise<void> {
  if (bulk > 0) await a.sh('ls -l "$MNT/model/bulk" | wc -l');
  await Promise.all([
    b.sh(`cd "$MNT/model"; echo ${round} > content; rm new-${round - 1}; echo ${round} > new-${round}
      echo ${round} > quiet/f-${round}
      mkdir dir-${round}; echo ${round} > dir-${round}/in; [ ! -d dir-${round - 1} ] || rm -r dir-${round - 1}
      mv start moved; mv moved start; echo round > .artifact/commit
      cd ../shared; echo ${round} > from-b; echo b${round} > .artifact/commit`),
    a.sh(`cd "$MNT/own"; ! test -e later; echo changed > start; echo > added-${round}; mkdir d; cat start; ls
      echo 1 > .artifact/discard; cat start; ! test -e added-${round}; ! test -e d`),
  ]);
  await a.sh(`cd "$MNT/shared"; echo ${round} > from-a; echo a${round} > .artifact/commit`);
  await Promise.all([a, b].map((machine) => machine.sh('echo > "$MNT/.artifactfs/refresh"')));
}

/** What nobody has listed comes first: a listing would bring the names. */
const look = (round: number): string => `cd "$MNT"
  cat model/quiet/f-${round}
  for at in model shared own; do (cd $at; ls -p | grep -v bulk/ | tr '\\n' ' '; echo); done
  head model/content model/new-* model/dir-*/in model/stays/same model/start shared/from-* own/start
  for name in model/new-${round - 1} model/dir-${round - 1} model/moved own/added-${round} own/d; do
    ! test -e $name || echo "$name is there"
    ! ls -d $name 2>/dev/null
  done`;

const expected = (round: number): string =>
  `${round}\ncontent dir-${round}/ new-${round} quiet/ start stays/ \nfrom-a from-b start \nstart \n${[
    ['model/content', round],
    [`model/new-${round}`, round],
    [`model/dir-${round}/in`, round],
    ['model/stays/same', 'same'],
    ['model/start', 0],
    ['shared/from-a', round],
    ['shared/from-b', round],
    ['own/start', 0],
  ]
    .map(([name, text]) => `==> ${name} <==\n${text}\n`)
    .join('\n')}`;
