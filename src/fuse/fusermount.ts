import { spawn } from 'node:child_process';
import { ArtifactError } from '../model/errors.js';

export interface FusermountResult {
  readonly exitCode: number;
  /** What it said, in one line. */
  readonly message: string;
}

/**
 * Runs fusermount3, the setuid helper by which ordinary users mount. `commFd` (a socket) becomes its descriptor 3, and
 * _FUSE_COMMFD says so. Throws `Unsupported` where it is not installed.
 */
export async function runFusermount(args: readonly string[], commFd?: number): Promise<FusermountResult> {
  const child = spawn('fusermount3', args, {
    stdio: ['ignore', 'ignore', 'pipe', ...(commFd === undefined ? [] : [commFd])],
    env: { ...process.env, LC_ALL: 'C', ...(commFd === undefined ? {} : { _FUSE_COMMFD: '3' }) },
  });
  let said = '';
  child.stderr?.setEncoding('utf8').on('data', (text: string) => {
    said += text;
  });
  return await new Promise((resolve, reject) => {
    child.once('error', (error) => reject(cannotRun(error)));
    child.once('close', (code) => {
      resolve({ exitCode: code ?? 1, message: said.trim().replace(/\s*\n\s*/g, '; ') });
    });
  });
}

function cannotRun(error: Error & { code?: string }): ArtifactError {
  return new ArtifactError(
    'Unsupported',
    error.code === 'ENOENT' ? 'fusermount3 is not installed' : `fusermount3 cannot be run: ${error.message}`,
    { hint: 'install it: apt install fuse3' },
    error,
  );
}
