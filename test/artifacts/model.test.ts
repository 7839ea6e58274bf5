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
  Shell,
  steppingClock,
  temporaryDirectory,
  unexpected,
} from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';
import { describe, Model, ModelError, type ModelNode, resize, writeAt } from './support/model.js';
import { describeTree, describeVersion, exactTree } from './support/observe.js';

afterAll(removeTemporaryDirectories);

type Op =
  | { op: 'mkdir' | 'create' | 'unlink' | 'rmdir' | 'open'; path: string }
  | { op: 'write'; path: string; offset: number; length: number }
  | { op: 'truncate'; path: string; size: number }
  | { op: 'rename'; path: string; to: string; flag: 'plain' | 'noReplace' | 'exchange' }
  | { op: 'link'; path: string; to: string }
  | { op: 'symlink'; path: string; target: string }
  | { op: 'chmod'; path: string; mode: number }
  | { op: 'setxattr'; path: string; value: string | null }
  | { op: 'writeOpen'; slot: number; offset: number; length: number }
  | { op: 'readOpen' | 'close'; slot: number };

/** Where a daemon is killed: at a named step of a commit, or before or after its record has reached the store. */
const crashPoints = [
  'sealed',
  'planned',
  'uploaded',
  'saved',
  'before the record',
  'after the record',
  'published',
  'applied',
  'retired',
  'cleaned',
] as const;

type Step =
  | Op
  | { op: 'commit'; during: Op[] }
  | { op: 'crash'; at: string; during: Op[] }
  | { op: 'discard' | 'restart' | 'forget' | 'fail' };

// Few names, so that operations often meet the same ones.
const name = fc.constantFrom('a', 'a', 'a', 'b', 'b', 'c');
const depth = fc.constantFrom(1, 1, 1, 2, 2, 3);
const path = depth
  .chain((count) => fc.array(name, { minLength: count, maxLength: count }))
  .map((names) => names.join('/'));
// The last one is beyond what small files share staging files for.
const offset = fc.constantFrom(0, 0, 1, 3, 10, 4096, 40_000);
const length = fc.integer({ min: 0, max: 6 });
const slot = fc.integer({ min: 0, max: 2 });

const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ op: fc.constant('mkdir' as const), path }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('create' as const), path }) },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('write' as const), path, offset, length }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('truncate' as const), path, size: offset }) },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('rename' as const),
      path,
      to: path,
      flag: fc.constantFrom('plain' as const, 'plain' as const, 'noReplace' as const, 'exchange' as const),
    }),
  },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('link' as const), path, to: path }) },
  { weight: 3, arbitrary: fc.record({ op: fc.constant('unlink' as const), path }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('rmdir' as const), path }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('symlink' as const), path, target: name }) },
  {
    weight: 1,
    arbitrary: fc.record({ op: fc.constant('chmod' as const), path, mode: fc.constantFrom(0o600, 0o755) }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('setxattr' as const),
      path,
      value: fc.constantFrom('x', 'yy', null),
    }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('open' as const), path }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('writeOpen' as const), slot, offset, length }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constantFrom('readOpen' as const, 'close' as const), slot }) },
);

const step: fc.Arbitrary<Step> = fc.oneof(
  { weight: 12, arbitrary: op },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('commit' as const),
      during: fc.array(op, { maxLength: 6 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('crash' as const),
      at: fc.constantFrom(...crashPoints),
      during: fc.array(op, { maxLength: 3 }),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constantFrom('discard' as const, 'restart' as const, 'forget' as const, 'fail' as const),
    }),
  },
);

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
  shell!: Shell;
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
    this.shell = new Shell(this.artifact);
  }

  async step(step: Step): Promise<void> {
    switch (step.op) {
      case 'commit':
        await this.commit(step.during);
        break;
      case 'crash':
        await this.crash(step.at, step.during);
        break;
      case 'discard':
        await this.artifact.discard();
        if (this.committed === null) this.model.root = new Model().root;
        else this.model.restore(this.committed);
        this.#forgetOpen();
        break;
      case 'restart':
        this.#forgetOpen();
        await this.machine.close();
        await this.start(this.machine.stateDir);
        break;
      case 'forget':
        // Nothing that nobody holds is in memory any more.
        (this.artifact.tree as unknown as { core: { table: { clearIdle(): void } } }).core.table.clearIdle();
        break;
      case 'fail':
        this.store.isAway = true;
        await this.artifact.commit({ message: 'fails' }).catch(() => {});
        this.store.isAway = false;
        break;
      default:
        await this.op(step);
    }
    expect(await describeTree(this.artifact)).toEqual(describe(this.model.root));
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

  /** Runs an operation on both sides and compares the outcome. */
  async op(op: Op): Promise<void> {
    this.#isWorking = true;
    const expected = outcome(() => this.#onModel(op));
    const actual = await outcomeAsync(() => this.#onTree(op));
    this.#isWorking = false;
    expect(actual, JSON.stringify(op)).toBe(expected);
    if (op.op === 'open' && expected === 'ok') {
      const node = this.model.find(op.path);
      const inode = await this.shell.get(op.path);
      if (node.kind !== 'file') return;
      const free = [0, 1, 2].find((candidate) => !this.open.has(candidate));
      if (free === undefined) return;
      this.artifact.tree.opened(inode, true);
      this.open.set(free, { inode, node });
    }
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
      case 'open':
        model.find(op.path);
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
      case 'open':
        await shell.get(op.path);
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

/** Something to work on: without it most random operations would name nothing. */
const prepared: readonly Step[] = [
  { op: 'mkdir', path: 'a' },
  { op: 'mkdir', path: 'a/b' },
  { op: 'mkdir', path: 'a/b/c' },
  { op: 'mkdir', path: 'b' },
  { op: 'write', path: 'a/c', offset: 0, length: 0 },
  { op: 'create', path: 'a/c' },
  { op: 'write', path: 'a/c', offset: 0, length: 5 },
  { op: 'create', path: 'a/b/a' },
  { op: 'write', path: 'a/b/a', offset: 0, length: 3 },
  { op: 'link', path: 'a/b/a', to: 'b/a' },
  { op: 'create', path: 'b/c' },
  { op: 'commit', during: [] },
];

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
    numRuns: runs(60),
  });
});
