// The program as a few files instead of a thousand: most of the time of a start was finding and reading modules.
import { defineConfig } from 'rolldown';

/** Says that these are no ES modules, as all others here: V8 keeps what it compiled of scripts only. */
const asScripts = {
  name: 'as-scripts',
  generateBundle() {
    this.emitFile({ type: 'asset', fileName: 'package.json', source: '{ "type": "commonjs" }\n' });
  },
};

// As deep below package.json and build/native as the sources, whose paths are relative.
const output = { dir: 'dist/bin', format: 'cjs', entryFileNames: '[name].js', chunkFileNames: '[name]-[hash].js' };
const common = {
  platform: 'node',
  // What has native parts is loaded from its own package.
  external: ['better-sqlite3', 'fuse-native'],
  checks: { emptyImportMeta: false }, // what yargs does with it is never asked for here
};

// The sources as tsc left them. What begins and loads the rest shares nothing with it.
export default defineConfig([
  { ...common, input: { run: 'dist/cli/run.js' }, plugins: [asScripts], output: { ...output, cleanDir: true } },
  { ...common, input: { main: 'dist/cli/main.js' }, output },
]);
