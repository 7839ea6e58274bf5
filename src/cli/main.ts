#!/usr/bin/env node
import '../util/heap.js';
import { exitCodes } from './exit-codes.js';
import { runCommandLine } from './run.js';

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
process.exitCode = await runCommandLine(process.argv.slice(2));
// What a failed `put -` has not read keeps nobody waiting.
process.stdin.destroy();
