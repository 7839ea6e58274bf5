/**
 * The tables of stage.db: the authority for staged changes and unfinished uploads of one daemon. Never edit a
 * released script; append one.
 *
 * `s` is the local number of a stage (one per artifact at most). `gen` is the generation of a row's last change:
 * a commit seals a generation, and after publication only rows changed since are kept. Generation 0 marks a row
 * that holds no change of its own: it links a change to the root.
 */
export const stageMigrations: readonly string[] = [
  `
  CREATE TABLE counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT ROWID;

  CREATE TABLE stage (
    s INTEGER PRIMARY KEY,
    artifact_id TEXT NOT NULL UNIQUE,
    stage_id TEXT NOT NULL,
    base TEXT,                      -- JSON StageBase; NULL: the artifact has no version
    ino_prefixes TEXT NOT NULL,     -- JSON: drawn by this stage, the last one in use
    ino_next INTEGER NOT NULL,      -- all numbers below are handed out under the last prefix
    gen INTEGER NOT NULL,
    sealed INTEGER,                 -- the generation that a commit is publishing
    commit_id TEXT,                 -- of that commit
    manifest TEXT,                  -- JSON, when edited
    manifest_gen INTEGER NOT NULL DEFAULT 0,
    conflicts TEXT,                 -- JSON: paths staged on what a later base has otherwise
    collection_id TEXT,             -- where the artifact's name is; NULL for the root
    name TEXT,
    is_new INTEGER NOT NULL         -- the name is not linked yet: the first commit does
  );

  CREATE TABLE inode (
    s INTEGER NOT NULL,
    ino INTEGER NOT NULL,
    kind TEXT NOT NULL,
    mode INTEGER NOT NULL, uid INTEGER NOT NULL, gid INTEGER NOT NULL,
    nlink INTEGER NOT NULL, size INTEGER NOT NULL, rdev INTEGER NOT NULL,
    atime_s INTEGER NOT NULL, atime_ns INTEGER NOT NULL, atime_set INTEGER NOT NULL,
    mtime_s INTEGER NOT NULL, mtime_ns INTEGER NOT NULL,
    ctime_s INTEGER NOT NULL, ctime_ns INTEGER NOT NULL,
    target TEXT,
    xattrs TEXT,                    -- JSON, values in base64
    extra TEXT,                     -- JSON: fields of newer builds, kept
    extents TEXT,                   -- JSON of ExtentMap, before the rows of extent_log
    logged INTEGER NOT NULL,        -- rows in extent_log
    sha256 TEXT,
    file INTEGER NOT NULL,          -- staging file that takes writes of generation file_gen; 0: none
    file_gen INTEGER NOT NULL,
    base TEXT,                      -- path in the base version: of a directory that still shows it, of a file's origin
    base_nlink INTEGER NOT NULL,    -- names in the base version
    gen INTEGER NOT NULL,
    content_gen INTEGER NOT NULL,
    PRIMARY KEY (s, ino)
  ) WITHOUT ROWID;

  -- Writes into files of many extents, so that a write does not store the whole map again.
  CREATE TABLE extent_log (
    s INTEGER NOT NULL, ino INTEGER NOT NULL, n INTEGER NOT NULL,
    start INTEGER NOT NULL, length INTEGER NOT NULL, file INTEGER NOT NULL,
    PRIMARY KEY (s, ino, n)
  ) WITHOUT ROWID;

  -- ino NULL: the base version's name is removed here.
  CREATE TABLE dirent (
    s INTEGER NOT NULL, parent INTEGER NOT NULL, name TEXT NOT NULL, ino INTEGER, gen INTEGER NOT NULL,
    PRIMARY KEY (s, parent, name)
  ) WITHOUT ROWID;

  -- What a commit is publishing: where each staged inode is in the new version, and where its bytes went.
  CREATE TABLE sealed (
    s INTEGER NOT NULL, ino INTEGER NOT NULL,
    path TEXT NOT NULL, was TEXT, nlink INTEGER NOT NULL,
    extents TEXT, sha256 TEXT, files TEXT,
    PRIMARY KEY (s, ino)
  ) WITHOUT ROWID;

  CREATE TABLE intent (
    commit_id TEXT PRIMARY KEY, artifact_id TEXT NOT NULL, stage_id TEXT NOT NULL, base_seq INTEGER NOT NULL,
    state TEXT NOT NULL, seq INTEGER, body TEXT
  ) WITHOUT ROWID;

  CREATE TABLE upload (
    file INTEGER PRIMARY KEY, artifact_id TEXT NOT NULL, stage_id TEXT NOT NULL, path TEXT NOT NULL,
    object TEXT NOT NULL, upload_id TEXT NOT NULL, part_bytes INTEGER NOT NULL,
    completed_size INTEGER, sha256 TEXT
  );
  CREATE TABLE upload_part (
    file INTEGER NOT NULL, part INTEGER NOT NULL, size INTEGER NOT NULL, etag TEXT NOT NULL, crc32 TEXT,
    PRIMARY KEY (file, part)
  ) WITHOUT ROWID;

  -- A committed artifact on its way from one name to another; finished after a crash.
  CREATE TABLE move (
    artifact_id TEXT PRIMARY KEY,
    from_id TEXT NOT NULL, from_name TEXT NOT NULL, to_id TEXT NOT NULL, to_name TEXT NOT NULL
  ) WITHOUT ROWID;
  `,
  `
  -- A number is never used twice: rows of a number without a stage are left of a published one, and to be deleted.
  CREATE TABLE numbered_stage (
    s INTEGER PRIMARY KEY AUTOINCREMENT,
    artifact_id TEXT NOT NULL UNIQUE, stage_id TEXT NOT NULL, base TEXT, ino_prefixes TEXT NOT NULL,
    ino_next INTEGER NOT NULL, gen INTEGER NOT NULL, sealed INTEGER, commit_id TEXT, manifest TEXT,
    manifest_gen INTEGER NOT NULL DEFAULT 0, conflicts TEXT, collection_id TEXT, name TEXT, is_new INTEGER NOT NULL
  );
  INSERT INTO numbered_stage SELECT * FROM stage;
  DROP TABLE stage;
  ALTER TABLE numbered_stage RENAME TO stage;
  `,
  `
  -- Where in the store uploads were begun: some that nobody knows may be left there, until it is looked.
  CREATE TABLE begun_upload (prefix TEXT PRIMARY KEY) WITHOUT ROWID;
  `,
  `
  -- JSON StageUses: where staged files may have objects from, besides the base.
  ALTER TABLE stage ADD COLUMN uses TEXT;
  `,
  `
  -- The commitIds of the two records of a move: who was killed knows them again.
  ALTER TABLE move ADD COLUMN link_id TEXT;
  ALTER TABLE move ADD COLUMN unlink_id TEXT;
  `,
];
