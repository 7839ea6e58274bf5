import { environmentName, type OptionGroup, type OptionName, optionNames, optionSpec } from './options.js';

const optionGroups: readonly OptionGroup[] = ['Store', 'Local files', 'Mount', 'Log'];

/** The options section of doc/CONFIGURATION.md, as Markdown. */
export function optionsAsMarkdown(): string {
  return optionGroups.map((group) => `### ${group}\n\n${groupTable(group)}\n`).join('\n');
}

function groupTable(group: OptionGroup): string {
  const rows = optionNames.filter((name) => optionSpec(name).group === group).map(row);
  return ['| Option | Default | What it does |', '|---|---|---|', ...rows].join('\n');
}

function row(name: OptionName): string {
  const spec = optionSpec(name);
  const value = spec.choices?.join('\\|') ?? spec.unit;
  const flag = spec.secret ? `\`${name}\`` : `\`--${name}${value === undefined ? '' : ` ${value}`}\``;
  const option = `${flag}<br>\`${environmentName(name)}\``;
  const notes = [
    spec.help,
    spec.s3 ? 's3:// stores only' : '',
    spec.secret ? 'a secret: no flag; a file that holds it must have mode 0600' : '',
  ];
  return `| ${option} | ${spec.defaultText ?? ''} | ${notes.filter((note) => note !== '').join('; ')} |`;
}
