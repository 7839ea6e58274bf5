import type { KernelLocalFiles, KernelNotifier, NodeId, PrunableNode } from '../vfs/file-system.js';
import type { Passthrough } from './passthrough.js';
import {
  invalidateEntryMessage,
  invalidateEveryEntryMessage,
  invalidateInodeMessage,
  pruneMessage,
} from './protocol/notify.js';

const nodesPrunedAtOnce = 512;

/** Sends complete messages to the kernel, off the event loop; answers 0 or -errno. They must not change meanwhile. */
export type SendNotifications = (messages: Buffer) => Promise<number>;

/**
 * Collects notifications and sends them in order, one batch at a time. The kernel may make the sender wait for the
 * lock of a directory whose holder waits for an answer of ours: so they never leave from the event loop, and they
 * never hold more than one thread of libuv's pool.
 */
export class Notifier implements KernelNotifier {
  readonly #send: SendNotifications;
  readonly #onFailure: (errno: number) => void;
  invalidateEveryEntry: (() => void) | undefined;
  keepsWrites = false;
  writeBack: ((nodes: readonly NodeId[]) => Promise<void>) | undefined;
  #passthrough: Passthrough | undefined;
  #expireOnly = false;
  #canPrune = false;
  #waiting: Buffer[] = [];
  #sending: Promise<void> | undefined;

  constructor(send: SendNotifications, onFailure: (errno: number) => void) {
    this.#send = send;
    this.#onFailure = onFailure;
  }

  /** The kernel can expire names instead of cutting them off. */
  useExpireOnly(): void {
    this.#expireOnly = true;
  }

  /** The kernel reads local files by itself. */
  usePassthrough(passthrough: Passthrough): void {
    this.#passthrough = passthrough;
  }

  get localFiles(): KernelLocalFiles | undefined {
    return this.#passthrough?.isRefused === false ? this.#passthrough : undefined;
  }

  /** The kernel counts epochs: names of an older one are asked for again. */
  useEpoch(): void {
    this.invalidateEveryEntry = () => this.#add(invalidateEveryEntryMessage());
  }

  invalidateEntry(parent: NodeId, name: string): void {
    this.#add(invalidateEntryMessage(parent, name, this.#expireOnly));
  }

  /** The kernel forgets nodes by itself, where nothing uses them. */
  usePrune(): void {
    this.#canPrune = true;
  }

  prune(nodes: readonly PrunableNode[]): void {
    if (this.#canPrune) {
      for (let from = 0; from < nodes.length; from += nodesPrunedAtOnce)
        this.#add(pruneMessage(nodes.slice(from, from + nodesPrunedAtOnce).map(({ id }) => id)));
      return;
    }
    // Cut off, a name takes with it what nobody uses; a directory might be somebody's current one.
    for (const { parent, name, isDirectory } of nodes)
      if (!isDirectory) this.#add(invalidateEntryMessage(parent, name, false));
  }

  invalidateInode(node: NodeId, offset: number, length: number): void {
    this.#add(invalidateInodeMessage(node, offset, length));
  }

  /** Resolves when everything said so far has reached the kernel. */
  async drain(): Promise<void> {
    await this.#sending;
  }

  #add(message: Buffer): void {
    this.#waiting.push(message);
    this.#sending ??= this.#sendAll();
  }

  async #sendAll(): Promise<void> {
    await Promise.resolve(); // what is said in one turn goes in one batch
    while (this.#waiting.length > 0) {
      const messages = Buffer.concat(this.#waiting);
      this.#waiting = [];
      const sent = await this.#send(messages);
      if (sent !== 0) this.#onFailure(-sent);
    }
    this.#sending = undefined;
  }
}
