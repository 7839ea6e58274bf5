// What each row must reach, as a text and as a question to the figures.

/**
 * `ours` is the figure of artifactfs. The others say how many times as fast it was, in the same minute: as the S3 server
 * allows (`limit`), as the local file system, as the fastest peer. What was not measured is undefined.
 *
 * @typedef {{ours?: number, limit?: number, local?: number, peers?: number}} Standing
 * @typedef {{text: string, met: (standing: Standing) => boolean | undefined}} Bar
 */

const compare = (field, least) => (standing) =>
  standing[field] === undefined ? undefined : standing[field] >= least;
const show = (value) => value.toLocaleString('en-US');

/** @returns {Bar} */
export const atLeast = (least, unit) => ({
  text: `≥ ${show(least)} ${unit}`.trim(),
  met: compare('ours', least),
});

/** @returns {Bar} */
export const atMost = (most, unit) => ({
  text: `≤ ${show(most)} ${unit}`.trim(),
  met: ({ ours }) => (ours === undefined ? undefined : ours <= most),
});

/** @returns {Bar} */
export const ofLimit = (share) => ({ text: `≥ ${share} × the limit`, met: compare('limit', share) });

/** @returns {Bar} */
export const withinLimit = (times) => ({ text: `≤ ${times} × the limit`, met: compare('limit', 1 / times) });

/** @returns {Bar} */
export const ofLocal = (share) => ({ text: `≥ ${share} × local`, met: compare('local', share) });

/** @returns {Bar} */
export const withinLocal = (times) => ({ text: `≤ ${times} × local`, met: compare('local', 1 / times) });

/** @returns {Bar} */
export const timesPeers = (times) => ({
  text: times === 1 ? '≥ every peer' : `≥ ${times} × the best peer`,
  met: compare('peers', times),
});

/** The verdict on all bars of a row; undefined: none could be asked. */
export function areMet(bars, standing) {
  const verdicts = bars.map((bar) => bar.met(standing)).filter((verdict) => verdict !== undefined);
  return verdicts.length === 0 ? undefined : verdicts.every(Boolean);
}
