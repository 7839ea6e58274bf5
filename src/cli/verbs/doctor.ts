import type { Finding } from '../../app/doctor.js';
import { runningDaemons } from '../../app/registry.js';
import { exitCodes } from '../exit-codes.js';
import type { Verb } from '../verb.js';

const marks: Readonly<Record<Finding['result'], 'green' | 'yellow' | 'red'>> = {
  ok: 'green',
  warn: 'yellow',
  fail: 'red',
};

export const doctor: Verb = {
  command: 'doctor',
  describe: 'check what a mount needs, here and in the store',
  examples: [['artifactfs doctor --store s3://bucket/work', 'can this machine use the store?']],
  settings: 'store',
  async run(context) {
    const { terminal } = context;
    const { examine } = await import('../../app/doctor.js');
    const findings: Finding[] = [];
    const mountPoints = (await runningDaemons(context.env)).flatMap(({ mountPoint }) => mountPoint ?? []);
    for await (const finding of examine(context.loaded.config, mountPoints)) {
      findings.push(finding);
      if (terminal.json) continue;
      const mark = terminal.style(marks[finding.result], finding.result.padEnd(4));
      terminal.line(`${mark}  ${finding.what}: ${finding.found}`);
      if (finding.advice !== undefined) terminal.paragraph(finding.advice, '      ');
    }
    const failed = findings.some(({ result }) => result === 'fail');
    if (terminal.json) terminal.document({ ok: !failed, findings });
    return failed ? exitCodes.failure.code : exitCodes.ok.code;
  },
};
