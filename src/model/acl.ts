import { ArtifactError } from './errors.js';

/**
 * POSIX access control lists (draft 17 of 1003.1e, as Linux has them). They are kept as the extended attributes in
 * which Linux hands them over: version 2, then tag, permissions and id of each entry, little-endian.
 */
export const accessAclName = 'system.posix_acl_access';
export const defaultAclName = 'system.posix_acl_default';
export const isAclName = (name: string): boolean => name === accessAclName || name === defaultAclName;

interface AclEntry {
  readonly tag: number;
  /** rwx, 0..7. */
  readonly permissions: number;
  /** Of a named user or group; else 0xffffffff. */
  readonly id: number;
}

/** INVARIANT: owner, named users, owning group, named groups, mask, others, in this order; a mask if any is named. */
export type Acl = readonly AclEntry[];

const tags = { owner: 1, user: 2, owningGroup: 4, group: 8, mask: 16, others: 32 } as const;
const version = 2;
const headerBytes = 4;
const entryBytes = 8;

/** null: no entries, which is to remove the list. Throws `Invalid`, and `Unsupported` for another version. */
export function decodeAcl(value: Uint8Array): Acl | null {
  const bytes = Buffer.from(value.buffer, value.byteOffset, value.length);
  const count = (bytes.length - headerBytes) / entryBytes;
  if (!Number.isInteger(count) || count < 0)
    throw malformed(`${bytes.length} bytes are no access control list`);
  if (bytes.readUInt32LE(0) !== version)
    throw new ArtifactError('Unsupported', `an access control list of version ${bytes.readUInt32LE(0)}`);
  const acl: AclEntry[] = [];
  for (let at = headerBytes; at < bytes.length; at += entryBytes)
    acl.push({
      tag: bytes.readUInt16LE(at),
      permissions: bytes.readUInt16LE(at + 2),
      id: bytes.readUInt32LE(at + 4),
    });
  if (acl.length === 0) return null;
  check(acl);
  return acl;
}

/** The same of a value that is kept already, in base64: a malformed one, which nobody could set here, is as none. */
export function storedAcl(value: string | undefined): Acl | null {
  if (value === undefined) return null;
  try {
    return decodeAcl(Buffer.from(value, 'base64'));
  } catch {
    return null;
  }
}

export function encodeAcl(acl: Acl): Buffer {
  const bytes = Buffer.alloc(headerBytes + acl.length * entryBytes);
  bytes.writeUInt32LE(version, 0);
  acl.forEach(({ tag, permissions, id }, n) => {
    const at = headerBytes + n * entryBytes;
    bytes.writeUInt16LE(tag, at);
    bytes.writeUInt16LE(permissions, at + 2);
    bytes.writeUInt32LE(id, at + 4);
  });
  return bytes;
}

function check(acl: Acl): void {
  const one = (tag: number): boolean => acl.filter((entry) => entry.tag === tag).length === 1;
  acl.forEach(({ tag, permissions, id }, n) => {
    if (!(Object.values(tags) as number[]).includes(tag)) throw malformed(`unknown tag ${tag}`);
    if (permissions > 7) throw malformed(`permissions ${permissions}`);
    if (tag < (acl[n - 1]?.tag ?? 0)) throw malformed('entries out of order');
    if (isNamed(tag) && id === 0xffff_ffff) throw malformed('a user or group without id');
  });
  for (const tag of [tags.owner, tags.owningGroup, tags.others])
    if (!one(tag)) throw malformed('owner, group and others each have one entry');
  const hasMask = acl.some((entry) => entry.tag === tags.mask);
  if (hasMask && !one(tags.mask)) throw malformed('more than one mask');
  if (!hasMask && acl.some((entry) => isNamed(entry.tag))) throw malformed('the mask is missing');
}

const isNamed = (tag: number): boolean => tag === tags.user || tag === tags.group;
const malformed = (why: string) => new ArtifactError('Invalid', `access control list: ${why}`);

/** Says no more than permission bits can. */
export const isPlainAcl = (acl: Acl): boolean => acl.length === 3;

/** `mode` with the permissions the list gives to owner, group (its mask, if it has one) and others. */
export function modeOfAcl(acl: Acl, mode: number): number {
  let bits = mode & 0o7000;
  for (const { tag, permissions } of acl) {
    const shift = shiftOf(acl, tag);
    if (shift !== null) bits |= permissions << shift;
  }
  return bits;
}

/** The list after chmod. */
export const aclAfterChmod = (acl: Acl, mode: number): Acl => mapMode(acl, (_, shift) => (mode >> shift) & 7);

/** What a default list gives to something made with `mode`: it takes the place of the umask. */
export function inheritAcl(acl: Acl, mode: number): { acl: Acl; mode: number } {
  const inherited = mapMode(acl, (permissions, shift) => permissions & (mode >> shift));
  return { acl: inherited, mode: modeOfAcl(inherited, mode) };
}

/** The list with no more in any entry than `mode` gives to anybody. */
export function limitAcl(acl: Acl, mode: number): Acl {
  const all = ((mode >> 6) | (mode >> 3) | mode) & 7;
  return acl.map((entry) => ({ ...entry, permissions: entry.permissions & all }));
}

/** Changes the entries that the mode shows. */
function mapMode(acl: Acl, change: (permissions: number, shift: number) => number): Acl {
  return acl.map((entry) => {
    const shift = shiftOf(acl, entry.tag);
    return shift === null ? entry : { ...entry, permissions: change(entry.permissions, shift) };
  });
}

/** Where the mode shows entries of the tag; null: nowhere. */
function shiftOf(acl: Acl, tag: number): number | null {
  if (tag === tags.owner) return 6;
  if (tag === tags.others) return 0;
  const group = acl.some((entry) => entry.tag === tags.mask) ? tags.mask : tags.owningGroup;
  return tag === group ? 3 : null;
}
