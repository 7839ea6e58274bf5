import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { chain, type MaybePromise } from '../../util/maybe-promise.js';
import type { RequestContext } from '../file-system.js';
import type { FileHandle } from '../node.js';
import { wantsChange } from '../open-flags.js';
import { type ControlHome, ControlNode, type ControlNumber } from './control.js';

/**
 * Text made when the file is opened; one open file sees one text. The size shown is 0, as in /proc, because the text
 * is not known before; programs read to the end all the same (direct_io).
 */
export class TextFile extends ControlNode {
  readonly kind = 'file';
  readonly #text: () => MaybePromise<string>;

  constructor(home: ControlHome, number: ControlNumber, text: () => MaybePromise<string>) {
    super(home, number, 0o444);
    this.#text = text;
  }

  override open(_context: RequestContext, flags: number): MaybePromise<FileHandle> {
    if (wantsChange(flags)) throw this.refusal(`writing to ${this.place?.name ?? 'it'}`);
    return chain(this.#text(), (text) => new TextHandle(Buffer.from(text)));
  }
}

/** Reads of a text that stays as it was at open. */
export class TextHandle implements FileHandle {
  readonly reply = { directIo: true, noFlush: true };
  readonly #bytes: Buffer;

  constructor(bytes: Buffer) {
    this.#bytes = bytes;
  }
  read(_context: RequestContext, offset: number, length: number): Buffer {
    return this.#bytes.subarray(offset, offset + length);
  }
  write(): never {
    throw new ArtifactError('BadHandle', 'opened for reading');
  }
  sync(): void {}
  release(): void {}
}

/** Does what was written. Throws for the writer; what it throws is also kept as `last-error`. */
export type Action = (text: string, context: RequestContext) => Promise<void>;

/** A file whose first write acts: the write answers when the act is done, or fails as it failed. */
export class ActionFile extends ControlNode {
  readonly kind = 'file';
  readonly #act: Action;

  constructor(home: ControlHome, number: ControlNumber, act: Action) {
    super(home, number, 0o222);
    this.#act = act;
  }

  override open(): FileHandle {
    return new ActionHandle(this.#act);
  }
}

class ActionHandle implements FileHandle {
  readonly reply = { directIo: true, noFlush: true };
  readonly #act: Action;
  #done = false;

  constructor(act: Action) {
    this.#act = act;
  }

  read(): Buffer {
    return Buffer.alloc(0);
  }

  async write(context: RequestContext, _offset: number, data: Buffer): Promise<number> {
    const text = decode(data);
    if (!this.#done) {
      await this.#act(text, context);
      this.#done = true;
    } else if (text.trim() !== '') {
      // It is done and cannot take more words; a program that wrote them must not believe they were kept.
      throw new ArtifactError('Invalid', 'the first write was taken as the whole message', {
        hint: 'write the message at once',
      });
    }
    return data.length;
  }
  sync(): void {}
  release(): void {}
}

function decode(data: Buffer): string {
  try {
    return new TextDecoder('utf-8', { fatal: true }).decode(data);
  } catch (error) {
    throw new ArtifactError('Invalid', 'the text is not UTF-8', {}, error);
  }
}

/** A commit message as written by `echo`: without the newline at its end. */
export function messageOf(text: string): string {
  const message = text.replace(/\n+$/, '');
  if (Buffer.byteLength(message) > limits.messageBytesMax) {
    throw new ArtifactError('TooLarge', `the message is over ${limits.messageBytesMax} bytes`);
  }
  return message;
}
