import { constants } from 'node:os';
import { describe, expect, test } from 'vitest';
import { ArtifactError } from '../../src/model/errors.js';
import type { DirectoryEntry, NodeEntry } from '../../src/vfs/file-system.js';
import { replies, requests } from './protocol-bytes.js';
import { type Answers, attributes, entry, errnoReply, Recorder } from './recorder.js';

const { errno } = constants;
const attributesReply = { attributes, attrSeconds: Number.POSITIVE_INFINITY };
const openReply = {
  handle: 0x100000009,
  directIo: true,
  keepCache: true,
  nonSeekable: true,
  cacheDirectory: true,
  noFlush: true,
};

interface Case {
  readonly request: keyof typeof requests;
  readonly answers: Answers;
  readonly method: keyof Answers;
  readonly arguments: readonly unknown[];
  readonly reply: string;
}

/** Bytes in, one call, bytes out: each against structures of <linux/fuse.h>. */
const cases: Case[] = [
  {
    request: 'lookup',
    answers: { lookup: entry },
    method: 'lookup',
    arguments: [1, 'name'],
    reply: replies.entry,
  },
  {
    request: 'lookupUtf8',
    answers: { lookup: entry },
    method: 'lookup',
    arguments: [1, 'naïve'],
    reply: replies.entry,
  },
  {
    request: 'getattr',
    answers: { getAttributes: attributesReply },
    method: 'getAttributes',
    arguments: [7],
    reply: replies.attributes,
  },
  {
    request: 'setattr',
    answers: { setAttributes: attributesReply },
    method: 'setAttributes',
    arguments: [
      7,
      {
        mode: 0o4755,
        uid: 12,
        gid: 13,
        size: 0x123456789a,
        atime: { s: -5, ns: 1 },
        mtime: { s: 0x100000002, ns: 999_999_999 },
        ctime: { s: 1_700_000_000, ns: 3 },
        killPrivileges: true,
      },
    ],
    reply: replies.attributes,
  },
  {
    request: 'setattrNow',
    answers: { setAttributes: attributesReply },
    method: 'setAttributes',
    arguments: [7, { atime: 'now', mtime: 'now' }],
    reply: replies.attributes,
  },
  {
    request: 'setattrKill',
    answers: { setAttributes: attributesReply },
    method: 'setAttributes',
    arguments: [7, { size: 0, killPrivileges: true }],
    reply: replies.attributes,
  },
  {
    request: 'symlink',
    answers: { symlink: entry },
    method: 'symlink',
    arguments: [1, 'name', '../to'],
    reply: replies.entry,
  },
  {
    request: 'mknod',
    answers: { makeNode: entry },
    method: 'makeNode',
    arguments: [1, 'name', 0o640, 'char', 0x801],
    reply: replies.entry,
  },
  {
    request: 'mkdir',
    answers: { makeDirectory: entry },
    method: 'makeDirectory',
    arguments: [1, 'name', 0o1755],
    reply: replies.entry,
  },
  {
    request: 'link',
    answers: { link: entry },
    method: 'link',
    arguments: [7, 1, 'name'],
    reply: replies.entry,
  },
  { request: 'unlink', answers: {}, method: 'unlink', arguments: [1, 'name'], reply: replies.empty },
  { request: 'rmdir', answers: {}, method: 'removeDirectory', arguments: [1, 'name'], reply: replies.empty },
  {
    request: 'rename',
    answers: {},
    method: 'rename',
    arguments: [1, 'old', 7, 'new', { noReplace: false, exchange: false }],
    reply: replies.empty,
  },
  {
    request: 'rename2',
    answers: {},
    method: 'rename',
    arguments: [1, 'old', 7, 'new', { noReplace: true, exchange: false }],
    reply: replies.empty,
  },
  {
    request: 'rename2Exchange',
    answers: {},
    method: 'rename',
    arguments: [1, 'old', 7, 'new', { noReplace: false, exchange: true }],
    reply: replies.empty,
  },
  {
    request: 'open',
    answers: { open: openReply },
    method: 'open',
    arguments: [7, 2, false],
    reply: replies.open,
  },
  {
    request: 'opendir',
    answers: { openDirectory: openReply },
    method: 'openDirectory',
    arguments: [7, 0o200000],
    reply: replies.open,
  },
  {
    request: 'create',
    answers: { create: { ...entry, open: { handle: 9 } } },
    method: 'create',
    arguments: [1, 'name', 0o640, 0o102, false],
    reply: replies.created,
  },
  {
    request: 'write',
    answers: { write: 5 },
    method: 'write',
    arguments: [0x100000009, 0x123456789a, Buffer.from('bytes'), { killPrivileges: false, fromCache: false }],
    reply: replies.written,
  },
  {
    request: 'writeKill',
    answers: { write: 5 },
    method: 'write',
    arguments: [9, 0, Buffer.from('bytes'), { killPrivileges: true, fromCache: true }],
    reply: replies.written,
  },
  { request: 'release', answers: {}, method: 'release', arguments: [9], reply: replies.empty },
  { request: 'releasedir', answers: {}, method: 'releaseDirectory', arguments: [9], reply: replies.empty },
  { request: 'fsync', answers: {}, method: 'fsync', arguments: [9, true], reply: replies.empty },
  { request: 'fsyncdir', answers: {}, method: 'fsyncDirectory', arguments: [9], reply: replies.empty },
  {
    request: 'statfs',
    answers: {
      statistics: {
        blockBytes: 4096,
        blocks: 0x123456789a,
        blocksFree: 100,
        blocksAvailable: 90,
        files: 80,
        filesFree: 70,
        nameBytesMax: 255,
      },
    },
    method: 'statistics',
    arguments: [1],
    reply: replies.statfs,
  },
  {
    request: 'setxattr',
    answers: {},
    method: 'setXattr',
    arguments: [7, 'user.key', Buffer.from('bytes'), { create: true, replace: false, clearSetgid: true }],
    reply: replies.empty,
  },
  {
    request: 'getxattrSize',
    answers: { getXattr: Buffer.from('bytes') },
    method: 'getXattr',
    arguments: [7, 'user.key'],
    reply: replies.xattrSize,
  },
  {
    request: 'removexattr',
    answers: {},
    method: 'removeXattr',
    arguments: [7, 'user.key'],
    reply: replies.empty,
  },
];

