// The program as a few files instead of a thousand: most of the time of a start was finding and reading modules.
import { defineConfig } from 'rolldown';

export default defineConfig({
  input: 'dist/cli/main.js', // as tsc left it
  platform: 'node',
  // What has native parts is loaded from its own package.
  external: ['better-sqlite3', 'fuse-native'],
  // As deep below package.json and build/native as the sources, whose paths are relative.
  output: { dir: 'dist/bin', format: 'esm', entryFileNames: 'main.js', chunkFileNames: '[name]-[hash].js', cleanDir: true },
});
