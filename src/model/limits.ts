/** Every limit of the program, unit last in the name. Options may lower or raise those that say so. */
export const limits = {
  // names and sizes
  nameBytesMax: 255,
  pathBytesMax: 4096,
  symlinkTargetBytesMax: 4095,
  fileSizeBytesMax: 2 ** 53 - 1,
  xattrNameBytesMax: 255,
  xattrValueBytesMax: 65_536,
  xattrNamesBytesMax: 65_536, // of one file: Linux lists no more
  xattrsBytesMax: 1 << 20, // all values of one file, in base64
  hardLinksMax: 65_000,
  // log and trees (02-store-format)
  recordBytesMax: 65_536,
  rangeEntriesTarget: 10_000,
  rangeEntriesMax: 20_000,
  rangeBytesTarget: 16 << 20, // of plain text: a range of very long entries is cut here
  rangeBytesMax: 256 << 20, // what a reader unpacks at most
  metarangeBytesMax: 256 << 20,
  treeObjectBytesTarget: 8 << 20,
  extentsPerFileMax: 1024,
  slotAttemptsMax: 8, // PUTs of one record into one slot before its outcome is called unknown
  slotsLostMax: 100, // lost to other committers before a commit gives up
  // data
  packFileBytesMax: 1 << 20, // files smaller than this go into packs
  packBytesTarget: 32 << 20,
  readGapBytesMax: 1 << 20,
  partBytesMin: 8 << 20,
  partsMax: 10_000,
  objectBytesMax: 5 * 2 ** 40,
  blockBytes: 256 << 10,
  checkBytes: 32 << 10, // of a cached block, under one checksum: the least that is read of it
  // reading
  getBytesMax: 8 << 20, // one ranged GET
  getBytesMin: 1 << 20, // a large window is not cut finer than this: 20 ms away, at 90 MB/s each, 22 MiB in such pieces are 730 MB/s
  readWindowBytesMin: 1 << 20,
  readWindowBytesMax: 32 << 20,
  readWindowGets: 32, // a window is cut into so many GETs
  nearStoreWindowGets: 16, // and when answers of the store begin within
  nearStoreMsMax: 5, // into so many: each costs processor time, and distance is no reason for many
  nearStoreSamples: 64, // the shortest time of as many answers counts
  readStreamIdleReads: 256, // reads of others after which a stream no longer holds read-ahead
  readStreamsMax: 4, // sequential readers told apart in one open file
  readJumpBytesMax: 1 << 20, // requests of one stream may overtake each other by this much
  fetchesMax: 32, // GETs for reads under way; the rest of storeRequestsMax is for metadata and uploads
  walksMax: 8, // readers of files in turn, told apart in one version,
  walksAllMax: 64, // and in all,
  walkFilesAllMax: 16_384, // with so many files that they may read next, about 600 bytes each
  walkStepsMin: 2, // so many followed the first before any is fetched ahead,
  walkNearFiles: 16, // each at most so many files after the one before
  walkOvertakenMax: 64, // files that may still come when later ones were read
  walkFilesAtOnce: 128, // looked up
  walkFilesMax: 2_048, // known ahead of what is read
  packGets: 8, // a pack taken whole comes in about so many pieces
  packEntriesUntilWhole: 3, // so many files of a pack wanted: the rest will be, too
  packObjectBytesMax: 64 << 20, // a larger object named as a pack is not taken whole
  // local disk
  stagingOpenFilesMax: 256,
  cacheOpenFilesMax: 128,
  warmGetsMax: 8, // of one call that fetches ahead into the cache
  pinnedObjectsMax: 100_000,
  pinnedShareMax: 0.8, // of the cache
  cacheWriteWaitMsMax: 5_000, // how long read-ahead may wait for a disk that does not follow,
  cacheWriteWaitShare: 0.05, // and the part of the time it may do so always
  cacheWritersMax: 2, // at a time, of the threads that others need, too;
  cacheWriteRunBytesMax: 4 << 20, // each writes as much of one object as waits, up to this
  cacheDirectBytesPerMsMin: 125_000, // as below, for blocks of the cache: two writers share the disk
  syncIoBytesMax: 64 << 10, // smaller reads and writes are not worth a pool thread
  directBytesMin: 256 << 10, // of one write past the page cache
  directRunBytesMax: 8 << 20, // of writes that are joined to one
  directBytesPerMsMin: 200_000, // a disk that takes less of one write at its best
  directSampleBytes: 16 << 20, // of so much
  directSlowMs: 1_000, // is written through the page cache for so long
  unlinkSyncBytesMax: 16 << 20,
  reclaimBytesMin: 64 << 20,
  // uploading
  packEntriesMax: 20_000,
  packsInFlightMax: 2,
  packAheadMs: 500, // since its last close, before a small file may be sent ahead of a commit,
  packAheadBytesMin: 4 << 20, // when there are so many bytes of such files,
  packedAheadFilesMax: 65_536, // and so many files of all artifacts that are known to be sent; about 250 bytes each
  packReadsAhead: 16, // files of a pack of which something is read from the store first
  joinedBytesMax: 8 << 20, // of a changed file that are sent again to have fewer pieces
  copiedPieceBytesMin: 8 << 20, // of a file that is put together anew: smaller ones are sent
  copiedPartBytesTarget: 128 << 20,
  loopHoldMsMax: 4, // how long one job may keep the event loop
  uploadFilesMax: 16, // large files sent at a time
  uploadPartsMax: 16, // in flight at a time, as far as memory goes: 9 with its default
  uploadQuietMsMin: 250, // somebody writes until nobody has for so long; meanwhile
  uploadBacklogBytesMin: 64 << 20, // nothing is sent in the background until so much waits,
  uploadPartsWhileWritten: 2, // then so many parts at a time,
  uploadBacklogBytesPerPart: 32 << 20, // and one more for each so many bytes that wait besides
  partBufferBytes: 1 << 20, // a part is read into so large pieces
  partSlabBytes: 8 << 20, // of which so much is taken at a time
  uploadRetryDelayMsMin: 1_000,
  uploadRetryDelayMsMax: 60_000,
  uploadSweepQuietMs: 15_000, // after the last upload, unfinished ones that nobody works on are looked for,
  uploadSweepMsMax: 300_000, // and at the latest so long after the first
  hashInlineBytesMax: 256 << 10, // smaller contents are hashed where they are
  // requests to the store
  storeAttemptsMax: 5,
  storeGetAttemptsMax: 8, // of GETs: a service that throttles may refuse many,
  storeGetProgressBytes: 64 << 10, // and one that brought so much has all its attempts again
  storeDamagedGetsMax: 4, // answers in a row that are too short or have the wrong bytes, until they are believed
  storeFirstByteMsMax: 20_000, // of an answer to a GET,
  storeStallMsMax: 10_000, // and between two pieces of its body
  hedgeMsStart: 1_000, // a GET without an answer is sent again after so long, until it is known what is usual,
  hedgeMsMin: 25, // not sooner than this,
  hedgeShareMax: 0.03, // and so many of all at most:
  hedgeCreditMax: 6, // this many at once, when there were none for long
  storeRetryDelayMsMin: 50,
  storeRetryDelayMsMax: 5_000,
  storeRequestsMax: 48,
  storeConnectMsMax: 5_000,
  storeIdleMsMax: 30_000,
  storeKeyBytesMax: 900,
  storePartBytesMin: 5 << 20, // what S3 demands of every part but the last
  storeStreamPartBytes: 16 << 20, // of putStream without a size hint: streams of up to 156 GiB
  storeStreamPartsAtOnce: 3,
  storeDeleteKeysMax: 1_000, // in one request
  storeTmpAgeMsMax: 86_400_000, // unfinished files of crashed processes in a file:// store
  storeUploadAgeMsMax: 30 * 86_400_000, // unfinished uploads in a file:// store that nothing was added to
  presignSecondsMax: 604_800,
  // the one writer of a store without create-if-absent
  writerLeaseMs: 30_000, // since it was sent: how long a lease is good,
  writerRenewMs: 10_000, // and until it is sent again
  writerMarginMs: 5_000, // by which clocks of two machines may differ in that time
  writerPollMs: 1_000, // between two looks at a lease that may be over
  writerAnswerMsMax: 3_000, // from a look that showed that nobody has the lease until it is written here,
  writerSettleMs: 4_000, // and from then until nobody else can still write who has looked before
  writerWriteMsMin: 10_000, // that a lease must still be good when something is written
  // local databases
  databaseBusyMsMax: 5_000,
  /** How long an unmount waits for programs that use the mount. */
  unmountBusyMsMax: 1_000,
  unmountWriteBackMsMax: 30_000, // and for files that it syncs itself
  databaseCacheBytesMax: 16 << 20,
  databaseWalBytesMax: 16 << 20,
  databaseWalShare: 0.005, // of its disk, if that is less
  stageWalBytesMax: 64 << 20, // of stage.db, whose log is moved by a thread before that:
  checkpointIntervalMs: 200, // so often it is looked,
  checkpointIdleMs: 2_000, // and so often while nothing changes,
  checkpointChangesMin: 2_000, // whether so many rows have changed
  catalogCacheBytesMax: 32 << 20,
  // garbage collection
  gcGraceSeconds: 7 * 86_400, // that readers keep what has expired
  gcDeadAfterSeconds: 30 * 86_400, // without a sign of life a stage is dead
  gcBatchKeys: 1_000, // deleted by one call
  gcRecordItemsMax: 1_000, // versions or stages of one record, so that it fits into its 64 KiB
  leaseCheckMs: 30_000, // between two looks at what is staged here; a stage gets its lease at the second one
  leaseRenewMs: 600_000, // since a lease was written, until it is written again
  othersReadMsMax: 1_000, // that status waits for the leases of others
  othersKeptMs: 5_000, // until they are read again
  gcObjectsListed: 1_000, // of one artifact in a report; the amounts count all
  catalogEntriesMax: 4_000_000, // about 300 bytes each; beyond it the ranges used longest ago are dropped
  catalogLoadsMax: 4, // ranges fetched at the same time, each about 10 MB of heap
  changesListedMax: 1_000, // of a commit: more are made as they are read, and ranges that changed are fetched when they are wanted
  catalogTreesMax: 64,
  catalogMetarangesMax: 256,
  logLookMsMax: 5_000, // a commit whose upload took longer reads the log again
  treeBytesRememberedMax: 2 << 20, // as stored: a full range has half a MiB, a metarange of a million files about 20 kB
  catalogDirectoriesMax: 32_768, // paths whose place is remembered in memory
  // the local disk: what staged bytes and cache leave free for the databases
  diskHeadroomShare: 0.02,
  diskHeadroomBytesMin: 2 << 20,
  diskHeadroomBytesMax: 64 << 20,
  freeSpaceAgeMsMax: 250,
  rowsBytes: 16 << 10, // what one change of names or attributes adds to stage.db and its log, as a rule
  // the working view
  inodesIdleMax: 20_000, // in memory per artifact though nobody holds them
  extentsInlineMax: 16, // a file with more logs its writes instead of storing its map each time
  extentLogRowsMax: 512, // then the map is stored again
  slabFileBytesMax: 32 << 10, // staged files up to this share staging files
  slabBytesMax: 32 << 20, // of one shared staging file
  streamSpoolBytesMax: 32 << 20, // of a stream to the store kept in memory in case the store is away
  firstLookMsMax: 5_000, // that the first look at an artifact after a refresh of the workspace waits for its log
  settleMsMax: 1_000, // how long who only looks waits for what the kernel keeps of writes
  statusPathsMax: 1_000, // listed by status and diff when the caller gives no limit
  stateLockWaitMsMax: 10_000,
  // the kernel
  fuseRequestBytesMax: 1 << 20,
  fuseBackgroundRequestsMax: 64,
  fuseSweepMs: 500, // between two looks at requests that wait
  fuseInterruptMsMax: 2_000, // from an interrupt until a commit is no longer waited for; others are not at all
  fuseWritePiecesMin: 3, // pieces of memory, of three large writes each, for write data that waits for the disk, however small the budget
  fuseWritePiecesKept: 2, // of these, kept when nobody writes
  fuseWritePiecesIdleMs: 2_000, // since the last write that was lent on, until others are given back
  accessLogBytes: 1 << 20, // kept while somebody reads it
  accessLogPollBytesMax: 8 << 10, // a read of so much at most ends at the newest line (tail -f); larger ones wait for more (cat)
  fuseNativePathsMax: 50_000, // whose nodes are remembered for the driver that knows only paths
  fuseNativeEntryMs: 200, // how long the kernel believes a name, where it cannot be told
  mountAnswerMsMax: 5_000,
  // control API
  apiBodyBytesMax: 1 << 20,
  apiHeaderBytesMax: 32 << 10, // a path of 4096 bytes, percent-encoded, and its artifact's
  apiHeadersMsMax: 10_000,
  apiCloseMsMax: 3_000,
  apiPrepareMs: 1_000, // after the start, when programs that waited for the mount had their first turn,
  apiPrepareQuietMs: 250, // and nobody wants anything for so long
  startStoreMsMax: 2_000, // that a mount waits for a store that it knows, before it shows what is known of it,
  startSettleMsMax: 10_000, // and, when that answered, for what was cut off: who looks must see whether it has happened
  apiListMax: 10_000, // items of one answer
  manifestBytesMax: 48 << 10, // it must fit into one log record
  messageBytesMax: 4096,
  // what a mount shows
  kernelCacheSeconds: Number.POSITIVE_INFINITY, // names and attributes; what changes around the kernel is announced
  kernelCacheVersionRootSeconds: 3600, // NAME@v3
  kernelMissingNamesMax: 100_000, // remembered as told to be missing, in all directories together
  kernelToldMsMax: 5_000, // that an answer of the API waits for the kernel, which may wait for somebody's slow request
  kernelChecksMax: 20_000, // names looked up again, one by one, when everything in an artifact may have changed
  kernelNodesMax: 131_072, // known to the kernel; above it is asked to forget what it does not use. About 1 KB each;
  budgetBytesPerKernelNode: 1536, // with a smaller memory budget one for so many bytes of it
  directoryPageEntries: 1000, // held twice per open directory
  openListingsMax: 8, // of one directory while it is open, beside what each of its readers reads: 4 bytes for each name
  closedListingNamesMax: 1_000_000, // of the one that is kept when nobody has the directory open
  aliasPlaceholdersMax: 100, // links in one .artifact/aliases that were not renamed to an alias yet
  controlListEntriesMax: 10_000, // paths in .artifact/status and .artifact/diff
  statisticsAgeMsMax: 1000,
  forgottenNodesMax: 65_536, // of which file handles lead somewhere; about 200 bytes each
} as const;
