import { execFileSync } from 'node:child_process';
import { chmodSync, statSync } from 'node:fs';
import type { User } from './world.js';

const name = 'artifactfs-test';

/**
 * An account without rights, made when the tests run as root. /dev/fuse is opened for it: that is what udev does on
 * a desktop or server; in some containers and small images the device is root's only.
 */
export function ordinaryUser(): User {
  if (process.getuid?.() !== 0) throw new Error('only root can make the ordinary user');
  let line = account();
  if (line === undefined) {
    execFileSync('useradd', ['--create-home', '--shell', '/bin/bash', name]);
    line = account();
  }
  if ((statSync('/dev/fuse').mode & 0o666) !== 0o666) chmodSync('/dev/fuse', 0o666);
  const [, , uid, gid, , home] = (line ?? '').split(':');
  return { uid: Number(uid), gid: Number(gid), home: home ?? '/' };
}

function account(): string | undefined {
  try {
    return execFileSync('getent', ['passwd', name], { encoding: 'utf8' }).trim();
  } catch {
    return undefined;
  }
}
