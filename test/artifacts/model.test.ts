import { cpSync } from 'node:fs';
import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import type { Artifact, Inode } from '../../src/artifacts/ports.js';
import { ArtifactError } from '../../src/model/errors.js';
import { runs } from '../support/seed.js';
import {
  type Machine,
  openMachine,
  readAll,
  removeTemporaryDirectories,
  steppingClock,
  temporaryDirectory,
  unexpected,
} from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';
import { Kernel } from './support/kernel.js';
import {
  clear,
  describe,
  describeHeld,
  Model,
  ModelError,
  type ModelNode,
  resize,
  writeAt,
} from './support/model.js';
import { linkSteps, type Op, prepared, type Step, step } from './support/model-steps.js';
import {
  describeHeldInodes,
  describeTree,
  describeVersion,
  exactTree,
  withoutBytes,
} from './support/observe.js';
import {
  asAfterRestart,
  checkStage,
  describePlanned,
  forgetIdle,
  nodesInUse,
  sendAhead,
} from './support/staged-view.js';

afterAll(removeTemporaryDirectories);

interface OpenFile {
  readonly inode: Inode;
  readonly node: ModelNode;
}

class Run {
  readonly store = new GatedStore();
  readonly model = new Model();
  readonly open = new Map<number, OpenFile>();
  readonly versions: string[][] = [];
  readonly clock = steppingClock();
  committed: ModelNode | null = null;
  machine!: Machine;
  artifact!: Artifact;
  shell!: Kernel;
  sealedModel: ModelNode | null = null;
  atStep: (step: string) => void = () => {};
  #byte = 0;
  #isWorking = false;

  async start(stateDir?: string): Promise<void> {
    this.machine = await openMachine({
      store: this.store,
      clock: this.clock,
      ...(stateDir === undefined ? {} : { stateDir }),
      onStep: (step) => {
        if (step === 'sealed') this.sealedModel = this.model.clone();
        this.atStep(step);
      },
    });
    const { artifacts } = this.machine;
    this.artifact =
      (await artifacts.child(artifacts.root, 'it')) ??
      artifacts.create(artifacts.root, 'it', { mode: 0o755 });
    this.shell = new Kernel(this.artifact);
    this.model.held.clear();
  }

  async step(step: Step): Promise<void> {
    switch (step.op) {
      case 'commit':
        await this.commit(step.during);
        break;
      case 'crash':
        await this.crash(step.at, step.during);
        break;
      case 'ahead':
        await this.sendAhead(step.during);
        break;
      case 'discard':
        await this.discard();
        break;
      case 'restart':
        this.#forgetOpen();
        await this.machine.close();
        await this.start(this.machine.stateDir);
        break;
      case 'forget':
        // Nothing that nobody holds is in memory any more.
        forgetIdle(this.artifact);
        break;
      case 'look':
        await this.look();
        break;
      case 'fail':
        this.store.isAway = true;
        await this.artifact.commit({ message: 'fails' }).catch(() => {});
        this.store.isAway = false;
        break;
      default:
        await this.op(step);
    }
    await this.check();
  }

  /**
   * What is held, what would be published, and what a daemon would find that began now. Nothing is looked up in the tree
   * itself, which may learn by that what it has to know without.
   */
  async check(): Promise<void> {
    const { artifact, model } = this;
    const expected = describe(model.root);
    expect(await describeHeldInodes(artifact, this.shell.held)).toEqual(describeHeld(model));
    checkStage(artifact);
    expect(await describeTree(asAfterRestart(artifact))).toEqual(expected);
    expect(await describePlanned(artifact)).toEqual(expected.map(withoutBytes));
  }

  async look(): Promise<void> {
    const { artifact } = this;
    expect(await describeTree(artifact)).toEqual(describe(this.model.root));
    expect(await exactTree(asAfterRestart(artifact))).toEqual(await exactTree(artifact));
  }

