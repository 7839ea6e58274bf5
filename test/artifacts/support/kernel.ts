import type { Inode } from '../../../src/artifacts/ports.js';
import { Shell } from './daemon.js';
import { isHeldName } from './model.js';

/** Goes on with what the kernel holds, by paths that begin with its name. */
export class Kernel extends Shell {
  readonly held = new Map<string, Inode>();

  override async find(path: string): Promise<Inode | undefined> {
    const [first = '', ...below] = path.split('/');
    return isHeldName(first)
      ? super.find(below.join('/'), this.held.get(first) ?? this.artifact.tree.root)
      : super.find(path);
  }

  hold(as: string, inode: Inode): void {
    this.artifact.tree.retain(inode);
    this.forget(as);
    this.held.set(as, inode);
  }

  forget(as: string): void {
    const inode = this.held.get(as);
    this.held.delete(as);
    if (inode !== undefined) this.artifact.tree.release(inode);
  }
}
