import type { ExtentMap } from '../../content/extent-map.js';
import type { Clock, Ino, Time } from '../../model/entry.js';
import type { CreateInit } from '../ports.js';
import type { StageDatabase } from '../stage-db/stage-database.js';
import type { InodeTable } from './inode-table.js';
import { Node, type NodeState } from './node.js';
import type { Stage, StageState } from './stage.js';

/** What a change needs of the tree it changes. */
export interface ChangeHost {
  readonly db: StageDatabase;
  readonly stage: Stage;
  readonly table: InodeTable;
  readonly clock: Clock;
  readonly loose: Set<Ino>;
  mayBeInBase(parent: Node, name: string): boolean;
  disposeIfUnused(node: Node): void;
  reloadMap(node: Node): void;
}

interface Touched {
  readonly state: NodeState;
  /** As it was, of a node whose map cannot be read again from its row. */
  map: ExtentMap | null;
  /** No row yet: the whole row is stored. */
  insert: boolean;
  content: boolean;
  xattrs: boolean;
  write: { start: number; length: number; file: number } | null;
}

/**
 * One mutation of the working view: a transaction of stage.db plus the nodes it changes in memory. A node is touched
 * before its fields are set; touched nodes are stored at the end, and put back as they were when anything fails.
 */
export class Change {
  readonly now: Time;
  readonly #core: ChangeHost;
  readonly #touched = new Map<Node, Touched>();
  readonly #stage: StageState;
  readonly #afterwards: (() => void)[] = [];

  constructor(core: ChangeHost) {
    this.#core = core;
    this.#stage = core.stage.save();
    this.now = core.clock();
  }

  /** Copies the inode into the stage when it is not there, and marks it as changed in this generation. */
  touch(node: Node): Touched {
    const touched = this.#include(node);
    if (node.hasName) node.gen = this.#core.stage.gen;
    return touched;
  }

  /** The content is about to change: the whole extent map will be stored. */
  touchContent(node: Node): void {
    const touched = this.touch(node);
    touched.content = true;
    this.#contentChanges(node, touched);
  }

  /** The content is about to change by this one write. */
  touchWrite(node: Node, start: number, length: number, file: number): void {
    const touched = this.touch(node);
    touched.write = { start, length, file };
    this.#contentChanges(node, touched);
  }

  touchXattrs(node: Node): void {
    this.touch(node).xattrs = true;
  }

  create(init: CreateInit): Node {
    const { stage } = this.#core;
    const node = Node.created(stage.nextIno(), init, this.now);
    node.staged = true;
    node.gen = stage.gen;
    node.contentGen = stage.gen;
    this.#touched.set(node, touchedFrom(node, true));
    this.afterwards(() => this.#core.table.add(node));
    return node;
  }

  /** A file without a name is about to get one: it has a row from now on. */
  appear(node: Node): void {
    const { stage, table } = this.#core;
    stage.own(node.ino);
    this.#record(node).insert = true;
    node.staged = true;
    node.gen = stage.gen;
    node.contentGen = stage.gen;
    // What else takes bytes of it has gone with an older generation; nobody else writes into its own file.
    if (node.file !== 0) node.fileGen = stage.gen;
    this.afterwards(() => {
      if (table.get(node.ino) !== node) table.add(node);
    });
  }

  /** Gives `name` in `parent`, which is touched, to an inode. */
  putName(parent: Node, name: string, ino: Ino): void {
    const { db, stage } = this.#core;
    db.dirents.put(stage.s, parent.ino, name, ino, stage.gen);
  }

  /** Takes `name` out of `parent`, which is touched: also the base version's, and the one being committed. */
  removeName(parent: Node, name: string): void {
    const { db, stage } = this.#core;
    if (stage.sealed !== null || this.#core.mayBeInBase(parent, name)) {
      db.dirents.put(stage.s, parent.ino, name, null, stage.gen);
    } else {
      db.dirents.delete(stage.s, parent.ino, name);
    }
  }

  /** One name less; before the name is removed or given away, as a touched node is staged under it. Without a name the inode leaves the stage, and lives on in memory while it is held. */
  unlink(node: Node, parent: Node, name: string): void {
    if (node.nlink > 1 && node.kind !== 'dir') {
      this.touch(node);
      node.nlink--;
    } else {
      this.#record(node);
      // Read it while its rows are there: open files go on reading.
      if (node.kind === 'file' && node.holds > 0) void node.map;
      node.nlink = 0;
      if (node.kind === 'dir') this.#core.db.dirents.deleteOf(this.#core.stage.s, node.ino);
    }
    node.ctime = this.now;
    this.afterwards(() => {
      if (node.parent === parent && node.name === name) this.#core.table.locate(node, null, name);
      if (node.nlink === 0) this.#core.disposeIfUnused(node);
    });
  }

  /** Runs when the transaction is committed. */
  afterwards(action: () => void): void {
    this.#afterwards.push(action);
  }

  /** Writes all touched nodes. */
  store(): void {
    const { db, stage } = this.#core;
    const { s } = stage;
    for (const [node, touched] of this.#touched) {
      if (!node.hasName) {
        if (touched.state.staged) db.inodes.delete(s, node.ino, node.logged);
        node.staged = false;
        continue;
      }
      if (touched.insert) db.inodes.put(s, node);
      else if (touched.content) db.inodes.putContent(s, node);
      else if (touched.write !== null) {
        const { start, length, file } = touched.write;
        db.inodes.putWrite(s, node, start, length, file);
      } else db.inodes.putAttributes(s, node);
      if (touched.xattrs && !touched.insert) db.inodes.putXattrs(s, node);
    }
  }

  committed(): void {
    for (const action of this.#afterwards) action();
  }

  undo(): void {
    this.#core.stage.restore(this.#stage);
    for (const [node, touched] of this.#touched) {
      Object.assign(node, touched.state);
      if (touched.map !== null) node.map = touched.map;
      else if (touched.content || touched.write !== null) this.#core.reloadMap(node);
    }
  }

  #contentChanges(node: Node, touched: Touched): void {
    if (!touched.state.staged) touched.map = node.map.clone();
    node.contentGen = node.gen;
    node.sha256 = null;
  }

  #record(node: Node): Touched {
    let touched = this.#touched.get(node);
    if (touched === undefined) {
      touched = touchedFrom(node, false);
      this.#touched.set(node, touched);
    }
    return touched;
  }

  /** Gives the node a row, and a staged way from the root to it. */
  #include(node: Node): Touched {
    const touched = this.#record(node);
    if (node.staged || !node.hasName) return touched;
    touched.insert = true;
    node.staged = true;
    const { parent } = node;
    if (node.kind !== 'dir') {
      // The name that was known has gone; the one that is left is in the base, and programs may use it without a look-up.
      if (parent === null) node.baseNlink = Math.max(2, node.baseNlink);
      if (node.baseNlink > 1) this.#core.loose.add(node.ino);
    }
    if (parent !== null) {
      this.#include(parent);
      const { db, stage } = this.#core;
      db.dirents.put(stage.s, parent.ino, node.name, node.ino, 0);
    }
    return touched;
  }
}

function touchedFrom(node: Node, insert: boolean): Touched {
  return { state: node.saveState(), map: null, insert, content: false, xattrs: false, write: null };
}
