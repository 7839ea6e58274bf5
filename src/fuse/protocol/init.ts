import { constants } from 'node:os';
import { congestedAt } from '../kernel-settings.js';
import { initFlag, initFlag2 } from './flags.js';
import { Refusal } from './refusal.js';
import { type Reply, replyBody } from './reply.js';
import type { Request } from './request.js';

/** The protocol we speak: from Linux 5.4 on; what we use of it ends at 7.40, but for epochs (7.44). */
export const protocolMajor = 7;
const protocolMinorMin = 31;
const protocolMinorMax = 45;

const pageBytes = 4096;
/**
 * The files that the kernel reads for us lie on a file system that is no layer over another; so other layers (overlayfs)
 * may still lie over ours.
 */
const stackDepthMax = 1;

export interface InitOptions {
  /** Largest READ and WRITE, in bytes: a multiple of the page size. */
  readonly requestBytesMax: number;
  readonly readAheadBytesMax: number;
  /** Requests nobody waits for (read-ahead, write-back) that the kernel may have under way. */
  readonly backgroundMax: number;
  readonly writebackCache: boolean;
  /** Lets the kernel read local files by itself; it does not do that beside the write-back cache, which goes before. */
  readonly passthrough: boolean;
}

/** What kernel and driver agreed on. */
export interface Negotiated {
  readonly minor: number;
  readonly flags: number;
  readonly flags2: number;
  readonly options: InitOptions;
}

/** The kernel's offer. Its second word of flags exists only with `initExtended`. */
export interface InitOffer {
  readonly major: number;
  readonly minor: number;
  readonly readAheadBytesMax: number;
  readonly flags: number;
  readonly flags2: number;
}

/** What we use where the kernel offers it. Kernel-local locks follow from what is not here. */
const wanted =
  initFlag.asyncRead |
  initFlag.atomicTruncate |
  // File handles lead to files that the kernel has forgotten.
  initFlag.exportSupport |
  initFlag.bigWrites |
  initFlag.doReaddirplus |
  initFlag.readdirplusAuto |
  initFlag.asyncDirectIo |
  initFlag.parallelDirOps |
  initFlag.abortError |
  initFlag.maxPages |
  initFlag.cacheSymlinks |
  // The kernel checks and caches ACLs; the file system keeps them, and in step with modes.
  initFlag.posixAcl |
  // A default ACL takes the place of the umask, which the kernel does not know when it masks.
  initFlag.dontMask |
  initFlag.setxattrExtended |
  // Cached pages go only when the file system says so: without it each write of ours, which changes the time of
  // the file, would throw away the pages just written.
  initFlag.explicitInvalidation |
  // Without it every write asks for the attribute security.capability first.
  initFlag.handleKillPrivV2 |
  initFlag.initExtended;

export function decodeInit(request: Request): InitOffer {
  const flags = request.u32(3);
  const extended = (flags & initFlag.initExtended) !== 0 && request.bodyBytes >= 20;
  return {
    major: request.u32(0),
    minor: request.u32(1),
    readAheadBytesMax: request.u32(2),
    flags,
    flags2: extended ? request.u32(4) : 0,
  };
}

/** Throws a Refusal (EPROTO) for a kernel that is too old. The offer's major is not below ours. */
export function negotiate(offer: InitOffer, options: InitOptions): Negotiated {
  if (offer.major < protocolMajor || (offer.major === protocolMajor && offer.minor < protocolMinorMin)) {
    throw new Refusal(
      constants.errno.EPROTO,
      `the kernel speaks FUSE ${offer.major}.${offer.minor}; at least ${protocolMajor}.${protocolMinorMin} (Linux 5.4) is needed`,
    );
  }
  const flags = offer.flags & (wanted | (options.writebackCache ? initFlag.writebackCache : 0));
  const passthrough = options.passthrough && (flags & initFlag.writebackCache) === 0;
  return {
    minor: Math.min(offer.minor, protocolMinorMax),
    flags,
    flags2: offer.flags2 & (initFlag2.expireOnly | (passthrough ? initFlag2.passthrough : 0)),
    options: { ...options, readAheadBytesMax: Math.min(options.readAheadBytesMax, offer.readAheadBytesMax) },
  };
}

export function replyInit(reply: Reply, agreed: Negotiated): void {
  reply.body(16);
  const { fields } = reply;
  const { options } = agreed;
  fields.u32(replyBody, protocolMajor);
  fields.u32(replyBody + 1, agreed.minor);
  fields.u32(replyBody + 2, options.readAheadBytesMax);
  fields.u32(replyBody + 3, agreed.flags);
  fields.u16(replyBody + 4, options.backgroundMax, congestedAt(options.backgroundMax));
  fields.u32(replyBody + 5, options.requestBytesMax);
  fields.u32(replyBody + 6, 1); // times are kept to the nanosecond
  fields.u16(replyBody + 7, options.requestBytesMax / pageBytes, 0);
  fields.u32(replyBody + 8, agreed.flags2);
  if ((agreed.flags2 & initFlag2.passthrough) !== 0) fields.u32(replyBody + 9, stackDepthMax);
}

/** The kernel speaks a newer major: we say ours, and it asks again in that. */
export function replyInitMajor(reply: Reply): void {
  reply.body(16);
  reply.fields.u32(replyBody, protocolMajor);
}
