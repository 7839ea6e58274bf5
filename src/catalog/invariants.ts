import { ArtifactError } from '../model/errors.js';
import type { Database } from '../util/sqlite.js';
import { directoriesPerRange } from './schema.js';

/** What must be true of catalog.db: each query counts what breaks the sentence. */
const invariants: readonly { readonly sentence: string; readonly violations: string }[] = [
  {
    sentence: 'a range holds as many entries as it says',
    violations: `SELECT count(*) FROM ranges WHERE sha256 IS NOT NULL AND entries <>
      (SELECT count(*) FROM entries WHERE bucket / ${directoriesPerRange} = ranges.id)`,
  },
  {
    sentence: 'an entry lies in a directory of its range',
    violations: `SELECT count(*) FROM entries LEFT JOIN directories
      ON range = bucket / ${directoriesPerRange} AND directory = bucket % ${directoriesPerRange}
      WHERE path IS NULL`,
  },
  {
    sentence: 'a directory belongs to a range',
    violations: 'SELECT count(*) FROM directories WHERE range NOT IN (SELECT id FROM ranges)',
  },
  {
    sentence: 'directories of a range are numbered from 1 without gaps in the order of their paths',
    violations: `SELECT count(*) FROM
      (SELECT directory, row_number() OVER (PARTITION BY range ORDER BY path) AS place FROM directories)
      WHERE directory <> place`,
  },
  {
    sentence: 'versions of an artifact are numbered from 0 without gaps, in the order of the log',
    violations: `SELECT count(*) FROM
      (SELECT version, seq, row_number() OVER w AS place, lag(seq, 1, 0) OVER w AS before
       FROM versions WINDOW w AS (PARTITION BY artifact ORDER BY version))
      WHERE version <> place - 1 OR seq <= before`,
  },
  {
    sentence: 'no version is newer than the head of its log',
    violations: `SELECT count(*) FROM versions JOIN artifacts ON id = artifact WHERE seq > head_seq`,
  },
];

/** Throws `Internal` with the first sentence that does not hold. `memory` is what the process believes it has. */
export function checkCatalog(
  db: Database,
  memory: { readonly entries: number; readonly ranges: number },
): void {
  const fail = (sentence: string, found: unknown) => {
    throw new ArtifactError('Internal', `catalog ${db.name}: not true that ${sentence} (${found})`);
  };
  const integrity = db.pragma('integrity_check', { simple: true });
  if (integrity !== 'ok') fail('SQLite finds it sound', integrity);
  for (const { sentence, violations } of invariants) {
    const found = db.prepare<[], number>(violations).pluck().get();
    if (found !== 0) fail(sentence, found);
  }
  const totals = db
    .prepare<[], { ranges: number; entries: number }>(
      'SELECT count(*) AS ranges, coalesce(sum(entries), 0) AS entries FROM ranges WHERE sha256 IS NOT NULL',
    )
    .get();
  if (totals?.ranges !== memory.ranges) fail('every complete range is known in memory', totals?.ranges);
  if (totals?.entries !== memory.entries) fail('memory counts the entries right', totals?.entries);
}
