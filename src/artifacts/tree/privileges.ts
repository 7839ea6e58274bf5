import type { Change } from './change.js';
import type { Node } from './node.js';

/** What lets a program run with more rights than its caller has. */
const capabilityName = 'security.capability';

/** As a change of owner or content does: setuid always, setgid where it means execution. Inside a change of the node. */
export function dropPrivileges(node: Node): void {
  node.mode &= ~0o4000;
  if ((node.mode & 0o010) !== 0) node.mode &= ~0o2000;
}

/** Whoever changes owner or content, root too. Inside a change of the node, unless it has no name. */
export function dropCapabilities(node: Node, change: Change | null): void {
  if (node.xattrs === null || !Object.hasOwn(node.xattrs, capabilityName)) return;
  change?.touchXattrs(node);
  const { [capabilityName]: _, ...rest } = node.xattrs;
  node.xattrs = Object.keys(rest).length === 0 ? null : rest;
}
