import { readdirSync } from 'node:fs';
import { writeFile } from 'node:fs/promises';
import { setTimeout as sleep } from 'node:timers/promises';
import { Faults } from '../soak/faults.js';
import { Random } from '../soak/random.js';
import { differences, fingerprint } from '../support/fingerprint.js';
import { Report } from '../support/report.js';
import { realServer, type S3Store, testServer } from '../support/s3.js';
import { type Outcome, World } from '../support/world.js';
import { type Bucket, directoryBucket, s3Bucket } from './bucket.js';
import { bytesOf } from './chunks.js';
import { Client } from './client.js';
import { type History, Reader, rootCollection } from './format.js';
import type { Artifact } from './journal.js';
import { linesOf, Proof, setupMessage } from './proof.js';
import { Wrong } from './room.js';

export interface ManyOptions {
  readonly store: 'file' | 's3' | 'ceph';
  readonly machines: number;
  readonly seed: number;
  /** How long, or so many steps of each machine. */
  readonly minutes?: number;
  readonly steps?: number;
  /** The store neither goes away nor stalls, and daemons are killed at named steps only. */
  readonly calm?: boolean;
  readonly note: (text: string) => void;
}

export interface ManyResult {
  readonly lines: readonly (readonly [what: string, found: string])[];
  readonly failures: readonly string[];
}

const artifacts: readonly Artifact[] = ['main', 'second'];
const betweenOutagesMs = [8_000, 20_000] as const;
const tellEveryMs = 30_000;
const outageMs = [500, 4_000] as const;

/** Daemons that all commit to one workspace and are killed; then a proof that nothing was lost, doubled or left over. */
export class ManyMachines implements AsyncDisposable {
  readonly #options: ManyOptions;
  readonly #world: World;
  readonly #server: S3Store | null;
  readonly #faults: Faults | null;
  readonly #bucket: Bucket;
  readonly #clients: Client[];
  readonly #report: Report;
  readonly #lines: [string, string][] = [];

  static async make(options: ManyOptions): Promise<ManyMachines> {
    if (options.store === 'file') return new ManyMachines(options, null);
    const server = options.store === 's3' ? await testServer() : realServer();
    if (server === undefined) throw new Error('no real S3 server is named: ARTIFACTFS_TEST_S3_ENDPOINT');
    return new ManyMachines(options, server);
  }

  private constructor(options: ManyOptions, server: S3Store | null) {
    this.#options = options;
    this.#report = new Report(options.note);
    this.#server = server;
    this.#world = new World(server?.options ?? {});
    const { store } = this.#world;
    this.#bucket =
      server === null ? directoryBucket(new URL(store).pathname) : s3Bucket(store, server.options.env ?? {});
    this.#faults = server?.server === undefined ? null : new Faults(server.server.control);
    const excuses = (began: number): boolean => this.#faults?.excuses(began) ?? false;
    this.#clients = Array.from(
      { length: options.machines },
      (_, i) =>
        new Client(`m${i}`, this.#world.machine(`m${i}`), options.seed, excuses, options.calm ?? false),
    );
  }

  get directory(): string {
    return this.#world.directory;
  }