  /** What the version has is what it was; the rest has no name, and its bytes go when it is closed. */
  async discard(): Promise<void> {
    await this.artifact.discard();
    if (this.committed === null) throw new Error('the first version is committed before anything else');
    const { shell, model } = this;
    const there = model.restore(this.committed);
    for (const [slot, { inode, node }] of this.open)
      this.open.set(slot, { inode, node: there.get(node.id) ?? node });
    for (const [as, { id }] of [...model.held]) {
      const node = there.get(id);
      if (node !== undefined) model.held.set(as, node);
      else {
        expect(shell.held.get(as)?.nlink, as).toBe(0);
        model.held.delete(as);
        shell.forget(as);
      }
    }
  }

  /** The state directory as a killed daemon leaves it; the daemon itself never goes on. */
  async crash(at: string, during: readonly Op[]): Promise<void> {
    const before = this.artifact.versions().length;
    let copied: string | null = null;
    const die = (step: string): boolean => {
      // An operation that was not acknowledged may be lost or kept: that proves nothing.
      if (step !== at || copied !== null || this.#isWorking) return false;
      copied = temporaryDirectory();
      cpSync(this.machine.stateDir, copied, { recursive: true });
      return true;
    };
    this.atStep = (step) => {
      if (die(step)) throw new Error('killed');
    };
    this.store.atRecord = (when) => (die(when) ? new Promise(() => {}) : Promise.resolve());
    this.sealedModel = null;
    const committing = this.artifact.commit({ message: 'killed' }).catch(() => {});
    const ops = (async () => {
      for (const op of during) {
        await turn();
        if (copied === null) await this.op(op);
      }
    })();
    while (copied === null) {
      const done = await Promise.race([committing.then(() => true), turn().then(() => false)]);
      if (done) break;
    }
    await ops;
    this.atStep = () => {};
    this.store.atRecord = () => Promise.resolve();
    this.#forgetOpen();
    if (copied !== null) {
      await this.start(copied);
      await this.machine.artifacts.idle();
    } else if (this.sealedModel === null || this.artifact.versions().length === before) return;
    if (this.artifact.versions().length > before) {
      this.committed = this.sealedModel ?? new Model().root;
      this.versions.push(describe(this.committed));
    }
  }

  async commit(during: readonly Op[]): Promise<void> {
    const openGate = this.store.hold();
    this.sealedModel = null;
    const committing = this.artifact.commit({ message: 'm' }).then(
      (result) => result,
      (error: unknown) => error,
    );
    while (this.sealedModel === null && this.artifact.tree !== undefined) {
      const done = await Promise.race([committing.then(() => true), turn().then(() => false)]);
      if (done) break;
    }
    for (const op of during) {
      await this.op(op);
      await turn();
    }
    openGate();
    const result = await committing;
    if (result instanceof ArtifactError && result.code === 'NothingStaged') return;
    if (result instanceof Error) throw result;
    const sealed = this.sealedModel as ModelNode | null;
    if (sealed === null) throw new Error('a commit without a seal');
    this.committed = sealed;
    this.versions.push(describe(sealed));
    const version = this.artifact.resolveVersion('latest');
    expect(version.version).toBe(this.versions.length - 1);
    expect(await describeVersion(this.artifact, await this.artifact.versionTree(version))).toEqual(
      describe(sealed),
    );
  }

  async sendAhead(during: readonly Op[]): Promise<void> {
    const openGate = this.store.holdPuts();
    const sending = sendAhead(this.artifact);
    for (const op of during) {
      await this.op(op);
      await turn();
    }
    openGate();
    await sending;
  }

  /** Runs an operation on both sides and compares the outcome. */
  async op(op: Op): Promise<void> {
    this.#isWorking = true;
    const expected = outcome(() => this.#onModel(op));
    const actual = await outcomeAsync(() => this.#onTree(op));
    this.#isWorking = false;
    expect(actual, JSON.stringify(op)).toBe(expected);
    if (op.op === 'open' && expected === 'ok') await this.#open(op.path);
  }

  async #open(path: string): Promise<void> {
    const node = this.model.find(path);
    const inode = await this.shell.get(path);
    const free = [0, 1, 2].find((candidate) => !this.open.has(candidate));
    if (node.kind !== 'file' || free === undefined) return;
    this.artifact.tree.opened(inode, true);
    this.open.set(free, { inode, node });
  }

  #onModel(op: Op): void {
    const { model } = this;
    switch (op.op) {
      case 'mkdir':
        model.make(op.path, 'dir', 0o755);
        break;
      case 'create':
        model.make(op.path, 'file', 0o644);
        break;
      case 'symlink':
        model.make(op.path, 'symlink', 0o777, op.target);
        break;
      case 'write':
        writeAt(model.file(op.path), op.offset, this.#bytes(op.length));
        break;
      case 'truncate':
        resize(model.file(op.path), op.size);
        break;
      case 'rename':
        model.rename(op.path, op.to, { [op.flag]: true });
        break;
      case 'link':
        model.link(op.path, op.to);
        break;
      case 'unlink':
        model.unlink(op.path);
        break;
      case 'rmdir':
        model.rmdir(op.path);
        break;
      case 'chmod':
        model.find(op.path).mode = op.mode;
        break;
      case 'setxattr': {
        const { xattrs } = model.find(op.path);
        if (op.value !== null) xattrs.set('user.x', op.value);
        else if (!xattrs.delete('user.x')) throw new ModelError('NoAttribute');
        break;
      }
      case 'allocate':
        allocateInModel(model.file(op.path), op);
        break;
      case 'copy':
        for (const path of [op.path, op.to]) model.find(path);
        copyInModel(model.file(op.path), model.file(op.to), op);
        break;
      case 'open':
        model.find(op.path);
        break;
      case 'read':
        model.file(op.path);
        break;
      case 'hold':
        model.held.set(op.as, model.find(op.path));
        break;
      case 'holdUnnamed':
        model.held.set(op.as, model.makeUnnamed(op.path, op.isLinkable));
        break;
      case 'release':
        model.held.delete(op.as);
        break;
      case 'writeOpen': {
        const file = this.open.get(op.slot);
        if (file !== undefined) writeAt(file.node, op.offset, this.#bytes(op.length));
        break;
      }
    }
  }

  async #onTree(op: Op): Promise<void> {
    const { shell, artifact } = this;
    const { tree } = artifact;
    switch (op.op) {
      case 'mkdir':
        await shell.mkdir(op.path);
        break;
      case 'create':
        await shell.create(op.path);
        break;
      case 'symlink':
        await shell.symlink(op.path, op.target);
        break;
      case 'write':
        await tree.write(await shell.get(op.path), op.offset, this.#lastBytes(op.length));
        break;
      case 'truncate':
        await tree.setAttributes(await shell.get(op.path), { size: op.size });
        break;
      case 'rename':
        await shell.rename(op.path, op.to, { [op.flag]: true });
        break;
      case 'link':
        await shell.link(op.path, op.to);
        break;
      case 'unlink':
        await shell.unlink(op.path);
        break;
      case 'rmdir':
        await shell.rmdir(op.path);
        break;
      case 'chmod':
        await tree.setAttributes(await shell.get(op.path), { mode: op.mode });
        break;
      case 'setxattr': {
        const value = op.value === null ? null : Buffer.from(op.value);
        await tree.setXattr(await shell.get(op.path), 'user.x', value);
        break;
      }
      case 'allocate':
        await tree.allocate(await shell.get(op.path), op);
        break;
      case 'copy':
        await this.#copy(op);
        break;
      case 'open':
        await shell.get(op.path);
        break;
      case 'read':
        expect((await readAll(artifact, await shell.get(op.path))).toString('latin1')).toBe(
          this.model.find(op.path).data.toString('latin1'),
        );
        break;
      case 'hold':
        shell.hold(op.as, await shell.get(op.path));
        break;
      case 'holdUnnamed': {
        const init = { kind: 'file' as const, mode: 0o644, uid: 1, gid: 1 };
        shell.hold(op.as, tree.createUnnamed(await shell.get(op.path), init, op.isLinkable));
        break;
      }
      case 'release':
        shell.forget(op.as);
        break;
      case 'writeOpen': {
        const file = this.open.get(op.slot);
        if (file !== undefined) await tree.write(file.inode, op.offset, this.#lastBytes(op.length));
        break;
      }
      case 'readOpen': {
        const file = this.open.get(op.slot);
        if (file !== undefined)
          expect((await readAll(artifact, file.inode)).toString('latin1')).toBe(
            file.node.data.toString('latin1'),
          );
        break;
      }
      case 'close': {
        const file = this.open.get(op.slot);
        if (file === undefined) break;
        this.open.delete(op.slot);
        tree.closed(file.inode, true);
        break;
      }
    }
  }

  /** In parts, as programs do. */
  async #copy(op: Op & { op: 'copy' }): Promise<void> {
    const { tree } = this.artifact;
    const from = await this.shell.get(op.path);
    const to = await this.shell.get(op.to);
    const count = Math.max(0, Math.min(op.length, from.size - op.offset));
    for (let done = 0; ; ) {
      const source = { inode: from, offset: op.offset + done };
      const copied = await tree.copyRange(source, { inode: to, offset: op.toOffset + done }, count - done);
      done += copied;
      if (copied === 0 || done >= count) return;
    }
  }

  #bytes(length: number): Buffer {
    this.#byte++;
    return this.#lastBytes(length);
  }

  #lastBytes(length: number): Buffer {
    return Buffer.alloc(length, 0x41 + (this.#byte % 26));
  }

  #forgetOpen(): void {
    for (const { inode } of this.open.values()) {
      this.artifact.tree.closed(inode, true);
    }
    this.open.clear();
  }

  /** Commits what is left; a machine without any state must see the same, to the nanosecond. */
  async finish(): Promise<void> {
    this.#forgetOpen();
    await this.commit([]);
    await this.check();
    await this.look();
    for (const as of [...this.shell.held.keys()]) this.shell.forget(as);
    expect(nodesInUse(this.artifact)).toEqual(['']);
    if (this.versions.length > 0) {
      const other = await openMachine({ store: this.store, clock: this.clock });
      const artifact = await other.artifacts.find('it');
      expect(await describeTree(artifact)).toEqual(describe(this.model.root));
      expect(await exactTree(artifact)).toEqual(await exactTree(this.artifact));
      for (const [number, lines] of this.versions.entries()) {
        const tree = await artifact.versionTree(artifact.resolveVersion(`v${number}`));
        expect(await describeVersion(artifact, tree)).toEqual(lines);
      }
      await other.close();
    }
    await this.machine.close();
    removeTemporaryDirectories();
    expect(unexpected.splice(0)).toEqual([]);
  }
}

function allocateInModel(node: ModelNode, { how, offset, length, keepSize }: Op & { op: 'allocate' }): void {
  if (how !== 'allocate') clear(node, offset, length);
  if (how !== 'punch' && !keepSize) resize(node, Math.max(node.data.length, offset + length));
}

function copyInModel(
  from: ModelNode,
  to: ModelNode,
  { offset, toOffset, length }: Op & { op: 'copy' },
): void {
  const bytes = from.data.subarray(offset, offset + length);
  if (from === to && Math.abs(offset - toOffset) < bytes.length) throw new ModelError('Invalid');
  writeAt(to, toOffset, Buffer.from(bytes));
}

const turn = () => new Promise<void>((resolve) => setImmediate(resolve));

function outcome(body: () => void): string {
  try {
    body();
    return 'ok';
  } catch (error) {
    if (error instanceof ModelError) return error.code;
    throw error;
  }
}

async function outcomeAsync(body: () => Promise<void>): Promise<string> {
  try {
    await body();
    return 'ok';
  } catch (error) {
    if (error instanceof ArtifactError) return error.code === 'Internal' ? String(error.stack) : error.code;
    throw error;
  }
}

async function runSteps(steps: readonly Step[]): Promise<void> {
  const run = new Run();
  await run.start();
  for (const step of [...prepared, ...steps]) await run.step(step);
  await run.finish();
}

test('the working view behaves as a POSIX tree through commits, discards, failures and restarts', async () => {
  await fc.assert(fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 60, size: 'max' }), runSteps), {
    numRuns: runs(40),
  });
});

test('what is held is found by commits and after restarts, however its names have changed', async () => {
  await fc.assert(fc.asyncProperty(linkSteps, runSteps), {
    numRuns: runs(40),
  });
});
