// summary.mjs REPORT.json...: adds up vitest's JSON reports; the closing line is the whole run's count. A test that ran
// a program with many cases says how many in its `meta`.
import { readFileSync } from 'node:fs';
import { basename } from 'node:path';

const sum = { passed: 0, failed: 0, skipped: 0 };
for (const file of process.argv.slice(2)) {
  const report = JSON.parse(readFileSync(file, 'utf8'));
  const count = {
    passed: report.numPassedTests,
    failed: report.numFailedTests + (report.numFailedTestSuites > 0 && report.numFailedTests === 0 ? 1 : 0),
    skipped: report.numPendingTests + report.numTodoTests,
  };
  console.log(
    `${basename(file, '.json')}: ${count.passed} passed, ${count.failed} failed, ${count.skipped} skipped`,
  );
  const tests = report.testResults.flatMap((result) => result.assertionResults);
  const cases = tests.reduce((n, { meta }) => n + (meta?.cases ?? 0), 0);
  if (cases > 0) console.log(`${basename(file, '.json')}: ${cases} cases inside of programs passed`);
  for (const key of Object.keys(sum)) sum[key] += count[key];
}
console.log(`${sum.passed} passed, ${sum.failed} failed, ${sum.skipped} skipped`);
process.exit(sum.failed > 0 || sum.passed === 0 ? 1 : 0);
