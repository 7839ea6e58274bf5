// scripts/bench/many-files.mjs STORE ARTIFACT COUNT [PER_DIRECTORY]
// Commits a new artifact of COUNT small files without a mount: the tree is written as every commit writes it, and all
// files take their bytes from one pack. A million take about a minute. Prints one line of JSON.
//
// File i (from 0) is `files/d<i / PER_DIRECTORY, 5 digits>/f<i, 7 digits>`, or with PER_DIRECTORY 0 `files/f<i, 7
// digits>`; default 1,000. It holds `contentOf(i)`: 64 bytes of text, the same for every 256th file.
import { createHash } from 'node:crypto';
import { pathToFileURL } from 'node:url';
import { encodePackFooter } from '../../dist/content/upload/pack.js';
import {
  drawInoPrefix,
  inosPerPrefix,
  newArtifactId,
  newCommitId,
  newStageId,
} from '../../dist/model/ids.js';
import { openStore } from '../../dist/store/open-store.js';
import { objectKey, packObject } from '../../dist/workspace/keys.js';
import { Workspace } from '../../dist/workspace/workspace.js';

const contents = 256;
const contentBytes = 64;

/** The bytes of file `i`. */
const contentOf = (i) => Buffer.from(`content ${i % contents} `.padEnd(contentBytes - 1, '.').concat('\n'));

/** Path of file `i` inside the artifact. */
function pathOf(i, perDirectory = 1000) {
  const name = `f${String(i).padStart(7, '0')}`;
  return perDirectory === 0 ? `files/${name}` : `${directoryOf(Math.floor(i / perDirectory))}/${name}`;
}

const directoryOf = (d) => `files/d${String(d).padStart(5, '0')}`;

/**
 * Returns the artifact's id. Throws when the name is taken.
 *
 * @param {string} url of the store; one on this disk is made when it is missing
 * @param {import('../../dist/store/open-store.js').OpenStoreOptions} [options] of the store
 */
export async function makeManyFiles(url, artifact, count, perDirectory = 1000, options = {}) {
  const store = await openStore(url, { create: true, ...options });
  try {
    return await commitNew(await Workspace.open(store), artifact, count, perDirectory);
  } finally {
    await store[Symbol.asyncDispose]();
  }
}

async function commitNew(workspace, artifact, count, perDirectory) {
  const ids = { artifactId: newArtifactId(), stageId: newStageId(), commitId: newCommitId() };
  const pack = packObject(ids.stageId, 0);
  await workspace.store.put(objectKey(ids.artifactId, pack), packBytes());
  const journal = new Journal();
  const about = { message: `${count} files`, inputs: [], onConflict: 'fail' };
  await workspace.publish({ ...ids, base: null, ...treeOf(pack, count, perDirectory), ...about }, journal);
  await link(workspace, journal, artifact, ids.artifactId);
  return ids.artifactId;
}

function packBytes() {
  const files = Array.from({ length: contents }, (_, i) => contentOf(i));
  const entries = files.map((file, i) => ({
    sha256: sha256(file),
    offset: i * contentBytes,
    length: contentBytes,
  }));
  return Buffer.concat([...files, encodePackFooter(entries, contents * contentBytes)]);
}

/** In the order of trees: directories of `files`, then what is in each. */
function treeOf(pack, count, perDirectory) {
  const now = { s: Math.floor(Date.now() / 1000), ns: 0 };
  const owner = { uid: process.getuid?.() ?? 0, gid: process.getgid?.() ?? 0 };
  const times = { mtime: now, ctime: now };
  const extents = Array.from({ length: contents }, (_, i) => [
    { object: pack, offset: i * contentBytes, length: contentBytes },
  ]);
  const hashes = Array.from({ length: contents }, (_, i) => sha256(contentOf(i)));
  const directories = perDirectory === 0 ? 0 : Math.ceil(count / perDirectory);
  const inoPrefixes = [];
  for (let from = 0; from <= count + directories; from += inosPerPrefix)
    inoPrefixes.push(drawInoPrefix(inoPrefixes));
  let inos = 0;
  const nextIno = () =>
    inoPrefixes[Math.floor(inos / inosPerPrefix)] * inosPerPrefix + (inos++ % inosPerPrefix);
  const directory = (dir, name, children, ino = nextIno()) => ({
    ...{ dir, name, kind: 'dir', ino, mode: 0o755, ...owner, nlink: 2 + children, size: 0, ...times },
  });
  const changes = [];
  const add = (after) => changes.push({ dir: after.dir, name: after.name, before: null, after });
  add(directory('', 'files', directories));
  for (let d = 0; d < directories; d++) add(directory('files', directoryOf(d).slice('files/'.length), 0));
  for (let i = 0; i < count; i++) {
    const path = pathOf(i, perDirectory);
    const slash = path.lastIndexOf('/');
    const place = { dir: path.slice(0, slash), name: path.slice(slash + 1) };
    const content = { size: contentBytes, extents: extents[i % contents], sha256: hashes[i % contents] };
    add({ ...place, kind: 'file', ino: nextIno(), mode: 0o644, ...owner, nlink: 1, ...times, ...content });
  }
  return { changes, root: directory('', '', 1, 1), inoPrefixes };
}

async function link(workspace, journal, name, artifactId) {
  const request = { artifactId: workspace.rootCollectionId, commitId: newCommitId(), stageId: newStageId() };
  const records = await workspace.readLog(workspace.rootCollectionId, 0, '');
  const since = { sinceSeq: records.at(-1)?.record.seq ?? 0, sincePrev: records.at(-1)?.hash ?? '' };
  const isTaken = records.reduce((taken, { record }) => {
    if (record.type === 'link' && record.name === name) return true;
    if (record.type === 'rename' && (record.from === name || record.to === name)) return record.to === name;
    return record.type === 'unlink' && record.name === name ? false : taken;
  }, false);
  if (isTaken) throw new Error(`${name} exists`);
  await workspace.append({ ...request, ...since }, () => ({ type: 'link', name, artifactId }), journal);
}

const sha256 = (bytes) => createHash('sha256').update(bytes).digest('hex');

/** What a crash leaves is thrown away with the store. */
class Journal {
  #intents = new Map();
  save(intent) {
    this.#intents.set(intent.commitId, intent);
  }
  pending(artifactId) {
    return [...this.#intents.values()].filter(
      (intent) => artifactId === undefined || intent.artifactId === artifactId,
    );
  }
  remove(commitId) {
    this.#intents.delete(commitId);
  }
}

if (import.meta.url === pathToFileURL(process.argv[1] ?? '').href) {
  const [url, artifact, count, perDirectory] = process.argv.slice(2);
  if (url === undefined || artifact === undefined || !(Number(count) > 0)) {
    console.error('usage: node scripts/bench/many-files.mjs STORE ARTIFACT COUNT [PER_DIRECTORY]');
    process.exit(2);
  }
  const start = performance.now();
  const artifactId = await makeManyFiles(url, artifact, Number(count), Number(perDirectory ?? 1000));
  const seconds = Math.round(performance.now() - start) / 1000;
  console.log(JSON.stringify({ url, artifact, artifactId, files: Number(count), seconds }));
}
