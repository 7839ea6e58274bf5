/** Bits of the protocol, by the field they live in. */

/** INIT, first word. */
export const initFlag = {
  asyncRead: 1 << 0,
  atomicTruncate: 1 << 3,
  exportSupport: 1 << 4,
  bigWrites: 1 << 5,
  dontMask: 1 << 6,
  doReaddirplus: 1 << 13,
  readdirplusAuto: 1 << 14,
  asyncDirectIo: 1 << 15,
  writebackCache: 1 << 16,
  parallelDirOps: 1 << 18,
  posixAcl: 1 << 20,
  abortError: 1 << 21,
  maxPages: 1 << 22,
  cacheSymlinks: 1 << 23,
  explicitInvalidation: 1 << 25,
  handleKillPrivV2: 1 << 28,
  setxattrExtended: 1 << 29,
  initExtended: 1 << 30,
} as const;

/** INIT, second word (bits 32 and up of the whole). */
export const initFlag2 = {
  expireOnly: 1 << 3,
  passthrough: 1 << 5,
} as const;

/** Answer to OPEN, OPENDIR and CREATE. */
export const openReplyFlag = {
  directIo: 1 << 0,
  keepCache: 1 << 1,
  nonSeekable: 1 << 2,
  cacheDirectory: 1 << 3,
  noFlush: 1 << 5,
  passthrough: 1 << 7,
} as const;

/** OPEN, second word; CREATE, fourth. */
export const openFlag = { killSetIds: 1 << 0 } as const;

/** SETATTR `valid`. */
export const attributeFlag = {
  mode: 1 << 0,
  uid: 1 << 1,
  gid: 1 << 2,
  size: 1 << 3,
  atime: 1 << 4,
  mtime: 1 << 5,
  atimeNow: 1 << 7,
  mtimeNow: 1 << 8,
  ctime: 1 << 10,
  killSetIds: 1 << 11,
} as const;

export const writeFlag = { fromCache: 1 << 0, killSetIds: 1 << 2 } as const;
export const fsyncFlag = { dataOnly: 1 << 0 } as const;
/** fallocate(2). Others (collapse, insert, unshare) are refused. */
export const allocateFlag = { keepSize: 1 << 0, punchHole: 1 << 1, zeroRange: 1 << 4 } as const;
/** lseek(2). */
export const whence = { data: 3, hole: 4 } as const;
export const renameFlag = { noReplace: 1 << 0, exchange: 1 << 1 } as const;
export const xattrFlag = { create: 1 << 0, replace: 1 << 1 } as const;
/** SETXATTR, third word, where it is extended. */
export const xattrExtraFlag = { clearSetgid: 1 << 0 } as const;
export const invalidateFlag = { expireOnly: 1 << 0 } as const;

export const notifyCode = { invalidateInode: 2, invalidateEntry: 3, nextEpoch: 8, prune: 9 } as const;
/** The kernel has epochs from this minor version on. */
export const epochMinorMin = 44;
/** The kernel can be asked to forget nodes from this minor version on. */
export const pruneMinorMin = 45;
