import { execFile } from 'node:child_process';

/** Standard output of a program; undefined when it is not there or fails. For questions, not for work. */
export function run(program: string, args: readonly string[]): Promise<string | undefined> {
  return new Promise((resolve) => {
    execFile(program, [...args], { timeout: 5_000 }, (error, stdout) =>
      resolve(error === null ? stdout : undefined),
    );
  });
}
