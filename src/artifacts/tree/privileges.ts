import type { Node } from './node.js';

/** As a change of owner or content does: setuid always, setgid where it means execution. */
export function dropPrivileges(node: Node): void {
  node.mode &= ~0o4000;
  if ((node.mode & 0o010) !== 0) node.mode &= ~0o2000;
}
