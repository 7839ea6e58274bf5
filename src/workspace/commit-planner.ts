import { type Entry, joinPath } from '../model/entry.js';
import { ArtifactError, isCode } from '../model/errors.js';
import { drawInoPrefix, inosPerPrefix } from '../model/ids.js';
import type { CallOptions, ObjectStore } from '../store/object-store.js';
import { forEachOf } from '../util/for-each-of.js';
import { isList, listOf, pagesOf } from './change-pages.js';
import { checkedChanges, checkRequest } from './check-changes.js';
import type { LogView, PublishRequest } from './commit-types.js';
import { isSameEntry, isSameJson } from './entry-compare.js';
import { requireWritable } from './features.js';
import { objectKey, stageOfObject } from './keys.js';
import { expiredIn, factsAt, isCommit, type LogFacts, manifestIn } from './log-facts.js';
import { type Rebased, rebase } from './rebase.js';
import type { ChangeSummary, CommitBody, Manifest, TreeRef } from './records.js';
import { featuresAfter } from './replay.js';
import { Slices } from './slices.js';
import { buildTree } from './tree-builder.js';
import { type StoredTrees, TreeObjectWriter } from './tree-store.js';
import { TreeView } from './tree-view.js';
import type { Metarange, PathChange, TreeChange, TreeChanges } from './trees.js';

/** A version that something can be built on. */
interface Head {
  readonly version: number;
  readonly tree: TreeRef;
}

interface PlannedTree {
  /** The tree it was built on, and where that lies; '' for none. Equal bytes elsewhere may be of a version that lives longer. */
  readonly on: string;
  readonly tree: TreeRef;
  readonly summary: ChangeSummary;
}

/**
 * Steps 5 and 6 of doc/FORMAT.md "Commit": what a stage becomes on top of the log as it is. Asked again each time the
 * slot is lost; a tree already written for the same head is used again.
 */
export class CommitPlanner {
  readonly #store: ObjectStore;
  readonly #trees: StoredTrees;
  readonly #request: PublishRequest;
  readonly #options: CallOptions;
  #planned: PlannedTree | undefined;
  #facts: LogFacts | undefined;

  constructor(store: ObjectStore, trees: StoredTrees, request: PublishRequest, options: CallOptions) {
    this.#store = store;
    this.#trees = trees;
    this.#request = request;
    this.#options = options;
  }

  async plan(log: LogView): Promise<CommitBody> {
    const request = this.#request;
    await checkRequest(request);
    this.#checkLog(log);
    await this.#checkOwnObjects();
    const facts = await this.#factsAtBase(log);
    const manifest = this.#manifest(log, facts);
    request.checkManifest?.(manifest);
    const { tree, summary } = await this.#treeOn(this.#head(log));
    // What the record names must be there before it.
    await request.stored;
    const lastVersion = log.since.findLast(isCommit)?.record.version ?? facts.lastVersion;
    return {
      type: 'commit',
      version: lastVersion + 1,
      baseSeq: request.base?.seq ?? 0,
      stages: [request.stageId],
      tree,
      summary,
      message: request.message,
      manifest,
      inputs: request.inputs,
    };
  }

