/**
 * Schema of catalog.db, one script per version. All of it can be rebuilt from the store.
 *
 * Three parts: what the logs say (artifacts, versions, aliases, children, features), the lists of ranges (metaranges), and the
 * ranges that were wanted so far. A range is one stored piece of a tree, the same for all versions that share it.
 *
 * An entry is found by `bucket = range * 32768 + directory` and its name, where `directory` is the position of its
 * path among the paths of the range. Both grow in the order of the tree, so a range is written front to back, a
 * directory is one run of rows, and a subtree is at most two. BINARY collation compares UTF-8 bytes, as trees do.
 */
export const catalogMigrations: readonly string[] = [
  `
  CREATE TABLE artifacts (
    id TEXT PRIMARY KEY,
    head_seq INTEGER NOT NULL,
    head_hash TEXT NOT NULL,
    manifest TEXT NOT NULL
  ) WITHOUT ROWID;

  CREATE TABLE versions (
    artifact TEXT NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    version INTEGER NOT NULL,
    seq INTEGER NOT NULL,
    commit_id TEXT NOT NULL,
    time_ms INTEGER NOT NULL,
    host TEXT NOT NULL,
    user TEXT NOT NULL,
    message TEXT NOT NULL,
    tree TEXT NOT NULL,
    added INTEGER NOT NULL,
    changed INTEGER NOT NULL,
    removed INTEGER NOT NULL,
    expired INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (artifact, version)
  ) WITHOUT ROWID;

  CREATE TABLE aliases (
    artifact TEXT NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    alias TEXT NOT NULL,
    version INTEGER NOT NULL,
    PRIMARY KEY (artifact, alias)
  ) WITHOUT ROWID;

  CREATE TABLE children (
    collection TEXT NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    name TEXT NOT NULL,
    artifact TEXT NOT NULL,
    PRIMARY KEY (collection, name)
  ) WITHOUT ROWID;

  CREATE TABLE metaranges (
    id INTEGER PRIMARY KEY,
    sha256 TEXT NOT NULL UNIQUE,
    body TEXT NOT NULL
  );

  -- sha256 is null while the rows of a range are being written or removed: such a range does not exist for readers.
  CREATE TABLE ranges (
    id INTEGER PRIMARY KEY,
    sha256 TEXT UNIQUE,
    entries INTEGER NOT NULL,
    used INTEGER NOT NULL
  );

  CREATE TABLE directories (
    range INTEGER NOT NULL,
    path TEXT NOT NULL,
    directory INTEGER NOT NULL,
    PRIMARY KEY (range, path)
  ) WITHOUT ROWID;

  CREATE TABLE entries (
    bucket INTEGER NOT NULL,
    name TEXT NOT NULL,
    body TEXT NOT NULL,
    PRIMARY KEY (bucket, name)
  ) WITHOUT ROWID;
  `,
  // What \`feature\` records name; need is 'reader', 'writer' or 'gc'.
  `
  CREATE TABLE features (
    artifact TEXT NOT NULL REFERENCES artifacts (id) ON DELETE CASCADE,
    need TEXT NOT NULL,
    feature TEXT NOT NULL,
    PRIMARY KEY (artifact, need, feature)
  ) WITHOUT ROWID;
  `,
];

/** More directories than a range can hold entries. */
export const directoriesPerRange = 32_768;