  async run(): Promise<ManyResult> {
    try {
      await this.#begin();
      await this.#work();
      await this.#settle();
      await this.#prove();
      await this.#collect();
      for (const client of this.#clients) this.#expectDone(`${client.name}: unmount`, await client.unmount());
    } catch (error) {
      this.#report.fail(error);
    }
    return { lines: [...this.#table(), ...this.#lines], failures: this.#report.failures };
  }

  async #begin(): Promise<void> {
    const [first, ...others] = this.#clients;
    if (first === undefined) throw new Wrong('no machines');
    await first.mount();
    const tops = [...this.#clients.map(({ name }) => name), 'common'];
    for (const artifact of artifacts) {
      const { machine } = first;
      await machine.sh(tops.map((top) => `mkdir -p "$MNT/${artifact}/${top}/dir0"`).join('\n'));
      for (let i = 0; i < 8; i++)
        await writeFile(
          machine.path(artifact, 'common', `file${i}`),
          bytesOf({ tag: `${setupMessage}:${i}`, size: 3000 }),
        );
      await writeFile(machine.path(artifact, '.artifact/commit'), setupMessage);
    }
    await Promise.all(others.map((client) => client.mount()));
    await this.#faults?.on(this.#options.seed, this.#options.calm);
    this.#report.note(`${this.#clients.length} machines work in ${this.directory}`);
  }

  async #work(): Promise<void> {
    const { minutes, steps, calm = false } = this.#options;
    const endMs = performance.now() + (minutes ?? 0) * 60_000;
    let isOver = false;
    const over = (client: Client): boolean =>
      isOver || (steps === undefined ? performance.now() > endMs : client.steps >= steps);
    const guarded = async (work: Promise<void>): Promise<void> => {
      await work.catch((error: unknown) => {
        isOver = true;
        this.#report.fail(error);
      });
    };
    const outages = calm ? Promise.resolve() : this.#outages(() => isOver);
    const teller = setInterval(() => {
      const doing = this.#clients
        .filter((client) => !over(client))
        .map(({ name, doing }) => `${name}: ${doing}`);
      this.#report.note(doing.join('; '));
    }, tellEveryMs);
    await Promise.all(this.#clients.map((client) => guarded(client.run(() => over(client)))));
    clearInterval(teller);
    isOver = true;
    await guarded(outages);
    if (this.#report.failures.length > 0) throw new Wrong('the work was broken off');
  }

  async #outages(over: () => boolean): Promise<void> {
    const random = new Random(`${this.#options.seed} outages`);
    while (this.#faults !== null && !over()) {
      const endMs = performance.now() + random.between(...betweenOutagesMs);
      while (performance.now() < endMs && !over()) await sleep(50);
      if (over()) return;
      const kind = random.pick(['reset', 'status', 'stall'] as const) ?? 'reset';
      await this.#faults.outage(random.between(...outageMs), kind);
      this.#outageCount++;
    }
  }
  #outageCount = 0;

  /** The store is well; nobody has anything staged, and everybody has looked. */
  async #settle(): Promise<void> {
    await this.#faults?.off();
    this.#report.note('the end: everything is committed');
    await Promise.all(this.#clients.map((client) => client.finish()));
    await Promise.all(this.#clients.map((client) => client.refresh()));
  }

  async #prove(): Promise<void> {
    const reader = new Reader(this.#bucket);
    const root = await reader.history(rootCollection);
    const idOf = (artifact: Artifact): string =>
      [...root.names].find(([name]) => name.startsWith(artifact))?.[1] ?? `${artifact} is not there`;
    const histories = {
      main: await reader.history(idOf('main')),
      second: await reader.history(idOf('second')),
    };
    const journals = this.#clients.map(({ journal }) => journal);
    const proof = new Proof({ reader, root, histories, journals });
    await proof.run();
    this.#report.failures.push(...proof.failures);
    this.#lines.push(
      [
        'records',
        `${histories.main.records.length} and ${histories.second.records.length}, ${root.records.length} of the root`,
      ],
      [
        'versions proved',
        `${proof.versionsProved} of ${histories.main.commits.length + histories.second.commits.length}, ${proof.pathsProved} paths`,
      ],
    );
    this.#report.note('the log is what clients were told');
    await this.#checkKeys([root, histories.main, histories.second]);
    await this.#converged(reader, histories);
    await this.#checkStore();
    if (this.#report.failures.length > 0) throw new Wrong('the proof failed');
  }

  /** No record lies behind the end of a log. */
  async #checkKeys(histories: readonly History[]): Promise<void> {
    const keys = [...(await this.#bucket.list()).keys()];
    for (const { artifactId, records } of histories) {
      const listed = keys.filter((key) => key.startsWith(`a/${artifactId}/log/`)).length;
      if (listed !== records.length)
        this.#report.fail(`${artifactId} has ${listed} keys of records, and a chain of ${records.length}`);
    }
  }

  /** Every mount shows the newest version, as it lies in the bucket. */
  async #converged(reader: Reader, histories: Readonly<Record<Artifact, History>>): Promise<void> {
    for (const artifact of artifacts) {
      const { commits } = histories[artifact];
      const newest = commits.at(-1);
      if (newest === undefined) throw new Wrong(`${artifact} has no version`);
      const expected = (await linesOf(reader, histories[artifact], newest)).sort();
      const facts = await this.#clients[0]?.facts(artifact);
      for (const client of this.#clients) {
        const wrong = differences(expected, await this.#shownBy(client, artifact));
        if (wrong.length > 0) {
          this.#report.fail(`${client.name} shows another ${artifact}:\n  ${wrong.join('\n  ')}`);
          await this.#explain(client, artifact, expected);
        }
        if ((await client.facts(artifact)) !== facts)
          this.#report.fail(`${client.name} shows another log of ${artifact}`);
      }
    }
    this.#report.note('all mounts are equal');
  }

  /** With what the daemon itself lists, when a listing of the kernel and its names do not go together. */
  async #shownBy(client: Client, artifact: Artifact): Promise<string[]> {
    const root = await client.root(artifact);
    try {
      return fingerprint(root).sort();
    } catch (error) {
      const { stdout } = await client.machine.artifactfs('ls', '-R', root);
      return [
        `${error instanceof Error ? error.message : error}; the daemon lists ${stdout.split('\n').join(' ')}`,
      ];
    }
  }

  /** Who is wrong, the daemon or the kernel, and for how long. */
  async #explain(client: Client, artifact: Artifact, expected: readonly string[]): Promise<void> {
    const root = await client.root(artifact);
    const common = `stat -c '%i %y' '${root}/common'; stat --cached=never -c '%i %y' '${root}/common'`;
    this.#report.note(`${client.name}: the kernel, then the daemon: ${await client.machine.sh(common)}`);
    const again = differences(expected, await this.#shownBy(client, artifact));
    this.#report.note(`then: ${again.join('; ') || 'equal'}`);
    await client.refresh();
    const last = differences(expected, await this.#shownBy(client, artifact));
    this.#report.note(`after one more refresh: ${last.join('; ') || 'equal'}`);
  }

  async #checkStore(): Promise<void> {
    for (const { name, machine } of this.#clients)
      this.#expectWhole(
        `${name}: fsck`,
        await machine.artifactfs('fsck', '--store', this.#world.store, '--json'),
      );
    const fresh = this.#world.machine('fresh');
    for (const verb of ['fsck', 'verify'])
      this.#expectWhole(verb, await fresh.artifactfs(verb, '--store', this.#world.store, '--json'));
    const unfinished = await this.#bucket.unfinished();
    this.#report.note(`fsck and verify are done; ${unfinished} uploads are unfinished`);
  }

  /** Most versions expire; then exactly what the rest needs is left. */
  async #collect(): Promise<void> {
    const [client] = this.#clients;
    if (client === undefined) return;
    const { machine } = client;
    const reader = new Reader(this.#bucket);
    const main = await this.#historyOf(reader, 'main');
    const old = main.commits.slice(0, -3).map(({ version }) => `v${version}`);
    if (old.length > 0)
      this.#expectDone('expire', await machine.artifactfs('expire', machine.path('main'), ...old, '--yes'));
    const before = await this.#bucket.list();
    const outcome = await machine.artifactfs(
      'gc',
      '--store',
      this.#world.store,
      '--grace',
      '0',
      '--dead-after',
      '0',
      '--json',
    );
    this.#expectDone('gc', outcome);
    const after = await this.#bucket.list();
    const freed = (
      JSON.parse(outcome.stdout) as { artifacts: { freed: { bytes: number } }[] }
    ).artifacts.reduce((sum, artifact) => sum + artifact.freed.bytes, 0);
    const needed = await this.#needed();
    for (const key of needed)
      if (!after.has(key)) this.#report.fail(`gc has deleted ${key}, which is needed`);
    for (const key of after.keys())
      if (!needed.has(key) && !key.startsWith('.probe/'))
        this.#report.fail(`gc has left ${key}, which nobody needs`);
    const gone = [...before].filter(([key]) => !after.has(key) && /^a\/[^/]+\/[td]\//.test(key));
    const goneBytes = gone.reduce((sum, [, size]) => sum + size, 0);
    if (goneBytes !== freed) this.#report.fail(`gc says that it freed ${freed} bytes; ${goneBytes} are gone`);
    this.#lines.push([
      'gc at the end',
      `${gone.length} objects, ${freed} bytes; ${needed.size} keys are left`,
    ]);
    await this.#stillWhole();
  }

  /** Keys that must be there, by doc/FORMAT.md "Deleting". */
  async #needed(): Promise<Set<string>> {
    const reader = new Reader(this.#bucket);
    const needed = new Set(['format.json']);
    const histories = [
      await reader.history(rootCollection),
      await this.#historyOf(reader, 'main'),
      await this.#historyOf(reader, 'second'),
    ];
    for (const history of histories) {
      const { artifactId, records, commits, expired } = history;
      for (const { seq } of records) needed.add(`a/${artifactId}/log/${String(seq).padStart(20, '0')}.json`);
      for (const commit of commits) {
        if (expired.has(commit.version)) continue;
        for (const key of await reader.objectsOf(artifactId, commit.tree)) needed.add(key);
      }
    }
    return needed;
  }

  async #historyOf(reader: Reader, artifact: Artifact): Promise<History> {
    const { names } = await reader.history(rootCollection);
    const [, id = ''] = [...names].find(([name]) => name.startsWith(artifact)) ?? [];
    return reader.history(id);
  }

  /** A machine that knows nothing reads all that is left. */
  async #stillWhole(): Promise<void> {
    const fresh = this.#world.machine('fresh');
    for (const verb of ['fsck', 'verify'])
      this.#expectWhole(
        `${verb} after gc`,
        await fresh.artifactfs(verb, '--store', this.#world.store, '--json'),
      );
    await fresh.mount();
    for (const name of readdirSync(fresh.mnt)) {
      const [mine, its] = [
        fingerprint(fresh.path(name)),
        fingerprint(this.#clients[0]?.machine.path(name) ?? ''),
      ];
      const wrong = differences(mine, its);
      if (wrong.length > 0) this.#report.fail(`a fresh machine shows another ${name}: ${wrong.join('\n')}`);
    }
    this.#expectDone('unmount', await fresh.unmount());
  }

  #expectDone(what: string, { code, stderr }: Outcome): void {
    if (code !== 0) this.#report.fail(`${what}: exit code ${code}: ${stderr}`);
  }

  #expectWhole(what: string, outcome: Outcome): void {
    this.#expectDone(what, outcome);
    const { findings = [] } = JSON.parse(outcome.stdout || '{}') as { findings?: { severity: string }[] };
    const bad = findings.filter(({ severity }) => severity !== 'info');
    if (bad.length > 0) this.#report.fail(`${what}: ${JSON.stringify(bad)}`);
  }

  #table(): [string, string][] {
    const counts: Record<string, number> = {};
    for (const { journal } of this.#clients)
      for (const [what, n] of Object.entries(journal.counts)) counts[what] = (counts[what] ?? 0) + n;
    const { store, machines, seed } = this.#options;
    return [
      ['store, machines, seed', `${store}, ${machines}, ${seed}`],
      ['seconds', String(this.#report.seconds)],
      ['outages of the store', String(this.#outageCount)],
      ...Object.entries(counts)
        .sort()
        .map(([what, n]): [string, string] => [what, String(n)]),
    ];
  }

  async [Symbol.asyncDispose](): Promise<void> {
    // What failed is evidence: states, journals and the store stay, mounts and processes go.
    for (const { machine } of this.#clients) await machine.stop();
    await this.#server?.close();
    if (this.#report.failures.length === 0) await this.#world[Symbol.asyncDispose]();
  }
}
