import fc from 'fast-check';
import { afterAll, expect, test } from 'vitest';
import type { Artifact, Inode } from '../../src/artifacts/ports.js';
import type { FileReader } from '../../src/content/ports.js';
import { ArtifactError, isCode } from '../../src/model/errors.js';
import { runs } from '../support/seed.js';
import { type Machine, openMachine, removeTemporaryDirectories, unexpected } from './support/daemon.js';
import { GatedStore } from './support/gated-store.js';
import { Kernel } from './support/kernel.js';
import {
  checkLinks,
  describeTree,
  describeVersion,
  exactly,
  exactTree,
  inodesOf,
  withoutBytes,
} from './support/observe.js';
import { asAfterRestart, checkStage, describePlanned, forgetIdle } from './support/staged-view.js';

afterAll(removeTemporaryDirectories);

type Op =
  | { op: 'mkdir' | 'unlink' | 'rmdir' | 'removeTree'; path: string }
  | { op: 'write'; path: string; text: string; keepsOpen: boolean }
  | { op: 'rename' | 'link' | 'moveOut'; path: string; to: string }
  | { op: 'chmod'; path: string; mode: number }
  | { op: 'change'; path: string; text: string }
  | { op: 'writeOpen'; which: number; text: string }
  /** As the kernel does with what it knows: it goes on by number, and forgets when it likes. */
  | { op: 'hold'; path: string; as: string }
  | { op: 'release'; as: string };

type Step = { who: 0 | 1 } & (
  | Op
  | { op: 'commit'; during: Op[]; onConflict: 'fail' | 'mine' | 'theirs'; isOvertaken: boolean }
  | { op: 'discard' | 'refresh' | 'restart' | 'forget' | 'look' }
);

// Shared names, and '@' for names that the other machine does not use: not everything is to be a conflict.
const name = fc.constantFrom('a', 'a', 'b', 'c', '@', '@', '@x');
const path = fc
  .constantFrom(1, 1, 2, 2, 3)
  .chain((count) => fc.array(name, { minLength: count, maxLength: count }))
  .map((names) => names.join('/'));
// A path that begins with `#n` begins at what is held there, without a look-up.
const held = fc.constantFrom('#0', '#1', '#2', '#3');
const place = fc.oneof(
  { weight: 5, arbitrary: path },
  { weight: 1, arbitrary: fc.tuple(held, name).map(([as, below]) => `${as}/${below}`) },
);
const thing = fc.oneof({ weight: 1, arbitrary: place }, { weight: 2, arbitrary: held });

const op: fc.Arbitrary<Op> = fc.oneof(
  { weight: 3, arbitrary: fc.record({ op: fc.constant('mkdir' as const), path: place }) },
  {
    weight: 5,
    arbitrary: fc.record({
      op: fc.constant('write' as const),
      path: place,
      text: fc.constantFrom('x', 'yy', 'zzz'),
      keepsOpen: fc.boolean(),
    }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constant('rename' as const), path: place, to: place }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ op: fc.constant('link' as const), path: thing, to: place }),
  },
  {
    weight: 3,
    arbitrary: fc.record({ op: fc.constantFrom('unlink' as const, 'rmdir' as const), path: place }),
  },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('removeTree' as const), path }) },
  { weight: 2, arbitrary: fc.record({ op: fc.constant('moveOut' as const), path, to: path }) },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('writeOpen' as const),
      which: fc.nat(2),
      text: fc.constantFrom('o', 'open'),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constant('change' as const),
      path: thing,
      text: fc.constantFrom('h', 'held'),
    }),
  },
  {
    weight: 1,
    arbitrary: fc.record({
      op: fc.constant('chmod' as const),
      path: thing,
      mode: fc.constantFrom(0o700, 0o750),
    }),
  },
  { weight: 4, arbitrary: fc.record({ op: fc.constant('hold' as const), path: place, as: held }) },
  { weight: 1, arbitrary: fc.record({ op: fc.constant('release' as const), as: held }) },
);

