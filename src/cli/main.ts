#!/usr/bin/env node
import '../util/v8-settings.js';
import { CodeCache } from '../util/code-cache.js';
import { startDaemon, startsDaemon } from './background.js';
import { exitCodes } from './exit-codes.js';

// Whoever read our output is gone (artifactfs log | head): there is nobody to complain to.
for (const stream of [process.stdout, process.stderr]) {
  stream.on('error', (error: NodeJS.ErrnoException) => {
    if (error.code !== 'EPIPE') throw error;
    process.exit(exitCodes.pipe.code);
  });
}

try {
  process.cwd();
} catch {
  // Removed under us, or inside a mount whose daemon is gone: what needs no such place still works.
  process.chdir('/');
}

async function main(args: readonly string[]): Promise<void> {
  if (startsDaemon(args)) process.exitCode = await startDaemon(args);
  else {
    // A bundle of its own, with what V8 compiled of it when it was built.
    const { runCommandLine } = new CodeCache(import.meta.dirname).load('run.js') as typeof import('./run.js');
    process.exitCode = await runCommandLine(args);
  }
  // What a failed `put -` has not read keeps nobody waiting.
  process.stdin.destroy();
}

void main(process.argv.slice(2));
