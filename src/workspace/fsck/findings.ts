/** What is wrong, each with a name of its own. `damage` fails a check; the others are only told. */
type FindingCode =
  | 'format-missing' // format.json is not there
  | 'format-damaged' // format.json does not say what it must
  | 'log-cut' // the log ends before a record that this machine has read
  | 'log-gap' // a record is missing below others
  | 'log-unreadable' // the bytes in a slot are no record of this log
  | 'log-broken-chain' // a record does not name the bytes before it
  | 'log-contradiction' // a record cannot follow the ones before it
  | 'artifact-missing' // a name leads to an artifact without a log
  | 'tree-missing' // a tree object is not there
  | 'tree-truncated' // a tree object ends early
  | 'tree-damaged' // the bytes of a metarange or range are others, or contradict what refers to them
  | 'entry-contradiction' // a file table says what cannot be
  | 'object-missing' // a data object is not there
  | 'content-damaged' // the bytes of a file are others
  | 'object-truncated' // a data object ends before bytes that files have in it
  | 'catalog-differs' // the local catalog says something else than the store
  | 'newer-format' // made by a newer artifactfs: not checked
  | 'lifecycle-rule' // the store deletes or archives objects by itself, or nobody knows
  | 'record-without-effect' // a record expected what was not so
  | 'unnamed-artifact' // no collection has a name for it
  | 'unreferenced' // objects that no version uses
  | 'foreign-key'; // a key that fits no pattern of the layout

type Severity = 'damage' | 'warning' | 'info';

/** One thing that a check has to say. */
export interface Finding {
  readonly severity: Severity;
  readonly code: FindingCode;
  /** The artifact's path; '' for the root collection and for what is no artifact's, its id where it has no name. */
  readonly artifact: string;
  readonly artifactId: string | null;
  /** Of the object in the store, relative to the store URL. */
  readonly key: string | null;
  /** Of the bytes in it that are meant. */
  readonly offset: number | null;
  readonly length: number | null;
  /** What is wrong, as one sentence. */
  readonly what: string;
  /** What that means, and for whom; '' where `what` says it. */
  readonly means: string;
  /** Versions that it concerns. */
  readonly versions: readonly number[];
  /** Paths of files that it concerns: the first `findingPathsMax` of `fileCount`. */
  readonly files: readonly string[];
  readonly fileCount: number;
}

export const findingPathsMax = 100;

export interface Place {
  readonly artifactId: string;
  readonly path: string;
}

type Optional = 'key' | 'offset' | 'length' | 'means' | 'versions' | 'files' | 'fileCount';

export function finding(
  place: Place | null,
  said: Omit<Finding, Optional | 'artifact' | 'artifactId'> & Partial<Pick<Finding, Optional>>,
): Finding {
  return {
    artifact: place?.path ?? '',
    artifactId: place?.artifactId ?? null,
    key: null,
    offset: null,
    length: null,
    means: '',
    versions: [],
    files: [],
    fileCount: said.files?.length ?? 0,
    ...said,
  };
}
