// Tables of what was measured, and their places in the document.
import { readFileSync, writeFileSync } from 'node:fs';
import { areMet } from './bars.mjs';
import { figureOf, limitColumn, ratio } from './measure.mjs';
import { median } from './tools.mjs';

const documentPath = new URL('../../doc/BENCHMARKS.md', import.meta.url).pathname;
const verdicts = new Map([
  [true, 'met'],
  [false, '**no**'],
  [undefined, '-'],
]);
const memoryBarMebibytes = 350;

const show = (value) =>
  value === undefined
    ? '-'
    : Math.abs(value) < 10
      ? String(Number(value.toPrecision(3)))
      : Math.round(value).toLocaleString('en-US');
const showRatio = (value) => (value === undefined ? '-' : value.toFixed(2));
const rowsOf = (jobs) => jobs.flatMap((job) => [job, ...(job.more ?? [])]);

const table = (head, rows) =>
  [
    `| ${head.join(' | ')} |`,
    `|${head.map((_, i) => (i < 1 ? '---|' : '---:|')).join('')}`,
    ...rows.map((cells) => `| ${cells.join(' | ')} |`),
  ].join('\n');

/** How artifactfs stands in a row. @returns {import('./bars.mjs').Standing} */
function standing(figures, row, systems) {
  const against = (kind) => {
    const ratios = systems
      .filter((system) => system.kind === kind)
      .map(({ name }) => ratio(figures, row, 'artifactfs', name))
      .filter((value) => value !== undefined);
    return ratios.length === 0 ? undefined : Math.min(...ratios);
  };
  return {
    ours: figureOf(figures, row, 'artifactfs'),
    limit: ratio(figures, row, 'artifactfs', limitColumn),
    local: against('local'),
    peers: against('peer'),
  };
}

function barsOf(row, server) {
  return [...(row.bars ?? []), ...((server.realistic ? row.onNetwork : row.onLoopback) ?? [])];
}

/** The table of one server. @returns {string} */
export function jobsTable({ figures, systems, jobs, server }) {
  const columns = [limitColumn, ...systems.map(({ name }) => name)];
  const used = columns.filter((name) => [...figures.values()].some((row) => row.has(name)));
  const ours = standing.bind(null, figures);
  const head = ['job', 'unit', ...used, 'to the limit', 'to local', 'to the best peer', 'bar', ''];
  const rows = rowsOf(jobs)
    .filter((row) => figures.has(row.name))
    .map((row) => {
      const bars = barsOf(row, server);
      const stands = ours(row, systems);
      const cells = used.map((name) => show(figureOf(figures, row, name)));
      // Counts are no speeds.
      const ratios = [stands.limit, stands.local, stands.peers].map(row.from ? () => '' : showRatio);
      const verdict = bars.length === 0 ? '' : verdicts.get(areMet(bars, stands));
      return [row.title, row.unit, ...cells, ...ratios, bars.map(({ text }) => text).join(', '), verdict];
    });
  return table(head, rows);
}

/** What the limits are. */
export const limitsText = (jobs) =>
  jobs
    .filter(({ limitIs }) => limitIs !== undefined)
    .map(({ title, limitIs }) => `${title}: ${limitIs}`)
    .join('; ');

/** What the daemon used for each job. */
export function costTable({ costs, jobs }) {
  const used = jobs.filter(({ name }) => costs.has(name));
  if (used.length === 0) return '';
  const counted = used.some(({ name }) =>
    costs.get(name).counts.some(({ requests }) => requests !== undefined),
  );
  const head = ['artifactfs, job', 'processor time, s', 'most resident memory, MiB'];
  if (counted) head.push('requests', 'most at a time', 'MiB sent', 'MiB received');
  const mebibytes = (bytes) => (bytes / 2 ** 20).toFixed(1);
  const rows = used.map(({ name, title }) => {
    const { processorSeconds, peakBytes, counts } = costs.get(name);
    const of = (field) => median(counts.map((item) => item[field]));
    const cells = [
      title,
      median(processorSeconds).toFixed(2),
      String(Math.round(Math.max(...peakBytes) / 2 ** 20)),
    ];
    if (counted)
      cells.push(
        show(of('requests')),
        show(of('inFlightMax')),
        mebibytes(of('bytesIn')),
        mebibytes(of('bytesOut')),
      );
    return cells;
  });
  const most = Math.max(...used.flatMap(({ name }) => costs.get(name).peakBytes)) / 2 ** 20;
  const verdict = verdicts.get(most <= memoryBarMebibytes);
  return `${table(head, rows)}\n\nMost resident memory of any job: ${show(most)} MiB; bar ≤ ${memoryBarMebibytes} MiB: ${verdict}.`;
}

/** Lines of curves as rows, their points as columns. */
export function curvesTable(lines, points, unitOfPoints) {
  const head = ['', 'unit', ...points.map(({ at }) => `${at.toLocaleString('en-US')} ${unitOfPoints}`)];
  return table(
    head,
    lines.map(({ name, title, unit }) => [title, unit, ...points.map(({ values }) => show(values[name]))]),
  );
}

export function curveBars(bars, lines, points, unitOfPoints) {
  const rows = bars.flatMap(({ line, at, bar }) => {
    const ours = points.find((point) => point.at === at)?.values[line];
    if (ours === undefined) return [];
    const { title, unit } = lines.find(({ name }) => name === line);
    const count = `${at.toLocaleString('en-US')} ${unitOfPoints}`;
    return [[`${title}, ${count}`, `${show(ours)} ${unit}`, bar.text, verdicts.get(areMet([bar], { ours }))]];
  });
  return table(['bar', 'measured', 'must be', ''], rows);
}

/** Puts `text` between the marks of a section of doc/BENCHMARKS.md, which keeps what others wrote around them. */
export function writeSection(name, text) {
  const [begin, end] = [`<!-- measured ${name}: begin -->`, `<!-- measured ${name}: end -->`];
  const document = readFileSync(documentPath, 'utf8');
  const [from, to] = [document.indexOf(begin), document.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`doc/BENCHMARKS.md has lost its marks ${begin} and ${end}`);
  writeFileSync(documentPath, `${document.slice(0, from)}${begin}\n${text}\n${document.slice(to)}`);
}
