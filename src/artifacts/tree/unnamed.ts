import type { CreateInit } from '../ports.js';
import { inherit } from './inherit.js';
import { checkParent } from './name-ops.js';
import { Node } from './node.js';
import type { TreeCore } from './tree-core.js';

/**
 * O_TMPFILE. The inode is in memory and its bytes are in staging files that no row names, so a crash leaves nothing of
 * it: the same as of an open file whose last name was removed.
 */
export function createUnnamed(core: TreeCore, parent: Node, init: CreateInit, linkable: boolean): Node {
  checkParent(core, parent);
  const ino = core.stage.unnamedIno(core.base?.inoPrefixes ?? []);
  const node = Node.created(ino, inherit(parent, init), core.clock());
  node.nlink = 0;
  node.isLinkable = linkable;
  core.table.add(node);
  return node;
}
