import { constants } from 'node:fs';
import { access, mkdir, readFile, statfs } from 'node:fs/promises';
import { platform, release } from 'node:os';
import type { Config } from '../config/options.js';
import { formatBytes } from '../config/sizes.js';
import { readAheadFile, readKernelSettings } from '../fuse/kernel-settings.js';
import { readAheadBytesDefault } from '../fuse/mount-options.js';
import { loadNative } from '../fuse/native.js';
import { loadBinding } from '../fuse-native/binding.js';
import { type ArtifactError, isCode, toArtifactError } from '../model/errors.js';
import type { ObjectStore } from '../store/object-store.js';
import { serviceAt, storeServices } from '../store/quirks.js';
import { run } from '../util/run.js';
import { readWriter, shownWriter } from '../workspace/writer-lease.js';
import { openConfiguredStore } from './store.js';

/** The outcome of one check, and what to do when it is not ok. */
export interface Finding {
  readonly what: string;
  readonly result: 'ok' | 'warn' | 'fail';
  readonly found: string;
  readonly advice?: string;
}

const spaceBytesMin = 2 ** 30;

/**
 * Checks what a mount needs, and what the kernel does for those that are there, one after another; a failed check stops
 * no other.
 */
export async function* examine(config: Config, mountPoints: readonly string[]): AsyncGenerator<Finding> {
  yield nodeVersion();
  yield await device();
  yield await fusermount();
  yield* drivers(config);
  yield await otherUsers(config);
  yield passthrough(config);
  for (const mountPoint of mountPoints) yield await kernelSettings(mountPoint);
  yield* await stateDirectory(config);
  yield* await store(config);
}

function nodeVersion(): Finding {
  const [major = 0, minor = 0] = process.versions.node.split('.').map(Number);
  const isNew = major > 20 || (major === 20 && minor >= 15);
  const what = 'Node.js';
  return isNew
    ? { what, result: 'ok', found: process.version }
    : { what, result: 'fail', found: process.version, advice: 'install Node.js 20.15 or newer' };
}

async function device(): Promise<Finding> {
  const what = '/dev/fuse';
  try {
    await access('/dev/fuse', constants.R_OK | constants.W_OK);
    return { what, result: 'ok', found: 'can be opened' };
  } catch (error) {
    const { code } = error as NodeJS.ErrnoException;
    const found = code === 'ENOENT' ? 'is not there' : `cannot be opened (${code})`;
    const advice =
      code === 'ENOENT'
        ? 'load the module (sudo modprobe fuse); in a container add --device /dev/fuse --cap-add SYS_ADMIN. Without it put, get, cat and commit still work'
        : 'make it usable for this user: sudo chmod 666 /dev/fuse';
    return { what, result: 'fail', found, advice };
  }
}

async function fusermount(): Promise<Finding> {
  const what = 'fusermount3';
  const version = await run('fusermount3', ['--version']);
  if (version !== undefined) return { what, result: 'ok', found: version.trim() };
  const advice = 'install it: sudo apt-get install fuse3';
  return process.geteuid?.() === 0
    ? { what, result: 'warn', found: 'is not there; root mounts without it', advice }
    : { what, result: 'fail', found: 'is not there, and only root mounts without it', advice };
}

/** One driver must load, and the one that is asked for. */
function drivers({ driver }: Config): Finding[] {
  const what = 'compiled addon';
  const advice = 'build it: npm run build:native';
  const addon = failureOf(loadNative);
  const fallback = failureOf(loadBinding);
  const findings: Finding[] = [];
  if (addon === undefined) findings.push({ what, result: 'ok', found: 'loads' });
  else if (fallback === undefined) {
    const found = `${addon.message}; mounts use fuse-native instead, which is slower`;
    findings.push({ what, result: 'warn', found, advice });
  } else findings.push({ what, result: 'fail', found: addon.message, advice });
  if (driver === 'fuse-native' || addon !== undefined) {
    findings.push(
      fallback === undefined
        ? { what: 'fuse-native', result: 'ok', found: 'loads' }
        : {
            what: 'fuse-native',
            result: driver === 'fuse-native' ? 'fail' : 'warn',
            found: fallback.message,
            ...(fallback.details.hint === undefined ? {} : { advice: fallback.details.hint }),
          },
    );
  }
  return findings;
}

function failureOf(load: () => unknown): ArtifactError | undefined {
  try {
    load();
    return undefined;
  } catch (error) {
    return toArtifactError(error);
  }
}

async function otherUsers({ allowOther }: Config): Promise<Finding> {
  const what = 'user_allow_other';
  if (process.geteuid?.() === 0) return { what, result: 'ok', found: 'not needed by root' };
  const text = await readFile('/etc/fuse.conf', 'utf8').catch(() => '');
  if (/^\s*user_allow_other\s*$/m.test(text)) return { what, result: 'ok', found: 'is in /etc/fuse.conf' };
  const found = 'is not in /etc/fuse.conf: --allow-other is refused for this user';
  return allowOther
    ? { what, result: 'fail', found, advice: 'add a line user_allow_other to /etc/fuse.conf' }
    : { what, result: 'ok', found };
}

/** Whether the kernel may read whole cached files by itself. A mount goes without just as well. */
function passthrough({ writeCache, driver }: Config): Finding {
  const what = 'passthrough';
  const [major = 0, minor = 0] = release().split('.').map(Number);
  let found = 'on, for whole cached files of versions';
  if (platform() !== 'linux' || driver !== 'kernel') found = 'off: it needs Linux and --driver kernel';
  else if (major < 6 || (major === 6 && minor < 9))
    found = `off: it needs Linux 6.9, and this is ${release()}`;
  else if (process.geteuid?.() !== 0) found = 'off: only root may let the kernel read files by itself';
  else if (writeCache) found = 'off: it needs --no-write-cache';
  return { what, result: 'ok', found };
}