/** A reply with a body of bytes. */
function bytesReply(body: Uint8Array | string): string {
  const bytes = Buffer.from(body);
  const header = Buffer.from(replies.empty, 'hex');
  header.writeUInt32LE(16 + bytes.length, 0);
  return Buffer.concat([header, bytes]).toString('hex');
}

describe('each request becomes one call and one reply', () => {
  test.each(cases)('$request', ({ request, answers, method, arguments: wanted, reply }) => {
    const recorder = new Recorder(answers);
    recorder.request(requests[request]);
    expect(recorder.argumentsOf(method)).toEqual(wanted);
    expect(recorder.sent).toEqual([reply]);
    expect(recorder.failures).toEqual([]);
  });

  test.each(cases)(
    '$request, answered later, gives the same reply',
    async ({ request, answers, method, reply }) => {
      const recorder = new Recorder({ ...answers, [method]: () => Promise.resolve(answers[method]) });
      recorder.request(requests[request]);
      expect(recorder.sent).toEqual([]);
      expect(recorder.driver.pending.count).toBe(1);
      await recorder.driver.drained();
      expect(recorder.sent).toEqual([reply]);
      expect(recorder.driver.pending.count).toBe(0);
    },
  );

  test('the caller is named: uid, gid, pid and, where something is made, the umask', () => {
    const recorder = new Recorder({ create: { ...entry, open: { handle: 1 } } });
    recorder.request(requests.create);
    expect(recorder.calls[0]?.context).toMatchObject({ uid: 1000, gid: 1001, pid: 4242, umask: 0o027 });
  });

  test('read sends the bytes after the header', () => {
    const recorder = new Recorder({ read: Buffer.from('some bytes') });
    recorder.request(requests.read);
    expect(recorder.argumentsOf('read')).toEqual([0x100000009, 0x123456789a, 4096]);
    expect(recorder.sent).toEqual([bytesReply('some bytes')]);
  });

  test('readlink, getxattr and listxattr send bytes as they are', () => {
    const recorder = new Recorder({
      readLink: '../naïve',
      getXattr: Buffer.from([0, 1, 2]),
      listXattrs: ['user.a', 'user.ü'],
    });
    recorder.request(requests.readlink);
    recorder.request(requests.getxattr);
    recorder.request(requests.listxattr);
    expect(recorder.sent).toEqual([
      bytesReply('../naïve'),
      bytesReply(Buffer.from([0, 1, 2])),
      bytesReply('user.a\0user.ü\0'),
    ]);
  });

  test('an attribute that does not fit is ERANGE', () => {
    const recorder = new Recorder({ getXattr: Buffer.from('bytes') });
    recorder.request(requests.getxattrSmall);
    expect(recorder.sent).toEqual([errnoReply(errno.ERANGE)]);
  });

  test('forget and batch forget are never answered', () => {
    const recorder = new Recorder({
      forget: () => {
        throw new ArtifactError('Internal', 'broken');
      },
    });
    recorder.request(requests.forget);
    const counted = new Recorder();
    counted.request(requests.forget);
    counted.request(requests.batchForget);
    expect(counted.calls.map((call) => call.arguments)).toEqual([
      [7, 3],
      [7, 3],
      [0x100000008, 1],
    ]);
    expect([...recorder.sent, ...counted.sent]).toEqual([]);
    expect(recorder.failures).toHaveLength(1);
  });

  test('destroy is answered; access, flush and unknown requests are ENOSYS, so that the kernel asks no more', () => {
    const recorder = new Recorder();
    recorder.request(requests.destroy);
    recorder.request(requests.access);
    recorder.request(requests.flush);
    expect(recorder.sent).toEqual([replies.empty, errnoReply(errno.ENOSYS), errnoReply(errno.ENOSYS)]);
  });
});

