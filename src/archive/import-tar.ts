import type { Kind, Time } from '../model/entry.js';
import { ArtifactError } from '../model/errors.js';
import type { ArtifactWriter, NewFile } from './artifact-writer.js';
import { type ImportedArtifact, type ImportOptions, writeArtifact } from './import-files.js';
import { isKept } from './local-files.js';
import { NotKept } from './not-kept.js';
import type { TarEntry } from './read-tar.js';

const kinds: Readonly<Record<string, Kind>> = {
  file: 'file',
  'contiguous-file': 'file',
  symlink: 'symlink',
  directory: 'dir',
  'character-device': 'char',
  'block-device': 'block',
  fifo: 'fifo',
};
const attributePrefix = 'SCHILY.xattr.';

/** Makes the files of a tar that any program wrote the first version of a new artifact. */
export async function importTar(
  entries: AsyncIterable<TarEntry>,
  options: ImportOptions,
): Promise<ImportedArtifact> {
  const notKept = new NotKept();
  return writeArtifact(options, notKept, async (writer) => {
    let bytes = 0;
    for await (const entry of entries) {
      options.signal?.throwIfAborted();
      await add(writer, entry, notKept);
      bytes += entry.header.size;
      options.onProgress?.(bytes);
    }
  });
}

async function add(
  writer: ArtifactWriter,
  { header, pax, content }: TarEntry,
  notKept: NotKept,
): Promise<void> {
  const path = pathOf(header.name);
  const type = header.type as string | null;
  if (type === 'link') return writer.link(path, pathOf(header.linkname));
  const kind = type === null ? undefined : kinds[type];
  if (kind === undefined || Object.keys(pax).some((key) => key.startsWith('GNU.sparse.')))
    throw new ArtifactError(
      'Unsupported',
      `${path} is stored in the tar in a way that is not read (as sparse?)`,
      {
        hint: 'unpack it, and import the directory',
      },
    );
  const xattrs = xattrsOf(path, pax, notKept);
  const { mode, size, devmajor, devminor, linkname } = header;
  await writer.add({
    path,
    kind,
    mode,
    uid: numberOf(pax['uid'], header.uid),
    gid: numberOf(pax['gid'], header.gid),
    mtime: timeOf(pax['mtime'], header.mtime),
    ...(kind === 'symlink' ? { target: linkname } : {}),
    ...(kind === 'char' || kind === 'block' ? { rdev: deviceNumber(devmajor, devminor) } : {}),
    ...(kind === 'file' ? { size, content } : {}),
    ...(xattrs === undefined ? {} : { xattrs }),
  } satisfies NewFile);
}

/** Tar writes './a', 'a/', '/a' and 'a' for the same. */
const pathOf = (name: string): string =>
  name
    .split('/')
    .filter((part) => part !== '' && part !== '.')
    .join('/');

function xattrsOf(
  path: string,
  pax: Readonly<Record<string, string>>,
  notKept: NotKept,
): Record<string, string> | undefined {
  const found: Record<string, string> = {};
  for (const [key, value] of Object.entries(pax)) {
    if (key.startsWith('SCHILY.acl.')) notKept.note('ACL (in a tar it is text)', path);
    if (!key.startsWith(attributePrefix)) continue;
    const name = key.slice(attributePrefix.length);
    // The reader of tars takes values for text: what was none is not what it was.
    if (isKept(name) && !value.includes('\ufffd')) found[name] = Buffer.from(value).toString('base64');
    else notKept.note(`attribute ${name}`, path);
  }
  return Object.keys(found).length === 0 ? undefined : found;
}

const numberOf = (text: string | undefined, otherwise: number): number =>
  text !== undefined && /^\d{1,10}$/.test(text) ? Number(text) : otherwise;

function timeOf(text: string | undefined, otherwise: Date): Time {
  const match = /^(-?)(\d+)(?:\.(\d{1,9})\d*)?$/.exec(text ?? '');
  if (match === null) return { s: Math.floor(otherwise.getTime() / 1000), ns: 0 };
  const [, sign, seconds = '0', fraction = ''] = match;
  const s = Number(seconds);
  const ns = Number(fraction.padEnd(9, '0'));
  if (sign === '') return { s, ns };
  return ns === 0 ? { s: -s, ns: 0 } : { s: -s - 1, ns: 1_000_000_000 - ns };
}

/** As Linux has it in st_rdev. */
const deviceNumber = (major: number, minor: number): number =>
  (minor & 0xff) + (major & 0xfff) * 2 ** 8 + (minor >>> 8) * 2 ** 20 + (major >>> 12) * 2 ** 44;
