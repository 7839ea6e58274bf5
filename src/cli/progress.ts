import { formatBytes } from '../config/sizes.js';
import type { CommitProgress } from '../http/schemas.js';
import type { Terminal } from './terminal.js';

/** What takes less is over before anybody wonders. */
const silentMs = 1_000;

/** A bar on standard error for what takes over a second, when somebody is looking. `end` takes it away again. */
export class Progress {
  readonly #terminal: Terminal;
  readonly #label: string;
  readonly #startedMs = performance.now();
  #bar: import('cli-progress').SingleBar | undefined;
  #loading = false;
  #ended = false;
  #last: { done: number; total: number | null; note: string } | undefined;

  constructor(terminal: Terminal, label: string) {
    this.#terminal = terminal;
    this.#label = label;
  }

  commit(progress: CommitProgress): void {
    const files =
      progress.filesTotal > 0 ? `${progress.filesDone}/${progress.filesTotal} files` : progress.phase;
    this.update(progress.bytesDone, progress.bytesTotal, files);
  }

  /** `total` null: not known. */
  update(done: number, total: number | null, note = ''): void {
    this.#last = { done, total, note };
    if (!this.#terminal.showsProgress || this.#ended) return;
    if (performance.now() - this.#startedMs < silentMs) return;
    if (this.#bar === undefined) void this.#load();
    else this.#show();
  }

  end(): void {
    this.#ended = true;
    this.#bar?.stop();
    this.#bar = undefined;
  }

  async #load(): Promise<void> {
    if (this.#loading) return;
    this.#loading = true;
    const { default: cliProgress } = await import('cli-progress');
    if (this.#ended) return;
    const label = this.#label;
    this.#bar = new cliProgress.SingleBar({
      stream: process.stderr,
      clearOnComplete: true,
      hideCursor: true,
      gracefulExit: false,
      format: (options, params) => {
        const { note, known } = lastShown(this.#last);
        const amount = known
          ? `${formatBytes(params.value)} of ${formatBytes(params.total)}`
          : formatBytes(params.value);
        const said = [...(known || params.value > 0 ? [amount] : []), ...(note === '' ? [] : [note])];
        const text = `${label} ${said.join(', ')}`;
        const columns = process.stderr.columns ?? 80;
        const room = Math.min(options.barsize ?? 30, columns - text.length - 4);
        if (!known || room < 5) return text.slice(0, columns - 1);
        const full = Math.round(room * Math.min(1, params.progress));
        return `${label} [${'='.repeat(full)}${' '.repeat(room - full)}] ${text.slice(label.length + 1)}`;
      },
    });
    this.#bar.start(1, 0);
    this.#show();
  }

  #show(): void {
    if (this.#bar === undefined || this.#last === undefined) return;
    const { done, total } = this.#last;
    this.#bar.setTotal(Math.max(1, total ?? done));
    this.#bar.update(done);
  }
}

const lastShown = (last: { total: number | null; note: string } | undefined) => ({
  note: last?.note ?? '',
  known: last?.total !== null && last?.total !== undefined && last.total > 0,
});
