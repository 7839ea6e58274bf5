import { createHash } from 'node:crypto';
import { mkdtemp, readFile, rm } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import { gunzipSync } from 'node:zlib';
import { afterEach, beforeEach, describe, expect, it } from 'vitest';
import { newCommitId, newStageId, rootCollectionId } from '../../src/model/ids.js';
import { FileStore } from '../../src/store/file/file-store.js';
import { dataObject, objectKey } from '../../src/workspace/keys.js';
import { Workspace } from '../../src/workspace/workspace.js';
import { added, artifactId, dirAt, entryAt, MemoryJournal, publishRequest, rootEntry } from './helpers.js';

type Json = Readonly<Record<string, unknown>>;

/** Written from doc/FORMAT.md alone ("Reading a file, in short"): it uses nothing of src/. */
class IndependentReader {
  readonly #directory: string;

  constructor(directory: string) {
    this.#directory = directory;
  }

  async read(artifact: string, file: string): Promise<Buffer> {
    const format = parse(await this.#get('format.json'));
    if (format['formatVersion'] !== 1 || String(format['readerFeatures']) !== '') throw new Error('newer');
    const names = await this.#log('00000000-0000-7000-8000-000000000000');
    const link = names.find((record) => record['type'] === 'link' && record['name'] === artifact);
    const id = String(link?.['artifactId']);
    const commit = (await this.#log(id)).findLast((record) => record['type'] === 'commit');
    const tree = parse(plain(await this.#piece(id, commit?.['tree'] as Json)));
    for (const range of tree['ranges'] as Json[]) {
      const [header, ...lines] = plain(await this.#piece(id, range))
        .toString()
        .trimEnd()
        .split('\n');
      if (lines.length !== parse(header ?? '')['count']) throw new Error('damaged');
      const entry = lines.map(parse).find(({ dir, name }) => (dir === '' ? name : `${dir}/${name}`) === file);
      if (entry !== undefined) return this.#content(id, entry);
    }
    throw new Error(`${file} is not there`);
  }

  async #content(id: string, entry: Json): Promise<Buffer> {
    const parts: Buffer[] = [];
    for (const [object, offset, length] of (entry['extents'] ?? []) as [string | null, number, number][])
      parts.push(
        object === null
          ? Buffer.alloc(length)
          : (await this.#get(`a/${id}/${object}`)).subarray(offset, offset + length),
      );
    return Buffer.concat(parts);
  }

  async #log(id: string): Promise<Json[]> {
    const records: Json[] = [];
    for (let prev = ''; ; ) {
      const slot = `a/${id}/log/${String(records.length + 1).padStart(20, '0')}.json`;
      const bytes = await this.#get(slot).catch(() => null);
      if (bytes === null) return records;
      const record = parse(bytes);
      if (record['seq'] !== records.length + 1 || record['prev'] !== prev) throw new Error('a broken log');
      prev = sha256(bytes);
      records.push(record);
    }
  }

  async #piece(id: string, { object, offset, length, sha256: hash }: Json): Promise<Buffer> {
    const whole = await this.#get(`a/${id}/${object}`);
    const bytes = whole.subarray(Number(offset), Number(offset) + Number(length));
    if (sha256(bytes) !== hash) throw new Error('damaged');
    return bytes;
  }

  #get(key: string): Promise<Buffer> {
    return readFile(path.join(this.#directory, key));
  }
}

const parse = (text: Buffer | string): Json => JSON.parse(text.toString()) as Json;
const sha256 = (bytes: Buffer): string => createHash('sha256').update(bytes).digest('hex');
const plain = (bytes: Buffer): Buffer => (bytes[0] === 0x1f && bytes[1] === 0x8b ? gunzipSync(bytes) : bytes);

describe('a reader written from doc/FORMAT.md', () => {
  let directory = '';
  beforeEach(async () => {
    directory = await mkdtemp(path.join(tmpdir(), 'artifactfs-format-'));
  });
  afterEach(() => rm(directory, { recursive: true }));

  it('reads a file of many that this program wrote', async () => {
    await using store = await FileStore.open(directory, { create: true });
    const workspace = await Workspace.open(store);
    const journal = new MemoryJournal();
    const stageId = newStageId();
    const object = dataObject(stageId, 1, 'wörter.txt');
    await store.put(objectKey(artifactId, object), Buffer.from('0123456789'));
    const extents = [
      { object, offset: 2, length: 3 },
      { object: null, offset: 0, length: 2 },
      { object, offset: 9, length: 1 },
    ];
    const files = Array.from({ length: 25_000 }, (_, i) => entryAt(`d/f${i}`, 'file', 100 + i));
    const wanted = entryAt('d/wörter.txt', 'file', 50, { size: 6, extents });
    await workspace.publish(
      publishRequest([dirAt('d', 3), wanted, ...files].map(added), {
        stageId,
        root: rootEntry({ nlink: 3 }),
      }),
      journal,
    );
    await workspace.append(
      { artifactId: rootCollectionId, commitId: newCommitId(), stageId, sinceSeq: 0, sincePrev: '' },
      () => ({ type: 'link', name: 'my-model', artifactId }),
      journal,
    );
    const reader = new IndependentReader(directory);
    expect((await reader.read('my-model', 'd/wörter.txt')).toString()).toBe('234\0\x009');
    await expect(reader.read('my-model', 'd/other')).rejects.toThrow('not there');
  });
});

describe('the examples of doc/FORMAT.md', () => {
  it('are JSON', async () => {
    const text = await readFile(path.join(import.meta.dirname, '../../doc/FORMAT.md'), 'utf8');
    const blocks = [...text.matchAll(/```json\n([\s\S]*?)```/g)].map(([, block]) => block ?? '');
    expect(blocks.length).toBeGreaterThan(4);
    for (const block of blocks)
      for (const document of block.includes('artifactfs.range') ? block.trim().split('\n') : [block])
        parse(document);
  });
});