const verb = fc.oneof(
  { weight: 10, arbitrary: op },
  {
    weight: 4,
    arbitrary: fc.record({
      op: fc.constant('commit' as const),
      during: fc.array(op, { maxLength: 6 }),
      onConflict: fc.constantFrom(
        'fail' as const,
        'mine' as const,
        'mine' as const,
        'theirs' as const,
        'theirs' as const,
      ),
      isOvertaken: fc.boolean(),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({
      op: fc.constantFrom(
        'discard' as const,
        'refresh' as const,
        'restart' as const,
        'forget' as const,
        'look' as const,
      ),
    }),
  },
);

const step: fc.Arbitrary<Step> = fc
  .tuple(fc.constantFrom(0 as const, 1 as const), verb)
  .map(([who, what]) => JSON.parse(JSON.stringify({ who, ...what }).replaceAll('@', `own${who}`)) as Step);

/** A file that a program has open. */
interface Open {
  readonly inode: Inode;
  readonly reader: FileReader;
}

/** A machine's programs: they work by paths, and have files open. */
class User extends Kernel {
  readonly open: Open[] = [];

  /** Of what it keeps open the latest are kept. */
  async putFile({
    path,
    text,
    keepsOpen,
  }: {
    path: string;
    text: string;
    keepsOpen: boolean;
  }): Promise<void> {
    const inode = await this.put(path, text);
    if (!keepsOpen) return;
    if (this.open.length === 3) this.#close(this.open.splice(0, 1));
    this.artifact.tree.opened(inode, true);
    this.open.push({ inode, reader: this.artifact.tree.open(inode) });
  }

  async writeOpen(which: number, text: string): Promise<void> {
    const file = this.open[which];
    if (file !== undefined) await this.artifact.tree.write(file.inode, 0, Buffer.from(text));
  }

  /** What each of its open files reads. */
  async readOpen(): Promise<string[]> {
    const texts: string[] = [];
    for (const { reader } of this.open) texts.push((await reader.read(0, 100)).toString());
    return texts;
  }

  closeAll(): void {
    this.#close(this.open.splice(0));
  }

  #close(files: readonly Open[]): void {
    for (const { inode, reader } of files) {
      reader.close();
      this.artifact.tree.closed(inode, true);
    }
  }
}

class World {
  readonly store = new GatedStore();
  readonly machines: Machine[] = [];
  readonly shells: User[] = [];
  #overtaken = 0;

  async start(who: number, stateDir?: string): Promise<void> {
    const machine = await openMachine({ store: this.store, ...(stateDir === undefined ? {} : { stateDir }) });
    await machine.artifacts.idle();
    this.machines[who] = machine;
    const { artifacts } = machine;
    const existing = await artifacts.child(artifacts.root, 'it');
    this.shells[who] = new User(existing ?? artifacts.create(artifacts.root, 'it'));
  }

  shell(who: number): User {
    const shell = this.shells[who];
    if (shell === undefined) throw new Error('no such machine');
    return shell;
  }

  async step(step: Step): Promise<void> {
    const shell = this.shell(step.who);
    const { artifact } = shell;
    const before = await this.readOpen();
    const named = shell.open.filter(({ inode }) => inode.nlink > 0);
    switch (step.op) {
      case 'commit':
        if (step.isOvertaken) await this.overtake(1 - step.who);
        await this.commit(shell, step.during, step.onConflict);
        break;
      case 'discard':
        await artifact.discard();
        await this.checkClean(artifact);
        break;
      case 'refresh':
        await artifact.refresh();
        break;
      case 'restart': {
        const before = await describeTree(asAfterRestart(artifact));
        const { stateDir } = this.machines[step.who] as Machine;
        shell.closeAll();
        shell.held.clear();
        await this.machines[step.who]?.close();
        await this.start(step.who, stateDir);
        // With nothing staged it may be at a newer version now.
        const after = this.shell(step.who).artifact;
        if ((await after.status()).stagedCount > 0) expect(await describeTree(after)).toEqual(before);
        break;
      }
      case 'forget':
        forgetIdle(artifact);
        break;
      case 'look':
        await this.look(shell);
        break;
      default:
        await run(shell, step);
    }
    for (const shell of this.shells) await this.checkShell(shell);
    if (step.op === 'refresh' || (step.op === 'commit' && step.during.length === 0))
      await this.checkStillNamed(shell, named);
    await this.checkOpen(step, before);
  }

  /**
   * What is held, what would be published, and what a daemon would find that began now agree. Nothing is looked up in the
   * tree itself, which may learn by that what it has to know without.
   */
  async checkShell({ artifact, held }: User): Promise<void> {
    checkStage(artifact);
    const later = asAfterRestart(artifact);
    await checkLinks(later);
    expect(await describePlanned(artifact)).toEqual((await describeTree(later)).map(withoutBytes));
    const there = await inodesOf(later);
    for (const inode of held.values()) {
      const found = there.get(inode.ino);
      if (inode.nlink > 0) expect(found === undefined ? 'nothing' : exactly(found)).toBe(exactly(inode));
    }
  }

  /** Whatever others did to its names: a file that is open is written on while it is there. */
  async checkStillNamed({ artifact }: User, named: readonly Open[]): Promise<void> {
    const there = await inodesOf(asAfterRestart(artifact));
    for (const { inode } of named)
      if (there.get(inode.ino)?.kind === 'file')
        expect(inode.nlink, `names of ${inode.ino}`).toBeGreaterThan(0);
  }

  async look({ artifact, held }: User): Promise<void> {
    await checkLinks(artifact);
    expect(await describeTree(artifact)).toEqual(await describeTree(asAfterRestart(artifact)));
    expect(await exactTree(artifact)).toEqual(await exactTree(asAfterRestart(artifact)));
    const there = await inodesOf(artifact);
    for (const inode of held.values())
      if (inode.nlink > 0) expect(there.get(inode.ino) === inode, `${inode.ino} is one object`).toBe(true);
  }

  async readOpen(): Promise<Map<Inode, string>> {
    const texts = new Map<Inode, string>();
    for (const shell of this.shells)
      for (const [i, text] of (await shell.readOpen()).entries())
        texts.set((shell.open[i] as Open).inode, text);
    return texts;
  }

  /** What lost its name while nobody wrote reads as before. */
  async checkOpen(step: Step, before: ReadonlyMap<Inode, string>): Promise<void> {
    const isWritten =
      step.op === 'write' || step.op === 'writeOpen' || (step.op === 'commit' && step.during.length > 0);
    for (const [inode, text] of await this.readOpen())
      if (inode.nlink === 0 && !isWritten && before.has(inode)) expect(text).toBe(before.get(inode));
  }

  /** The other machine's version comes first, with a change that conflicts with nothing. */
  async overtake(who: number): Promise<void> {
    const shell = this.shell(who);
    await run(shell, { op: 'write', path: `by${who}`, text: `${++this.#overtaken}`, keepsOpen: false });
    await this.commit(shell, [], 'fail');
  }

  async commit(shell: User, during: readonly Op[], onConflict: 'fail' | 'mine' | 'theirs'): Promise<void> {
    const { artifact } = shell;
    const before = await describeTree(asAfterRestart(artifact));
    const release = this.store.hold();
    const committing = artifact.commit({ message: 'm', onConflict }).then(
      () => 'done',
      (error: unknown) => {
        if (isCode(error, 'Conflict', 'NothingStaged')) return error.code;
        throw error;
      },
    );
    const waiting = this.store.waiting().then(() => 'waiting');
    if ((await Promise.race([waiting, committing])) === 'waiting')
      for (const op of during) await run(shell, op);
    const expected = during.length === 0 ? before : null;
    release();
    const outcome = await committing;
    if (outcome === 'done') await this.checkClean(artifact);
    // Nothing was done with it: it is as it was.
    else if (expected !== null) expect(await describeTree(asAfterRestart(artifact))).toEqual(expected);
  }

  /** With nothing staged the working view is the newest version that it knows, to the nanosecond. */
  async checkClean(artifact: Artifact): Promise<void> {
    const { base, stagedCount } = await artifact.status();
    if (stagedCount > 0 || base === null || (await artifact.diff(base, 'stage')).changes.length > 0) return;
    const version = await artifact.versionTree(artifact.resolveVersion(`v${base}`));
    const shown = await describeTree(asAfterRestart(artifact));
    expect(shown).toEqual(await describeVersion(artifact, version));
  }

  async finish(): Promise<void> {
    for (const who of [0, 1, 0, 1]) {
      const { artifact } = this.shell(who);
      await artifact.refresh();
      const result = artifact.commit({ message: 'last', onConflict: 'mine' });
      await result.catch((error: unknown) => {
        if (!isCode(error, 'NothingStaged')) throw error;
      });
    }
    for (const shell of this.shells) {
      await shell.artifact.refresh();
      expect((await shell.artifact.status()).stagedCount).toBe(0);
      await this.checkClean(shell.artifact);
    }
    for (const shell of this.shells) {
      shell.closeAll();
      for (const as of [...shell.held.keys()]) shell.forget(as);
    }
    const third = await openMachine({ store: this.store });
    const fresh = await third.artifacts.find('it');
    await checkLinks(fresh);
    for (const { artifact } of this.shells) {
      expect(await describeTree(artifact)).toEqual(await describeTree(fresh));
      expect(await exactTree(artifact)).toEqual(await exactTree(fresh));
    }
    for (const machine of [...this.machines, third]) await machine.close();
    removeTemporaryDirectories();
    expect(unexpected.splice(0)).toEqual([]);
  }
}

/** What the file system refuses is refused. */
async function run(shell: User, op: Op): Promise<void> {
  try {
    if (op.op === 'write') await shell.putFile(op);
    else if (op.op === 'rename') await shell.rename(op.path, op.to);
    else if (op.op === 'link') await shell.link(op.path, op.to);
    else if (op.op === 'chmod') await chmod(shell, op.path, op.mode);
    else if (op.op === 'removeTree') await removeTree(shell, op.path);
    else if (op.op === 'moveOut') await moveOut(shell, op.path, op.to);
    else if (op.op === 'change')
      await shell.artifact.tree.write(await shell.get(op.path), 0, Buffer.from(op.text));
    else if (op.op === 'hold') shell.hold(op.as, await shell.get(op.path));
    else if (op.op === 'release') shell.forget(op.as);
    else if (op.op === 'writeOpen') await shell.writeOpen(op.which, op.text);
    else await shell[op.op](op.path);
  } catch (error) {
    if (!(error instanceof ArtifactError) || error.code === 'Internal' || error.code === 'Corrupt')
      throw error;
  }
}

/** Not of the artifact's own directory: it is not among the paths that are counted as staged. */
async function chmod(shell: User, path: string, mode: number): Promise<void> {
  const inode = await shell.get(path);
  if (inode !== shell.artifact.tree.root) await shell.artifact.tree.setAttributes(inode, { mode });
}

async function removeTree(shell: User, path: string): Promise<void> {
  if ((await shell.get(path)).kind !== 'dir') return shell.unlink(path);
  for (const name of await shell.names(path)) await removeTree(shell, `${path}/${name}`);
  await shell.rmdir(path);
}

/** A directory goes, and the first file that was in it, at any depth, stays elsewhere. */
async function moveOut(shell: User, path: string, to: string): Promise<void> {
  const file = await firstFile(shell, path);
  if (file !== undefined) await shell.rename(file, to);
  await removeTree(shell, path);
}

async function firstFile(shell: User, path: string): Promise<string | undefined> {
  if ((await shell.get(path)).kind !== 'dir') return path;
  for (const name of await shell.names(path)) {
    const file = await firstFile(shell, `${path}/${name}`);
    if (file !== undefined) return file;
  }
  return undefined;
}

test('two machines that commit over each other never disagree with the store', async () => {
  await fc.assert(
    fc.asyncProperty(fc.array(step, { minLength: 1, maxLength: 40, size: 'max' }), async (steps) => {
      const world = new World();
      await world.start(0);
      const first = world.shell(0);
      for (const [dir, file] of [
        ['a', 'a/b'],
        ['a/a', 'a/a/a'],
        ['b', 'b/a'],
      ] as const) {
        await first.mkdir(dir);
        await first.write(file, `v0 of ${file}`);
      }
      await first.link('b/a', 'a/c');
      await first.commit();
      await world.start(1);
      for (const step of steps) await world.step(step);
      await world.finish();
    }),
    {
      numRuns: runs(40),
    },
  );
});