  /** Everything since the base that forbids to publish this stage at all. */
  #checkLog({ since }: LogView): void {
    const { artifactId, stageId, base, commitId } = this.#request;
    for (const { record } of since) {
      if (record.type === 'abandon' && record.stages.includes(stageId))
        throw stale(`stage ${stageId} was declared dead by garbage collection (log record ${record.seq})`);
      if (record.type === 'commit' && record.stages.includes(stageId) && record.commitId !== commitId)
        throw stale(`stage ${stageId} was published already, as version ${record.version}`);
    }
    requireWritable(`artifact ${artifactId}`, featuresAfter(since));
    // Its objects may be deleted any time now, and both the tree and the files of a stage reuse them.
    const expired = expiredIn(since);
    if (base === null || expired.size === 0) return;
    const lost = [base.version, ...(base.uses?.versions ?? [])].find((version) => expired.has(version));
    if (lost !== undefined) throw stale(`version ${lost}, of which stage ${stageId} uses files, has expired`);
  }

  /** The log does not say when objects of a published stage go that no version has. */
  async #checkOwnObjects(): Promise<void> {
    const { artifactId, base, changes } = this.#request;
    const stages = new Set(base?.uses?.stages);
    if (stages.size === 0) return;
    const objects = new Set<string>();
    for await (const page of pagesOf(changes)) {
      for (const { after } of page)
        for (const { object } of after?.extents ?? [])
          if (object !== null && stages.has(stageOfObject(object) ?? '')) objects.add(object);
    }
    await forEachOf(objects, headsAtOnce, async (object) => {
      try {
        await this.#store.head(objectKey(artifactId, object), this.#options);
      } catch (error) {
        if (!isCode(error, 'NotFound')) throw error;
        throw stale(`${object}, of which stage ${this.#request.stageId} uses bytes, was deleted`);
      }
    });
  }

  async #factsAtBase(log: LogView): Promise<LogFacts> {
    this.#facts ??= await factsAt(this.#store, this.#request.artifactId, log.base, this.#options);
    return this.#facts;
  }

  /** The newest version that is alive, the base at least. */
  #head({ since }: LogView): Head | null {
    const expired = expiredIn(since);
    const newest = since.findLast((stored) => isCommit(stored) && !expired.has(stored.record.version));
    return newest !== undefined && isCommit(newest) ? newest.record : this.#request.base;
  }

  #manifest({ since }: LogView, facts: LogFacts): Manifest {
    const { manifest: mine, onConflict } = this.#request;
    const head = manifestIn(since) ?? facts.manifest;
    if (mine === undefined || isSameJson(mine, head)) return head;
    if (isSameJson(head, facts.manifest) || onConflict === 'mine') return mine;
    if (onConflict === 'theirs') return head;
    throw conflict(this.#request.artifactId, [manifestPath]);
  }

  async #treeOn(head: Head | null): Promise<PlannedTree> {
    const on = head === null ? '' : `${head.tree.object}+${head.tree.offset} ${head.tree.sha256}`;
    if (this.#planned?.on !== on) this.#planned = { on, ...(await this.#buildOn(head)) };
    return this.#planned;
  }

  async #buildOn(head: Head | null): Promise<{ tree: TreeRef; summary: ChangeSummary }> {
    const { artifactId, stageId, base } = this.#request;
    const headTree = head === null ? null : await this.#metarange(head.tree);
    const isOnBase = (head?.tree.sha256 ?? '') === (base?.tree.sha256 ?? '');
    const { changes, root, inoPrefixes } =
      isOnBase || headTree === null ? this.#asStaged(headTree) : await this.#rebased(headTree);
    const hasPrefixes = inoPrefixes.every((prefix) => headTree?.inoPrefixes.includes(prefix));
    const isUnchanged = isList(changes) && changes.length === 0 && hasPrefixes;
    if (head !== null && headTree !== null && isUnchanged)
      if (isSameEntry(root, headTree.root)) return { tree: head.tree, summary: nothing };
    const writer = new TreeObjectWriter(this.#store, artifactId, stageId, this.#options);
    const io = {
      read: (range: Metarange['ranges'][number]) => this.#trees.range(artifactId, range, this.#options),
      write: async (bytes: Buffer) => {
        const piece = await writer.add(bytes);
        this.#trees.remember(piece, bytes);
        return piece;
      },
      finish: () => writer.finish(),
    };
    const { tree, summary } = await buildTree(io, { base: headTree, root, changes, inoPrefixes });
    return { tree, summary };
  }

  #asStaged(headTree: Metarange | null): StagedTree {
    const { artifactId, changes, inoPrefixes } = this.#request;
    const root = this.#request.root ?? headTree?.root;
    if (root === undefined)
      throw new ArtifactError('Internal', `the first commit of artifact ${artifactId} has no root directory`);
    return { changes: checkedChanges(changes), root, inoPrefixes };
  }

  async #rebased(headTree: Metarange): Promise<StagedTree> {
    const { artifactId, base, onConflict } = this.#request;
    const baseTree = base === null ? null : await this.#metarange(base.tree);
    const numbers = new FreshNumbers(this.#request, baseTree, headTree);
    const baseView = baseTree === null ? null : this.#view(baseTree);
    const result: Rebased = await rebase({
      changes: await withBefore(numbers.renumber(await withRoot(this.#request)), baseView),
      base: baseView,
      head: this.#view(headTree),
      onConflict,
      newIno: () => numbers.next(),
    });
    if (onConflict === 'fail' && result.conflicts.length > 0) throw conflict(artifactId, result.conflicts);
    return { changes: result.changes, root: result.root, inoPrefixes: numbers.prefixes };
  }

  #view(metarange: Metarange): TreeView {
    const { artifactId } = this.#request;
    return new TreeView(metarange, (range) => this.#trees.range(artifactId, range, this.#options));
  }

  #metarange(tree: TreeRef): Promise<Metarange> {
    return this.#trees.metarange(this.#request.artifactId, tree, this.#options);
  }
}

interface StagedTree {
  readonly changes: TreeChanges;
  readonly root: Entry;
  readonly inoPrefixes: readonly number[];
}

/** File numbers of a rebase: of an own prefix, drawn when the first is wanted. */
class FreshNumbers {
  #prefixes: readonly number[];
  readonly #used: readonly number[];
  readonly #clashing: ReadonlySet<number>;
  #next = 0;
  #end = 0;

  constructor(request: PublishRequest, base: Metarange | null, head: Metarange) {
    this.#used = [...head.inoPrefixes, ...(base?.inoPrefixes ?? []), ...request.inoPrefixes];
    const old = new Set(base?.inoPrefixes);
    const theirs = new Set(head.inoPrefixes.filter((prefix) => !old.has(prefix)));
    this.#clashing = new Set(request.inoPrefixes.filter((prefix) => theirs.has(prefix)));
    this.#prefixes = request.inoPrefixes;
  }

  get prefixes(): readonly number[] {
    return this.#prefixes;
  }

  next(): number {
    if (this.#next === this.#end) {
      const prefix = this.#draw();
      this.#next = prefix * inosPerPrefix;
      this.#end = this.#next + inosPerPrefix;
    }
    return this.#next++;
  }

  /** Two stages that drew the same prefix, once in a billion: my new files get numbers of another one. */
  renumber(changes: readonly TreeChange[]): readonly TreeChange[] {
    if (this.#clashing.size === 0) return changes;
    const moved = new Map([...this.#clashing].map((prefix) => [prefix, this.#draw()]));
    return changes.map((change) => {
      const { dir, name, before, after } = change;
      if (after === null) return change;
      const { ino } = after;
      const prefix = moved.get(Math.floor(ino / inosPerPrefix));
      if (prefix === undefined) return change;
      return { dir, name, before, after: { ...after, ino: prefix * inosPerPrefix + (ino % inosPerPrefix) } };
    });
  }

  #draw(): number {
    const prefix = drawInoPrefix([...this.#used, ...this.#prefixes]);
    this.#prefixes = [...this.#prefixes, prefix];
    return prefix;
  }
}

/** A rebase goes through them again and again. */
async function withRoot({ root, changes }: PublishRequest): Promise<readonly TreeChange[]> {
  const list = await listOf(checkedChanges(changes));
  return root === undefined ? list : [{ dir: '', name: '', after: root }, ...list];
}

/** Only a rebase asks what was there: a commit of many removed files does not hold it otherwise. */
async function withBefore(changes: readonly TreeChange[], base: TreeView | null): Promise<PathChange[]> {
  const known = await base?.find(changes.filter(({ before }) => before === undefined));
  const slices = new Slices();
  const found: PathChange[] = [];
  for (const change of changes) {
    const { dir, name, after } = change;
    const before = change.before === undefined ? known?.get(joinPath(dir, name)) : change.before;
    found.push({ dir, name, before: before ?? null, after });
    if (slices.due()) await slices.turn();
  }
  return found;
}

const manifestPath = '.artifact/manifest.json';
const pathsShown = 100;
const headsAtOnce = 8;
const nothing: ChangeSummary = { added: 0, changed: 0, removed: 0 };

function conflict(artifactId: string, paths: readonly string[]): ArtifactError {
  const shown = paths.slice(0, 3).join(', ') + (paths.length > 3 ? ', ...' : '');
  return new ArtifactError(
    'Conflict',
    `somebody else has committed changes to the same paths of artifact ${artifactId}: ${shown}`,
    {
      paths: paths.slice(0, pathsShown),
      pathsTotal: paths.length,
      hint: 'commit with --on-conflict=mine or --on-conflict=theirs, or look at their version and discard',
    },
  );
}

const stale = (what: string) =>
  new ArtifactError('Stale', what, {
    hint: 'copy what you need out of the working view, discard the stage, and put it back on the latest version',
  });
