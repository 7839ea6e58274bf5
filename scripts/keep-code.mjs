// keep-code.mjs [ARGUMENT...]: the last step of the build. Keeps what V8 compiles of the program in dist/bin beside its files,
// where the next start finds it: a mount, a commit and a look at the help. With arguments it is one such run in this process.
// Where it fails (no /dev/fuse, no compiler) the program starts as well, only slower.
import { spawn, spawnSync } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmdirSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { createInterface } from 'node:readline';
import { fileURLToPath } from 'node:url';

const root = fileURLToPath(new URL('..', import.meta.url));
const program = join(root, 'dist', 'bin');
const secondsMax = 60;

/** Runs one command line here, and keeps what it used. */
async function keep(args) {
  await import('../dist/util/v8-settings.js'); // V8 keeps code for the same flags only
  const { CodeCache } = await import('../dist/util/code-cache.js');
  const cache = new CodeCache(program);
  const { runCommandLine } = cache.load('run.js');
  process.exitCode = await runCommandLine(args);
  cache.save();
}

/** What programs do with a new mount. */
const work = `cd "$MNT"; ls; mkdir x; for i in 1 2 3 4 5 6 7 8 9; do echo $i > x/$i; done; ls -lR; cat x/*
  echo one > x/.artifact/commit; ls -l x; cat x/*; cp x/1 x/a; mv x/a x/b; rm x/b; mkdir x/d; rmdir x/d
  "$NODE" "$MAIN" status x`;

async function runAll() {
  const directory = mkdtempSync(join(tmpdir(), 'artifactfs-code-'));
  const mnt = join(directory, 'mnt');
  mkdirSync(mnt);
  const server = spawn(join(root, 'scripts/s3-server'), ['--until-stdin-ends'], {
    stdio: ['pipe', 'pipe', 'inherit'],
  });
  server.stdin.on('error', () => undefined); // it ended, which is told below
  try {
    const { endpoint, accessKeyId, secretAccessKey, bucket } = JSON.parse(await firstLine(server));
    const env = {
      PATH: process.env.PATH,
      HOME: directory,
      MNT: mnt,
      NODE: process.execPath,
      MAIN: join(program, 'main.js'),
      AWS_ACCESS_KEY_ID: accessKeyId,
      AWS_SECRET_ACCESS_KEY: secretAccessKey,
      ARTIFACTFS_ENDPOINT: endpoint,
      ARTIFACTFS_PATH_STYLE: 'true',
      ARTIFACTFS_STORE: `s3://${bucket}/w`,
    };
    for (const round of ['first', 'known']) await mountAndWork(env, round);
    const options = { env, stdio: 'ignore', timeout: secondsMax * 1000, killSignal: 'SIGKILL' };
    for (const args of [['--help'], ['unmount', mnt]])
      spawnSync(process.execPath, [import.meta.filename, ...args], options);
  } finally {
    server.stdin.end();
    rmdirSync(mnt); // fails where something is mounted still: nothing in it is to be removed
    rmSync(directory, { recursive: true, force: true });
  }
}

async function mountAndWork(env, round) {
  const args = [import.meta.filename, 'mount', '--foreground', '--json', env.MNT];
  const daemon = spawn(process.execPath, args, { env, stdio: ['ignore', 'pipe', 'pipe'] });
  daemon.stderr.resume();
  const ended = new Promise((done) => daemon.once('exit', done));
  const timer = setTimeout(() => daemon.kill('SIGKILL'), secondsMax * 1000);
  try {
    await firstLine(daemon);
    const script = round === 'first' ? work : 'ls "$MNT"/x';
    spawnSync('sh', ['-c', script], { env, stdio: 'ignore', timeout: secondsMax * 1000 });
  } finally {
    daemon.kill('SIGTERM');
    await ended;
    clearTimeout(timer);
  }
}

/** Throws when the process ends without one. */
function firstLine(child) {
  return new Promise((resolve, reject) => {
    createInterface({ input: child.stdout }).once('line', resolve);
    child.once('error', reject);
    child.once('exit', (code) => reject(new Error(`${child.spawnargs.join(' ')} ended (${code})`)));
  });
}

if (process.argv.length > 2) await keep(process.argv.slice(2));
else
  await runAll().catch((error) => console.error(`keep-code: the program may start slower: ${error.message}`));
