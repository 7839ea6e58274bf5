import { isAclName } from '../model/acl.js';
import { ArtifactError } from '../model/errors.js';
import type { NodeId, RequestContext } from './file-system.js';

/**
 * Spares long listings a request for each file. `ls -l` asks a file for its security label, then for its ACL, and asks
 * no other file of the device for what the answer says is not to be had there (EOPNOTSUPP). So while no file that was
 * seen has an ACL, who asks for the label of a file of theirs and at once for its ACL is told that there are none.
 *
 * Everybody else gets the plain answer, which the kernel keeps; above all the kernel itself, which asks in the name of
 * a program when it checks rights, but never of the owner, and would fail with the error.
 */
export class AclQuestions {
  #hasSeenAny = false;
  /** Who asked for a label last, and of what; pid 0: nobody since an ACL was asked for. */
  #pid = 0;
  #node: NodeId = 0;

  get hasSeenAny(): boolean {
    return this.#hasSeenAny;
  }

  /** Attributes of a node that the kernel is about to know, or that it has just got. */
  seen(names: readonly string[]): void {
    if (names.some(isAclName)) this.#hasSeenAny = true;
  }

  labelAsked(context: RequestContext, node: NodeId): void {
    this.#pid = context.pid;
    this.#node = node;
  }

  /** Throws `Unsupported` for a listing's question about a file of `owner`. */
  aclAsked(context: RequestContext, node: NodeId, owner: number): void {
    const follows = this.#pid !== 0 && this.#pid === context.pid && this.#node === node;
    this.#pid = 0;
    if (follows && !this.#hasSeenAny && context.uid === owner) throw noAcls;
  }
}

const noAcls = new ArtifactError('Unsupported', 'no file that was seen has an ACL');
