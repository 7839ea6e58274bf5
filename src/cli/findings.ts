import type { Finding } from '../app/fsck.js';
import type { Terminal } from './terminal.js';
import { plural } from './text.js';

const styles: Readonly<Record<Finding['severity'], 'red' | 'yellow' | 'dim'>> = {
  damage: 'red',
  warning: 'yellow',
  info: 'dim',
};

const filesShownMax = 10;

/** What a check has to say, for people. */
export function showFinding(terminal: Terminal, finding: Finding): void {
  const { severity, code, artifact, key, offset, length, what, means, versions, files, fileCount } = finding;
  const whose = artifact === '' ? '' : `${terminal.name(artifact)}: `;
  terminal.line(`${terminal.style(styles[severity], `${severity} ${code}`)}  ${whose}${terminal.name(what)}`);
  if (key !== null)
    terminal.paragraph(
      `at ${terminal.name(key)}${offset === null ? '' : `, ${length ?? 0} bytes from ${offset}`}`,
      '    ',
    );
  if (means !== '') terminal.paragraph(terminal.name(means), '    ');
  if (versions.length > 0) terminal.paragraph(`versions: ${versions.map((n) => `v${n}`).join(' ')}`, '    ');
  for (const file of files.slice(0, filesShownMax)) terminal.line(`    ${terminal.name(file)}`);
  const more = fileCount - Math.min(files.length, filesShownMax);
  if (more > 0) terminal.line(`    ${files.length === 0 ? plural(more, 'name') : `and ${more} more`}`);
}
