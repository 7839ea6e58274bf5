// Runs the TypeScript sources as they are in a child process: node --import <this file> child.ts
import { readFile } from 'node:fs/promises';
import { register } from 'node:module';
import { isMainThread } from 'node:worker_threads';
import typescript from 'typescript';

if (isMainThread) register(import.meta.url);

/** Sources import each other by the name of the compiled file. */
export async function resolve(specifier, context, next) {
  const ofOurs = specifier.startsWith('.') && context.parentURL?.endsWith('.ts');
  return next(ofOurs ? specifier.replace(/\.js$/, '.ts') : specifier, context);
}

export async function load(url, context, next) {
  if (!url.endsWith('.ts')) return next(url, context);
  const { outputText } = typescript.transpileModule(await readFile(new URL(url), 'utf8'), {
    fileName: url,
    compilerOptions: { target: 'es2022', module: 'esnext', verbatimModuleSyntax: true },
  });
  return { format: 'module', source: outputText, shortCircuit: true };
}
