import { readFileSync, writeFileSync } from 'node:fs';

const documentPath = new URL('../../doc/BENCHMARKS.md', import.meta.url).pathname;
const picturePath = new URL('../../doc/benchmarks.svg', import.meta.url).pathname;
const [begin, end] = ['<!-- measured: begin -->', '<!-- measured: end -->'];

export function median(list) {
  const sorted = [...list].sort((a, b) => a - b);
  const middle = sorted.length >> 1;
  return sorted.length % 2 === 1 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}

/** How fast `value` is against the local file system: above 1 is faster. */
function ratio(row, value, localName) {
  const base = row.medians[localName];
  if (base === undefined || value === undefined) return undefined;
  return row.better === 'higher' ? value / base : base / value;
}

const show = (value) =>
  value === undefined ? '-' : value < 10 ? value.toPrecision(3) : Math.round(value).toLocaleString('en-US');

function table(result) {
  const names = result.systems.map(({ name }) => name);
  const [localName] = names;
  const lines = [
    `| job | unit | ${names.join(' | ')} | artifactfs / ${localName} |`,
    `|---|---|${names.map(() => '---:|').join('')}---:|`,
  ];
  for (const row of result.rows) {
    const cells = names.map((name) => show(row.medians[name]));
    const ours = ratio(row, row.medians.artifactfs, localName);
    lines.push(
      `| ${row.title} | ${row.unit} | ${cells.join(' | ')} | ${ours === undefined ? '-' : ours.toFixed(2)} |`,
    );
  }
  return lines.join('\n');
}

export function print(result) {
  console.log(table(result));
}

export function writeDocument(result) {
  const { files, megabytes, many } = result.sizes;
  const about = result.systems.map(({ name, about: what }) => `${name}: ${what}`).join('; ');
  const text = [
    begin,
    `Measured ${new Date().toISOString().slice(0, 10)} on ${result.machine}; median of ${result.rounds} rounds, ${files} small files`,
    `(fewer for s3fs and rclone, as rates), ${megabytes} MiB, listings of ${many} files once. ${about}.`,
    'The last column is speed against the local file system: 1.00 is as fast, more is faster.',
    '',
    table(result),
    '',
    '![speed against the local file system](benchmarks.svg)',
    end,
  ].join('\n');
  const document = readFileSync(documentPath, 'utf8');
  const [from, to] = [document.indexOf(begin), document.indexOf(end)];
  if (from < 0 || to < from) throw new Error(`doc/BENCHMARKS.md has lost its marks ${begin} and ${end}`);
  writeFileSync(documentPath, document.slice(0, from) + text + document.slice(to + end.length));
  writeFileSync(picturePath, picture(result));
}

const colours = ['#8da0cb', '#1b9e77', '#d95f02', '#7570b3', '#999999'];

/** Bars of speed against the local file system, on a logarithmic scale from 1/1000 to 4. */
function picture(result) {
  const [local, ...others] = result.systems.map(({ name }) => name);
  const [left, width, barHeight, gap] = [250, 520, 9, 8];
  const x = (value) =>
    left + (width * (Math.log10(Math.min(Math.max(value, 0.001), 4)) + 3)) / (Math.log10(4) + 3);
  const rowHeight = others.length * barHeight + gap;
  const height = 60 + result.rows.length * rowHeight;
  const parts = [
    `<svg xmlns="http://www.w3.org/2000/svg" width="${left + width + 30}" height="${height}" font-family="sans-serif" font-size="11">`,
    '<rect width="100%" height="100%" fill="white"/>',
  ];
  others.forEach((name, i) => {
    parts.push(`<rect x="${left + i * 110}" y="8" width="10" height="10" fill="${colours[i]}"/>`);
    parts.push(`<text x="${left + i * 110 + 14}" y="17">${name}</text>`);
  });
  for (const mark of [0.001, 0.01, 0.1, 1]) {
    const label = mark === 1 ? local : mark;
    parts.push(`<line x1="${x(mark)}" x2="${x(mark)}" y1="40" y2="${height - 10}" stroke="#ccc"/>`);
    parts.push(`<text x="${x(mark)}" y="35" text-anchor="middle">${label}</text>`);
  }
  result.rows.forEach((row, i) => {
    const y = 45 + i * rowHeight;
    parts.push(`<text x="${left - 8}" y="${y + rowHeight / 2}" text-anchor="end">${row.title}</text>`);
    others.forEach((name, j) => {
      const value = ratio(row, row.medians[name], local);
      if (value === undefined) return;
      const bar = Math.max(x(value) - left, 1);
      parts.push(
        `<rect x="${left}" y="${y + j * barHeight}" width="${bar}" height="${barHeight - 1}" fill="${colours[j]}"/>`,
      );
    });
  });
  return `${parts.join('\n')}\n</svg>\n`;
}
