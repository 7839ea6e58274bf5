import { pino } from 'pino';
import { redact, redactText } from './redact.js';
import { formatText } from './text-format.js';

export type LogLevel = 'trace' | 'debug' | 'info' | 'warn' | 'error' | 'silent';
export type LogFields = Readonly<Record<string, unknown>>;

/** Secrets in fields and messages are replaced. Put an error under `err`: its code, details and causes are logged. */
export interface Logger {
  trace(fields: LogFields, message: string): void;
  debug(fields: LogFields, message: string): void;
  info(fields: LogFields, message: string): void;
  warn(fields: LogFields, message: string): void;
  error(fields: LogFields, message: string): void;
  /** Whether a line of this level would be written, for fields that are costly to make. */
  enabled(level: Exclude<LogLevel, 'silent'>): boolean;
  /** The same log under another name, shown as `logger`. */
  named(name: string): Logger;
}

/** The daemon's log: owned by who creates it. */
export interface RootLogger extends Logger, Disposable {
  /** Takes effect at once for all loggers that were made by `named`. */
  setLevel(level: LogLevel): void;
  readonly level: LogLevel;
  /** Opens the file again by its name, after it was rotated away. */
  reopen(): void;
}

export interface LoggerOptions {
  readonly level: LogLevel;
  /** One JSON object a line, or lines for people. */
  readonly format: 'json' | 'text';
  /** A file (created with mode 0600, appended to), a descriptor (2: standard error), or where lines are handed to. */
  readonly destination: string | number | LineSink;
}

interface LineSink {
  write(line: string): void;
}

/**
 * Lines are written before the call returns, so that the last one before a crash is there. A log that cannot be
 * written (disk full) loses lines and nothing else.
 */
export function createLogger(options: LoggerOptions): RootLogger {
  const output = openOutput(options.destination);
  const sink = options.format === 'json' ? output : textSink(output);
  const logger = pino(
    {
      level: options.level,
      timestamp: pino.stdTimeFunctions.isoTime,
      base: { pid: process.pid },
      formatters: { level: (label) => ({ level: label }) },
      // What `redact` returns is final: pino would run its own on a field named err.
      serializers: { err: (value: unknown) => value },
    },
    sink,
  );
  return new PinoRoot(logger, output);
}

interface Output extends LineSink {
  reopen(): void;
  end(): void;
}

function openOutput(destination: LoggerOptions['destination']): Output {
  if (typeof destination === 'object') {
    return { write: (line) => destination.write(line), reopen: () => {}, end: () => {} };
  }
  const stream = pino.destination({ dest: destination, sync: true, append: true, mode: 0o600 });
  // Without a listener a full disk would end the daemon, for the sake of its log.
  stream.on('error', () => {});
  return {
    write: (line) => void stream.write(line),
    reopen: () => {
      if (typeof destination === 'string') stream.reopen();
    },
    end: () => {
      if (typeof destination === 'string') stream.end();
      else stream.flushSync();
    },
  };
}

const textSink = (output: LineSink): LineSink => ({ write: (line) => output.write(formatText(line)) });

class NamedLogger implements Logger {
  protected readonly pino: pino.Logger;
  readonly #name: string | undefined;

  constructor(logger: pino.Logger, name?: string) {
    this.pino = logger;
    this.#name = name;
  }

  trace(fields: LogFields, message: string): void {
    this.#write('trace', fields, message);
  }

  debug(fields: LogFields, message: string): void {
    this.#write('debug', fields, message);
  }

  info(fields: LogFields, message: string): void {
    this.#write('info', fields, message);
  }

  warn(fields: LogFields, message: string): void {
    this.#write('warn', fields, message);
  }

  error(fields: LogFields, message: string): void {
    this.#write('error', fields, message);
  }

  enabled(level: Exclude<LogLevel, 'silent'>): boolean {
    return this.pino.isLevelEnabled(level);
  }

  named(name: string): Logger {
    return new NamedLogger(this.pino, name);
  }

  #write(level: Exclude<LogLevel, 'silent'>, fields: LogFields, message: string): void {
    if (!this.pino.isLevelEnabled(level)) return;
    const line: Record<string, unknown> = this.#name === undefined ? {} : { logger: this.#name };
    for (const [name, value] of Object.entries(redact(fields) as LogFields)) {
      line[reserved.has(name) ? `${name}_` : name] = value;
    }
    this.pino[level](line, '%s', redactText(message));
  }
}

/** Keys of every line; a field of the same name would be there twice. */
const reserved: ReadonlySet<string> = new Set(['level', 'time', 'pid', 'logger', 'msg']);

class PinoRoot extends NamedLogger implements RootLogger {
  readonly #output: Output;

  constructor(logger: pino.Logger, output: Output) {
    super(logger);
    this.#output = output;
  }

  get level(): LogLevel {
    return this.pino.level as LogLevel;
  }

  setLevel(level: LogLevel): void {
    this.pino.level = level;
  }

  reopen(): void {
    this.#output.reopen();
  }

  [Symbol.dispose](): void {
    this.#output.end();
  }
}
