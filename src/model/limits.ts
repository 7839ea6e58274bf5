/** Every limit of the program, unit last in the name. Options may lower or raise those that say so. */
export const limits = {
  // names and sizes
  nameBytesMax: 255,
  pathBytesMax: 4096,
  symlinkTargetBytesMax: 4095,
  fileSizeBytesMax: 2 ** 53 - 1,
  xattrNameBytesMax: 255,
  xattrValueBytesMax: 65_536,
  hardLinksMax: 65_000,
  // log and trees (02-store-format)
  recordBytesMax: 65_536,
  rangeEntriesTarget: 10_000,
  rangeEntriesMax: 20_000,
  extentsPerFileMax: 1024,
  // data
  packFileBytesMax: 1 << 20, // files smaller than this go into packs
  packBytesTarget: 32 << 20,
  readGapBytesMax: 1 << 20,
  partBytesMin: 8 << 20,
  partsMax: 10_000,
  objectBytesMax: 5 * 2 ** 40,
  blockBytes: 256 << 10,
  // requests to the store
  storeAttemptsMax: 5,
  storeRetryDelayMsMin: 50,
  storeRetryDelayMsMax: 5_000,
  storeRequestsMax: 32,
  storeConnectMsMax: 5_000,
  storeIdleMsMax: 30_000,
  storeKeyBytesMax: 900,
  storePartBytesMin: 5 << 20, // what S3 demands of every part but the last
  storeStreamPartBytes: 16 << 20, // of putStream without a size hint: streams of up to 156 GiB
  storeDeleteKeysMax: 1_000, // in one request
  presignSecondsMax: 604_800,
  // local databases
  databaseBusyMsMax: 5_000,
  databaseCacheBytesMax: 16 << 20,
  databaseMmapBytesMax: 0, // a failing disk would kill the process by SIGBUS instead of failing one call
  databaseWalBytesMax: 16 << 20,
  // control API
  apiBodyBytesMax: 1 << 20,
  manifestBytesMax: 48 << 10, // it must fit into one log record
  messageBytesMax: 4096,
  // what a mount shows
  kernelCacheSeconds: 3600, // names and attributes of the working view; changes around the kernel are announced
  kernelCacheVersionSeconds: 365 * 86_400, // versions never change
  directoryPageEntries: 1000, // held twice per open directory
  controlListEntriesMax: 10_000, // paths in .artifact/status and .artifact/diff
  statisticsAgeMsMax: 1000,
} as const;