describe('names that cannot be', () => {
  test('a missing name may be believed for as long as the file system says', () => {
    const recorder = new Recorder({ negativeSeconds: 10, lookup: undefined });
    recorder.request(requests.lookup);
    expect(recorder.sent).toEqual([replies.noEntry]);
  });

  test('a missing name is ENOENT when nothing may be believed', () => {
    const recorder = new Recorder({ lookup: undefined });
    recorder.request(requests.lookup);
    expect(recorder.sent).toEqual([replies.enoent]);
    expect(recorder.failures).toEqual([]);
  });

  test('a name that is not UTF-8 is EILSEQ, and its bytes are told', () => {
    const recorder = new Recorder();
    recorder.request(requests.lookupNotUtf8);
    expect(recorder.sent).toEqual([errnoReply(errno.EILSEQ)]);
    expect(recorder.calls).toEqual([]);
    expect(recorder.failures).toMatchObject([{ operation: 'lookup', pid: 4242, errno: errno.EILSEQ }]);
    expect(recorder.failures[0]?.error.message).toContain('"na\\xefve" is not UTF-8');
  });

  test('a name over 255 bytes is ENAMETOOLONG', () => {
    const recorder = new Recorder({ lookup: entry });
    recorder.request(lookupOf('n'.repeat(256)));
    recorder.request(lookupOf('ü'.repeat(128)));
    recorder.request(lookupOf('n'.repeat(255)));
    expect(recorder.sent.slice(0, 2)).toEqual([
      errnoReply(errno.ENAMETOOLONG),
      errnoReply(errno.ENAMETOOLONG),
    ]);
    expect(recorder.sent[2]).toBe(replies.entry);
  });

  test('rename with a flag we do not know is EINVAL', () => {
    const recorder = new Recorder();
    recorder.request(requests.rename2Whiteout);
    expect(recorder.sent).toEqual([errnoReply(errno.EINVAL)]);
    expect(recorder.calls).toEqual([]);
  });
});

function lookupOf(name: string): string {
  const bytes = Buffer.concat([
    Buffer.from(requests.lookup, 'hex').subarray(0, 40),
    Buffer.from(`${name}\0`),
  ]);
  bytes.writeUInt32LE(bytes.length, 0);
  return bytes.toString('hex');
}

