// summary.mjs REPORT.json...: adds up vitest's JSON reports. The closing line is the whole run's count; right before it
// are the tests that failed, with the first lines of their errors, few enough that the end of a log shows them all. A
// test that ran a program with many cases says how many in its `meta`.
import { readFileSync } from 'node:fs';
import { basename, relative } from 'node:path';
import { stripVTControlCharacters } from 'node:util';

const failureLinesMax = 19;
const errorLinesMax = 6;
const lineCharsMax = 180;

const sum = { passed: 0, failed: 0, skipped: 0 };
const failures = [];
for (const file of process.argv.slice(2)) {
  const name = basename(file, '.json');
  const report = JSON.parse(readFileSync(file, 'utf8'));
  const count = {
    passed: report.numPassedTests,
    failed: report.numFailedTests + (report.numFailedTestSuites > 0 && report.numFailedTests === 0 ? 1 : 0),
    skipped: report.numPendingTests + report.numTodoTests,
  };
  console.log(`${name}: ${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`);
  const tests = report.testResults.flatMap((result) => result.assertionResults);
  const cases = tests.reduce((n, { meta }) => n + (meta?.cases ?? 0), 0);
  if (cases > 0) console.log(`${name}: ${cases} cases inside of programs passed`);
  for (const key of Object.keys(sum)) sum[key] += count[key];
  failures.push(...report.testResults.flatMap((result) => failuresOf(name, result)));
}
for (const line of failureLines(failures)) console.log(line);
console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exit(sum.failed > 0 || sum.passed === 0 ? 1 : 0);

// A file that could not be loaded, or whose hooks failed, has a message and no failed test.
function failuresOf(report, { name, status, message, assertionResults }) {
  const failed = assertionResults.filter((test) => test.status === 'failed');
  const place = `${report}: ${relative(process.cwd(), name)}`;
  if (failed.length === 0) return status === 'failed' ? [{ title: place, error: message ?? '' }] : [];
  return failed.map((test) => ({
    title: [place, ...test.ancestorTitles, test.title].join(' > '),
    error: test.failureMessages.join('\n'),
  }));
}

// Every failed test has its line as long as there is room; what remains is shared by their errors.
function failureLines(failures) {
  const room = failures.length > failureLinesMax ? failureLinesMax - 1 : failureLinesMax;
  const shown = failures.slice(0, room);
  const each = Math.min(errorLinesMax, Math.floor((room - shown.length) / Math.max(1, shown.length)));
  const lines = shown.flatMap(({ title, error }) => [
    `FAILED ${title}`,
    ...errorLines(error)
      .slice(0, each)
      .map((line) => `    ${line}`),
  ]);
  if (shown.length < failures.length) lines.push(`and ${failures.length - shown.length} more failed`);
  return lines.map((line) => (line.length > lineCharsMax ? `${line.slice(0, lineCharsMax - 3)}...` : line));
}

// What was expected, and the place in our own files; not the frames of the test runner. The report has nothing but the
// stack of an error, which for a test or hook out of time says only this.
function errorLines(error) {
  return stripVTControlCharacters(error)
    .replace('Error: STACK_TRACE_ERROR', 'timed out')
    .split('\n')
    .map((line) => line.trim().replace(`${process.cwd()}/`, ''))
    .filter((line) => line !== '' && !/node_modules|node:internal|at new Promise/.test(line));
}
