// What is compared.
import { spawn } from 'node:child_process';
import { existsSync, mkdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { Limits } from './limits.mjs';
import { cli, isMounted, isRunning, run, until } from './tools.mjs';

/**
 * `directory` is where the jobs work while it is mounted. `share` is the part of the small files that a job uses there:
 * a file system that needs requests to the store for each file would take minutes for all of them.
 *
 * @typedef {object} FileSystem
 * @property {string} name
 * @property {string} about
 * @property {'local' | 'plain' | 'ours' | 'peer'} kind
 * @property {number} share
 * @property {string} directory
 * @property {number} [rounds]  it takes part in; it is slow
 * @property {() => Promise<void>} mount
 * @property {() => Promise<void>} unmount
 * @property {() => Promise<void>} wipe  forgets every cache; while it is not mounted
 * @property {() => Promise<{bytesUploaded?: number}>} publish  makes what was written what everybody sees
 * @property {() => number | undefined} pid
 * @property {() => Promise<{gets: number}>} [counters]
 */

const nothing = async () => {};

/**
 * @param {string} work
 * @param {import('./servers.mjs').Server} server
 * @param {readonly string[]} names
 * @returns {FileSystem[]}
 */
export function fileSystems(work, server, names) {
  const place = (name) => join(work, `${server.name}-${name}`);
  return names.map((name) => makers[name](place, server));
}

const makers = {
  local,
  bindfs: (place) => {
    const [below, at] = [directoryAt(place('bindfs-below')), directoryAt(place('bindfs'))];
    const wipe = nothing;
    return peer(
      {
        name: 'bindfs',
        about: 'the local file system through plain FUSE',
        kind: 'plain',
        share: 1,
        at,
        wipe,
      },
      'bindfs',
      [...['-f', below, at]],
    );
  },
  artifactfs: (place, server) => artifactfs(place('artifactfs'), server),
  s3fs,
  rclone,
};

const localName = (directory) => kinds.get(statfsSync(directory).type) ?? 'local';

const kinds = new Map([
  [0xef53, 'ext4'],
  [0x9123683e, 'btrfs'],
  [0x58465342, 'xfs'],
  [0x01021994, 'tmpfs'],
]);

function local(place) {
  const directory = directoryAt(place('local'));
  return {
    name: localName(directory),
    about: 'the local file system',
    kind: 'local',
    share: 1,
    directory,
    mount: nothing,
    unmount: nothing,
    wipe: nothing,
    publish: nothing,
    pid: () => undefined,
  };
}

/** `prefix` of the store; all local state is under `place`. */
export function artifactfs(place, server, prefix = 'artifactfs') {
  const [at, state] = [directoryAt(place), `${place}-state`];
  const env = {
    XDG_STATE_HOME: state,
    AWS_ACCESS_KEY_ID: server.accessKey,
    AWS_SECRET_ACCESS_KEY: server.secretKey,
    ARTIFACTFS_ENDPOINT: server.endpoint,
    ARTIFACTFS_PATH_STYLE: 'true',
  };
  const verb = async (...words) =>
    JSON.parse((await run(process.execPath, [cli, ...words, '--json'], { env })) || '{}');
  let pid;
  return {
    name: 'artifactfs',
    about: 'an artifact, at default settings',
    kind: 'ours',
    share: 1,
    directory: at,
    async mount() {
      ({ pid } = await verb('mount', '--store', `s3://${server.bucket}/${prefix}`, at));
    },
    async unmount() {
      if (isMounted(at)) await verb('unmount', at).catch(() => run('fusermount3', ['-uz', at]));
      const daemon = pid;
      pid = undefined;
      if (daemon === undefined) return;
      await until(() => !isRunning(daemon), 'the end of the daemon', 30).catch(() => {
        if (isRunning(daemon)) process.kill(daemon, 'SIGKILL');
      });
    },
    wipe: async () => rmSync(state, { recursive: true, force: true }),
    publish() {
      return verb('commit', this.directory, '-m', 'benchmark');
    },
    pid: () => pid,
    async counters() {
      const { counters } = JSON.parse(await run('cat', [join(at, '.artifactfs/stats')]));
      return { gets: counters['store.gets'] };
    },
  };
}

function s3fs(place, server) {
  const [at, cache, password] = [directoryAt(place('s3fs')), place('s3fs-cache'), place('s3fs-password')];
  writeFileSync(password, `${server.accessKey}:${server.secretKey}`, { mode: 0o600 });
  const options = [
    `url=${server.endpoint}`,
    'use_path_request_style',
    `passwd_file=${password}`,
    `use_cache=${cache}`,
  ];
  const wipe = async () => rmSync(cache, { recursive: true, force: true });
  return peer(
    { name: 's3fs', about: 'with its cache on disk', kind: 'peer', rounds: 2, share: 0.05, at, wipe },
    's3fs',
    [...['-f', server.bucket, at, '-o', options.join(',')]],
  );
}

function rclone(place, server) {
  const [at, cache] = [directoryAt(place('rclone')), place('rclone-cache')];
  const env = {
    AWS_CA_BUNDLE: '', // it cannot take one, and the servers here speak plain HTTP
    RCLONE_CONFIG: place('rclone.conf'),
    RCLONE_CONFIG_STORE_TYPE: 's3',
    RCLONE_CONFIG_STORE_PROVIDER: 'Ceph',
    RCLONE_CONFIG_STORE_ENDPOINT: server.endpoint,
    RCLONE_CONFIG_STORE_ACCESS_KEY_ID: server.accessKey,
    RCLONE_CONFIG_STORE_SECRET_ACCESS_KEY: server.secretKey,
  };
  const wipe = async () => rmSync(cache, { recursive: true, force: true });
  const about = 'rclone mount, --vfs-cache-mode full, --vfs-write-back 0';
  const words = ['mount', `store:${server.bucket}`, at, '--vfs-cache-mode', 'full', '--vfs-write-back', '0s'];
  const system = peer(
    { name: 'rclone', about, kind: 'peer', rounds: 2, share: 0.05, at, wipe },
    'rclone',
    [...[...words, '--cache-dir', cache]],
    env,
  );
  // It uploads in the background and does not say when it is done: the bucket does.
  const store = new Limits(server);
  return {
    ...system,
    async publish() {
      const prefix = this.directory.slice(at.length + 1);
      const there = (await run('find', [this.directory, '-type', 'f', '-printf', '%s\n']))
        .split('\n')
        .slice(0, -1);
      const bytes = there.reduce((sum, size) => sum + Number(size), 0);
      await until(async () => {
        const found = await store.count(`${prefix}/`);
        return found.objects === there.length && found.bytes === bytes;
      }, 'uploads of rclone');
    },
  };
}

/** A file system that is a program in the foreground, and ends when it is unmounted. */
function peer({ at, ...about }, program, words, env = {}) {
  let child;
  return {
    ...about,
    directory: at,
    async mount() {
      child = spawn(program, words, { stdio: 'ignore', env: { ...process.env, ...env } });
      child.on('error', () => {}); // seen as not mounted
      await until(() => isMounted(at), `${program} at ${at}`, 20);
    },
    /** Waits while it is busy. */
    async unmount() {
      for (let tries = 0; isMounted(at); tries++)
        await run('fusermount3', [tries < 50 ? '-u' : '-uz', at]).catch(() => sleep(200));
      const ended = child;
      child = undefined;
      if (ended?.pid === undefined) return;
      await until(
        () => ended.exitCode !== null || ended.signalCode !== null,
        `the end of ${program}`,
        30,
      ).catch(() => ended.kill('SIGKILL'));
    },
    publish: nothing,
    pid: () => child?.pid,
  };
}

function directoryAt(path) {
  if (!existsSync(path)) mkdirSync(path, { recursive: true });
  return path;
}