describe('sizes that cannot be', () => {
  test('a file beyond 2^53 bytes is EFBIG', () => {
    const recorder = new Recorder();
    recorder.request(requests.setattrHuge);
    recorder.request(requests.writeFar);
    expect(recorder.sent).toEqual([errnoReply(errno.EFBIG), errnoReply(errno.EFBIG)]);
    expect(recorder.calls).toEqual([]);
  });

  test('a write shorter than it says is EINVAL', () => {
    const recorder = new Recorder();
    recorder.request(requests.writeShort);
    expect(recorder.sent).toEqual([errnoReply(errno.EINVAL)]);
  });

  test('a request cut off in its body is EINVAL', () => {
    const recorder = new Recorder();
    const bytes = Buffer.from(requests.setattr, 'hex').subarray(0, 80);
    bytes.writeUInt32LE(80, 0);
    recorder.request(bytes.toString('hex'));
    expect(recorder.sent).toEqual([errnoReply(errno.EINVAL)]);
  });

  test('a read answered with more than was asked for is a bug, not a longer reply', () => {
    const recorder = new Recorder({ read: Buffer.alloc(4097) });
    recorder.request(requests.read);
    expect(recorder.sent).toEqual([errnoReply(errno.EIO)]);
    expect(recorder.failures).toHaveLength(1);
  });
});

describe('directories', () => {
  const dirent = (name: string, ino: bigint, kind: DirectoryEntry['kind'], nextOffset: number) => ({
    name,
    ino,
    kind,
    nextOffset,
  });

  test('readdir packs what fits and stops there', () => {
    const taken: boolean[] = [];
    const recorder = new Recorder({
      readDirectory: (_c: unknown, _h: unknown, _o: unknown, emit: (e: DirectoryEntry) => boolean) => {
        taken.push(emit(dirent('name', 7n, 'file', 6)));
        taken.push(emit(dirent('directory', 0x1122334455667788n, 'dir', 7)));
        taken.push(emit(dirent('n', 9n, 'file', 8))); // 32 bytes; 96 were asked for and 72 are used
      },
    });
    recorder.request(requests.readdir);
    expect(taken).toEqual([true, true, false]);
    expect(recorder.sent).toEqual([bytesReply(Buffer.from(replies.dirents, 'hex'))]);
  });

  type EmitPlus = (entry: DirectoryEntry, node: NodeEntry | undefined) => boolean;

  test('readdirplus carries what lookup would, but for . and ..', () => {
    const taken: boolean[] = [];
    const recorder = new Recorder({
      readDirectoryPlus: (_c: unknown, _h: unknown, _o: unknown, emit: EmitPlus) => {
        taken.push(emit(dirent('.', 7n, 'dir', 1), undefined));
        taken.push(emit(dirent('name', 0x1122334455667788n, 'file', 7), entry));
        taken.push(emit(dirent('n', 9n, 'file', 8), entry)); // 480 were asked for, 320 are used, 160 more fit
        taken.push(emit(dirent('n', 9n, 'file', 9), entry));
      },
    });
    recorder.request(requests.readdirplus);
    expect(taken).toEqual([true, true, true, false]);
    expect(recorder.sent[0]?.slice(32, 32 + 640)).toBe(replies.direntsPlus);
  });

  test('an empty answer ends the listing', () => {
    const recorder = new Recorder();
    recorder.request(requests.readdir);
    expect(recorder.sent).toEqual([replies.empty]);
  });

  test.each(['at once', 'later'])('a failure %s, after some entries, does not lose them', async (when) => {
    const emitOne = (emit: EmitPlus): void => {
      emit(dirent('.', 7n, 'dir', 1), undefined);
      throw new ArtifactError('StoreUnavailable', 'gone');
    };
    const recorder = new Recorder({
      readDirectoryPlus: (_c: unknown, _h: unknown, _o: unknown, emit: EmitPlus) =>
        when === 'at once' ? emitOne(emit) : Promise.resolve().then(() => emitOne(emit)),
      readDirectory: () => {
        throw new ArtifactError('StoreUnavailable', 'gone');
      },
    });
    recorder.request(requests.readdirplus);
    await recorder.driver.drained();
    expect(recorder.sent[0]?.slice(32)).toBe(replies.direntsPlus.slice(0, 320));
    recorder.request(requests.readdir);
    expect(recorder.sent[1]).toBe(errnoReply(errno.EIO));
  });
});

test('O_TRUNC by somebody without rights takes setuid and setgid away', () => {
  const recorder = new Recorder({ open: { handle: 9 } });
  recorder.request(requests.openKill);
  expect(recorder.argumentsOf('open')).toEqual([7, 0o1001, true]);
  expect(recorder.sent).toHaveLength(1);
});
