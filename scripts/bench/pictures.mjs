// Pictures for the document: they follow the reader's light or dark colours.
import { writeFileSync } from 'node:fs';
import { figureOf, limitColumn, ratio } from './measure.mjs';

const style = `<style>
  text { font: 12px sans-serif; fill: #24292f } .faint { fill: #57606a; font-size: 11px }
  .ground { fill: #ffffff } .grid { stroke: #d0d7de } .one { stroke: #24292f }
  .c0 { fill: #0969da; stroke: #0969da } .c1 { fill: #bf8700; stroke: #bf8700 } .c2 { fill: #8250df; stroke: #8250df }
  .c3 { fill: #1a7f37; stroke: #1a7f37 } .c4 { fill: #cf222e; stroke: #cf222e } .c5 { fill: #57606a; stroke: #57606a }
  .line { fill: none; stroke-width: 2 }
  @media (prefers-color-scheme: dark) {
    text { fill: #e6edf3 } .faint { fill: #9198a1 } .ground { fill: #0d1117 } .grid { stroke: #30363d } .one { stroke: #e6edf3 }
    .c0 { fill: #58a6ff; stroke: #58a6ff } .c1 { fill: #e3b341; stroke: #e3b341 } .c2 { fill: #bc8cff; stroke: #bc8cff }
    .c3 { fill: #56d364; stroke: #56d364 } .c4 { fill: #ff7b72; stroke: #ff7b72 } .c5 { fill: #9198a1; stroke: #9198a1 }
    .line { fill: none }
  }
</style>`;

const save = (name, width, height, parts) =>
  writeFileSync(
    new URL(`../../doc/${name}.svg`, import.meta.url),
    [
      `<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 ${width} ${height}" width="${width}" height="${height}">`,
      style,
      `<rect class="ground" width="${width}" height="${height}"/>`,
      ...parts,
      '</svg>\n',
    ].join('\n'),
  );

const text = (x, y, words, { anchor = 'start', kind = '' } = {}) =>
  `<text x="${x}" y="${y}" text-anchor="${anchor}" class="${kind}">${words.replaceAll('&', '&amp;').replaceAll('<', '&lt;')}</text>`;

const legend = (names, left, y) => {
  const width = (name) => 34 + name.length * 7;
  return names.flatMap((name, i) => {
    const x = left + names.slice(0, i).reduce((sum, other) => sum + width(other), 0);
    return [`<rect class="c${i}" x="${x}" y="${y - 10}" width="11" height="11"/>`, text(x + 16, y, name)];
  });
};

/** Bars of the speed of each system against the limit, or the local file system where there is no other limit. */
export function saveBars(name, { figures, systems, jobs }) {
  const local = systems.find(({ kind }) => kind === 'local')?.name;
  const names = systems.filter(({ kind }) => kind !== 'local').map((system) => system.name);
  const rows = jobs.flatMap((job) => {
    const base = job.limit === undefined ? local : limitColumn;
    const bars = names.map((system) => ratio(figures, job, system, base));
    return bars.some((value) => value !== undefined) ? [{ job, base, bars }] : [];
  });
  const [left, width, thick, gap, top] = [330, 560, 9, 10, 62];
  const [least, most] = [0.001, 10];
  const x = (value) =>
    left + (width * Math.log10(Math.min(Math.max(value, least), most) / least)) / Math.log10(most / least);
  const rowHeight = names.length * thick + gap;
  const height = top + rows.length * rowHeight + 10;
  const parts = [...legend(names, left, 20)];
  for (const mark of [0.001, 0.01, 0.1, 1, 10]) {
    const kind = mark === 1 ? 'one' : 'grid';
    parts.push(`<line class="${kind}" x1="${x(mark)}" x2="${x(mark)}" y1="${top - 8}" y2="${height - 8}"/>`);
    parts.push(
      text(x(mark), top - 14, mark === 1 ? 'as fast as the limit' : `${mark} ×`, {
        anchor: 'middle',
        kind: 'faint',
      }),
    );
  }
  rows.forEach(({ job, base, bars }, i) => {
    const y = top + i * rowHeight;
    const middle = y + (names.length * thick) / 2;
    parts.push(text(left - 10, middle, job.title, { anchor: 'end' }));
    const own = figureOf(figures, job, 'artifactfs');
    const about = `${own === undefined ? '' : `${Number(own.toPrecision(3))} ${job.unit}, `}limit: ${base === limitColumn ? 'SDK' : base}`;
    parts.push(text(left - 10, middle + 12, about, { anchor: 'end', kind: 'faint' }));
    bars.forEach((value, j) => {
      if (value === undefined) return;
      const box = `x="${left}" y="${y + j * thick}" width="${Math.max(2, x(value) - left)}" height="${thick - 1}"`;
      parts.push(`<rect class="c${j}" stroke="none" ${box}/>`);
    });
  });
  save(name, left + width + 40, height, parts);
}

/** Lines on logarithmic scales both ways. `lines` with `unit` go to the left scale: all have one unit. */
export function saveLines(name, { lines, points, across, up }) {
  const [left, top, width, height] = [70, 20 + lines.length * 18, 640, 360];
  const values = points
    .flatMap((point) => lines.map((line) => point.values[line.name]))
    .filter((value) => value > 0);
  if (values.length === 0 || points.length < 2) return;
  const [low, high] = [
    10 ** Math.floor(Math.log10(Math.min(...values))),
    10 ** Math.ceil(Math.log10(Math.max(...values))),
  ];
  const [first, last] = [points[0].at, points.at(-1).at];
  const x = (at) => left + (width * Math.log10(at / first)) / Math.log10(last / first);
  const y = (value) => top + height - (height * Math.log10(value / low)) / Math.log10(high / low);
  const parts = [];
  lines.forEach(({ title }, i) => {
    parts.push(
      `<rect class="c${i}" x="${left}" y="${8 + i * 18}" width="11" height="11"/>`,
      text(left + 18, 18 + i * 18, title),
    );
  });
  for (let mark = low; mark <= high * 1.001; mark *= 10) {
    parts.push(`<line class="grid" x1="${left}" x2="${left + width}" y1="${y(mark)}" y2="${y(mark)}"/>`);
    parts.push(
      text(left - 8, y(mark) + 4, `${Number(mark.toPrecision(1))} ${up}`, { anchor: 'end', kind: 'faint' }),
    );
  }
  for (const { at } of points) {
    parts.push(`<line class="grid" x1="${x(at)}" x2="${x(at)}" y1="${top}" y2="${top + height}"/>`);
    parts.push(
      text(x(at), top + height + 18, at.toLocaleString('en-US'), { anchor: 'middle', kind: 'faint' }),
    );
  }
  parts.push(text(left + width / 2, top + height + 38, across, { anchor: 'middle' }));
  lines.forEach((line, i) => {
    const known = points
      .filter((point) => point.values[line.name] > 0)
      .map((point) => [x(point.at), y(point.values[line.name])]);
    parts.push(
      `<polyline class="c${i} line" style="fill:none" points="${known.map((pair) => pair.join(',')).join(' ')}"/>`,
    );
    parts.push(...known.map(([cx, cy]) => `<circle class="c${i}" cx="${cx}" cy="${cy}" r="3.5"/>`));
  });
  save(name, left + width + 40, top + height + 50, parts);
}
