import { execFile } from 'node:child_process';
import { existsSync, mkdirSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';

const run = promisify(execFile);
const cli = new URL('../../dist/cli/main.js', import.meta.url).pathname;

/**
 * What is compared. `directory` is where the jobs work while it is mounted. `share` is the part of the files a job
 * uses there: a file system that needs a request to the store for each file would take minutes for all of them.
 *
 * @typedef {object} FileSystem
 * @property {string} name
 * @property {string} about
 * @property {number} share
 * @property {string} directory
 * @property {() => Promise<void>} mount
 * @property {() => Promise<void>} unmount
 * @property {() => Promise<void>} [publish]  makes what was written what everybody sees
 */

/** @returns {FileSystem[]} */
export function fileSystems(work) {
  const s3 = storeOfEnvironment();
  const place = (name) => join(work, name);
  return [local(place('local')), bindfs(place), artifactfs(place, s3), s3fs(place, s3), rclone(place, s3)];
}

const kinds = new Map([
  [0xef53, 'ext4'],
  [0x9123683e, 'btrfs'],
  [0x58465342, 'xfs'],
  [0x01021994, 'tmpfs'],
]);

function local(directory) {
  mkdirSync(directory, { recursive: true });
  const name = kinds.get(statfsSync(directory).type) ?? 'local';
  const nothing = async () => {};
  return {
    name,
    about: 'the local file system below',
    share: 1,
    directory,
    mount: nothing,
    unmount: nothing,
  };
}

function bindfs(place) {
  const [below, at] = [place('bindfs-below'), mountPoint(place('bindfs'))];
  mkdirSync(below, { recursive: true });
  return {
    name: 'bindfs',
    about: 'the same through plain FUSE',
    share: 1,
    directory: at,
    mount: () => start('bindfs', [below, at], at),
    unmount: () => stop(at),
  };
}

function artifactfs(place, s3) {
  const at = mountPoint(place('artifactfs'));
  const env = {
    XDG_STATE_HOME: place('state'),
    AWS_ACCESS_KEY_ID: s3.accessKey,
    AWS_SECRET_ACCESS_KEY: s3.secretKey,
    ARTIFACTFS_ENDPOINT: s3.endpoint,
    ARTIFACTFS_PATH_STYLE: 'true',
  };
  const verb = (...words) => run(process.execPath, [cli, ...words], { env: { ...process.env, ...env } });
  const directory = join(at, 'bench');
  return {
    name: 'artifactfs',
    about: 'an artifact in a store on the S3 server',
    share: 1,
    directory,
    async mount() {
      await verb('mount', '--store', `s3://${s3.bucket}/bench-${process.pid}`, at);
      if (!existsSync(directory)) mkdirSync(directory);
    },
    unmount: async () => void (await verb('unmount', at)),
    publish: async () => void (await verb('commit', directory, '-m', 'benchmark')),
  };
}

function s3fs(place, s3) {
  const at = mountPoint(place('s3fs'));
  const password = place('s3fs-password');
  writeFileSync(password, `${s3.accessKey}:${s3.secretKey}`, { mode: 0o600 });
  const options = [`url=${s3.endpoint}`, 'use_path_request_style', `passwd_file=${password}`];
  options.push(`use_cache=${place('s3fs-cache')}`);
  return {
    name: 's3fs',
    about: 'with its cache',
    share: 0.02,
    directory: at,
    mount: () => start('s3fs', [s3.bucket, at, '-o', options.join(',')], at),
    unmount: () => stop(at),
  };
}

function rclone(place, s3) {
  const at = mountPoint(place('rclone'));
  const env = {
    AWS_CA_BUNDLE: '', // it cannot take one, and the server here speaks plain HTTP
    RCLONE_CONFIG: place('rclone.conf'),
    RCLONE_CONFIG_STORE_TYPE: 's3',
    RCLONE_CONFIG_STORE_PROVIDER: 'Ceph',
    RCLONE_CONFIG_STORE_ENDPOINT: s3.endpoint,
    RCLONE_CONFIG_STORE_ACCESS_KEY_ID: s3.accessKey,
    RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY: s3.secretKey,
  };
  const cache = ['--vfs-cache-mode', 'full', '--cache-dir', place('rclone-cache')];
  return {
    name: 'rclone',
    about: 'rclone mount --vfs-cache-mode full',
    share: 0.2,
    directory: at,
    mount: () => start('rclone', ['mount', `store:${s3.bucket}`, at, '--daemon', ...cache], at, env),
    unmount: () => stop(at),
  };
}

function storeOfEnvironment() {
  const { ARTIFACTFS_TEST_S3_BUCKET: bucket = 'artifactfs-test' } = process.env;
  return {
    endpoint: process.env.ARTIFACTFS_TEST_S3_ENDPOINT,
    accessKey: process.env.ARTIFACTFS_TEST_S3_ACCESS_KEY,
    secretKey: process.env.ARTIFACTFS_TEST_S3_SECRET_KEY,
    bucket,
  };
}

function mountPoint(path) {
  mkdirSync(path, { recursive: true });
  return path;
}

async function start(program, words, at, env = {}) {
  await run(program, words, { env: { ...process.env, ...env } });
  for (let tries = 0; !(await isMounted(at)); tries++) {
    if (tries === 100) throw new Error(`${program} did not mount at ${at}`);
    await sleep(50);
  }
}

/** Waits while it is busy: rclone still writes back, bindfs closes files. */
async function stop(at) {
  for (let tries = 0; await isMounted(at); tries++) {
    if (tries === 200) throw new Error(`${at} stays mounted`);
    await run('fusermount3', ['-u', at]).catch(() => sleep(300));
  }
}

const isMounted = (path) =>
  run('mountpoint', ['-q', path]).then(
    () => true,
    () => false,
  );
