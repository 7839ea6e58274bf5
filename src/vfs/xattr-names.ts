import { isAclName } from '../model/acl.js';
import { ArtifactError } from '../model/errors.js';
import type { RequestContext } from './file-system.js';

const storedPrefixes = ['user.', 'trusted.', 'security.'];

/** What a label means is known to the policy of one machine: none is kept, and programs that ask do not ask again. */
export const machineLabel = 'security.selinux';
const noLabels = new ArtifactError('Unsupported', `${machineLabel}: labels of one machine are not kept`);

/** Throws `Unsupported` for attributes that no file has here, `Invalid` for a name that is only a prefix. */
export function checkXattrName(name: string): void {
  if (name === machineLabel) throw noLabels;
  if (isAclName(name)) return;
  const prefix = storedPrefixes.find((known) => name.startsWith(known));
  if (prefix === undefined)
    throw new ArtifactError('Unsupported', `attribute ${name}: not a known name space`);
  if (prefix === name) throw new ArtifactError('Invalid', `attribute ${name}: a name space without a name`);
}

/** As on a local disk, others than root do not see that there are `trusted.` ones; the kernel refuses to read them. */
export const isListedFor = (context: RequestContext, name: string): boolean =>
  context.uid === 0 || !name.startsWith('trusted.');
