import { accessAclName, defaultAclName, encodeAcl, inheritAcl, isPlainAcl } from '../../model/acl.js';
import type { CreateInit } from '../ports.js';
import { aclOf } from './attribute-ops.js';
import type { Node } from './node.js';

/**
 * What a directory hands to what is made in it: a setgid one its group, and to directories the bit; its default ACL in
 * place of the umask, and to directories as theirs. Symlinks have no ACL.
 */
export function inherit(parent: Node, init: CreateInit): CreateInit {
  const { umask = 0, ...rest } = init;
  const setgid = (parent.mode & 0o2000) !== 0;
  const gid = setgid ? parent.gid : init.gid;
  const bits = setgid && init.kind === 'dir' ? 0o2000 : 0;
  if (init.kind === 'symlink') return { ...rest, gid };
  const defaultAcl = aclOf(parent, defaultAclName);
  if (defaultAcl === null) return { ...rest, gid, mode: (init.mode & ~umask) | bits };
  const { acl, mode } = inheritAcl(defaultAcl, init.mode);
  const xattrs: Record<string, string> = { ...init.xattrs };
  if (!isPlainAcl(acl)) xattrs[accessAclName] = encodeAcl(acl).toString('base64');
  if (init.kind === 'dir') xattrs[defaultAclName] = encodeAcl(defaultAcl).toString('base64');
  return { ...rest, gid, mode: mode | bits, xattrs };
}