/** Only root may let the kernel read ahead further than 128 KiB; without it large files come in smaller pieces. */
async function kernelSettings(mountPoint: string): Promise<Finding> {
  const what = `kernel settings of ${mountPoint}`;
  const settings = await readKernelSettings(mountPoint);
  if (settings === undefined) return { what, result: 'warn', found: 'nothing is mounted there' };
  const { readAheadBytes, backgroundMax, congestedAt } = settings;
  const ahead =
    readAheadBytes === null ? 'read-ahead is not told' : `reads ahead ${formatBytes(readAheadBytes)}`;
  const background =
    backgroundMax === null
      ? 'requests in the background are not told (mount -t fusectl none /sys/fs/fuse/connections shows them)'
      : `${backgroundMax} requests in the background, congested at ${congestedAt ?? 'an unknown number'}`;
  const found = `${ahead}, ${background}`;
  const { device } = settings;
  if (readAheadBytes === null || readAheadBytes >= readAheadBytesDefault)
    return { what, result: 'ok', found };
  const advice = `for faster reading of large files: echo ${readAheadBytesDefault >> 10} | sudo tee ${readAheadFile(device)} (after each mount, or mount as root)`;
  return { what, result: 'warn', found, advice };
}

async function stateDirectory({ stateDir, cacheSize }: Config): Promise<Finding[]> {
  const what = 'state directory';
  try {
    await mkdir(stateDir, { recursive: true, mode: 0o700 });
    await access(stateDir, constants.R_OK | constants.W_OK | constants.X_OK);
    const { bavail, bsize } = await statfs(stateDir);
    const free = bavail * bsize;
    const found = `${stateDir}, ${formatBytes(free)} free`;
    if (free < spaceBytesMin) {
      return [{ what, result: 'fail', found, advice: 'free space, or choose another with --state-dir' }];
    }
    if (free < cacheSize) {
      const advice = `the cache may take ${formatBytes(cacheSize)}: free space or lower --cache-size`;
      return [{ what, result: 'warn', found, advice }];
    }
    return [{ what, result: 'ok', found }];
  } catch (error) {
    const advice = 'choose another with --state-dir';
    return [{ what, result: 'fail', found: `${stateDir}: ${(error as Error).message}`, advice }];
  }
}

const committable = storeServices.filter((one) => one.createIfAbsent === 'yes').map(({ name }) => name);

/** What is known of who runs the store, where its address tells. What it can do is proved, whatever is said here. */
function service({ store, endpoint }: Config): Finding[] {
  const known = store.startsWith('s3:') ? serviceAt(endpoint) : undefined;
  if (known === undefined) return [];
  const { name, lacks, instead } = known;
  return [
    { what: 'store service', result: 'ok', found: [`${name}: ${lacks}`, instead].filter(Boolean).join('; ') },
  ];
}

const ifMatchFinding = (isRefused: boolean): Finding => ({
  what: 'store If-Match',
  result: 'ok',
  found: isRefused ? 'refused for what is not there' : 'ignored for what is not there; nothing needs it',
});

async function withoutCreate({ singleWriter }: Config, opened: ObjectStore): Promise<Finding> {
  const what = 'store create-if-absent';
  const advice = `use a store that honours If-None-Match: * (${committable.join(', ')})`;
  const missing = 'the store overwrites what exists';
  if (!singleWriter)
    return {
      what,
      result: 'fail',
      found: `${missing}: nothing can be committed safely`,
      advice: `${advice}, or let one machine write at a time with --single-writer`,
    };
  const writer = await readWriter(opened);
  const who =
    writer === null || writer.released
      ? 'nobody does now'
      : `${shownWriter(writer)} did so last, or does now`;
  return { what, result: 'warn', found: `${missing}: one machine may write at a time; ${who}`, advice };
}

/** Asks the store itself: with objects of its own under .probe/, which are removed again. */
async function store(config: Config): Promise<Finding[]> {
  const what = 'store';
  try {
    await using opened = await openConfiguredStore(config, { create: false });
    const { writable, createIfAbsent, copyPart, ifMatch, presign } = await opened.probe();
    return [
      { what, result: 'ok', found: `${opened.url} answers` },
      ...service(config),
      writable
        ? { what: 'store writes', result: 'ok', found: 'allowed' }
        : {
            what: 'store writes',
            result: 'warn',
            found: 'not allowed: it can only be read',
            advice: 'give these credentials the right to put and delete objects',
          },
      createIfAbsent
        ? { what: 'store create-if-absent', result: 'ok', found: 'proved' }
        : await withoutCreate(config, opened),
      ...(ifMatch === undefined ? [] : [ifMatchFinding(ifMatch)]),
      { what: 'store copies parts', result: 'ok', found: copyPart ? 'yes' : 'no: such bytes are sent again' },
      { what: 'store signs URLs', result: 'ok', found: presign ? 'yes' : 'no' },
    ];
  } catch (error) {
    if (config.store.startsWith('file:') && isCode(error, 'StoreMissing')) {
      return [{ what, result: 'ok', found: `${config.store} is not there yet: the first mount makes it` }];
    }
    const { message, details } = toArtifactError(error);
    const advice = details.hint ?? 'check --store, --endpoint, --profile and the network';
    return [{ what, result: 'fail', found: message, advice }];
  }
}
