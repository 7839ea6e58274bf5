import { constants } from 'node:os';
import { Refusal } from '../../fuse/protocol/refusal.js';
import { ArtifactError } from '../../model/errors.js';
import { limits } from '../../model/limits.js';
import { chain } from '../../util/maybe-promise.js';
import { buffered, type Handlers, simple, type Workbench } from './operation.js';

/** Operations about extended attributes. */
export function xattrOperations(bench: Workbench): Handlers {
  const { fileSystem, paths } = bench.session;
  return {
    getxattr: buffered(
      bench,
      'getxattr',
      (_path: string, _name: string, memory: Buffer, _position: number) => memory,
      (call, path, name, memory, position) => {
        checkPlain(name, position);
        return paths.use(call, path, (node) =>
          chain(fileSystem.getXattr(call, node, name), (value) => fill(memory, value)),
        );
      },
    ),
    listxattr: buffered(
      bench,
      'listxattr',
      (_path: string, memory: Buffer) => memory,
      (call, path, memory) =>
        paths.use(call, path, (node) =>
          chain(fileSystem.listXattrs(call, node), (names) =>
            fill(memory, Buffer.from(names.map((name) => `${name}\0`).join(''))),
          ),
        ),
    ),
    setxattr: buffered(
      bench,
      'setxattr',
      (_path: string, _name: string, value: Buffer, _position: number, _flags: number) => value,
      (call, path, name, memory, position, flags) => {
        checkPlain(name, position);
        if (isAcl(name)) throw new ArtifactError('Unsupported', 'libfuse 2.9 knows no access control lists');
        if (memory.length > limits.xattrValueBytesMax) {
          throw new Refusal(constants.errno.E2BIG, `an attribute of ${memory.length} bytes`);
        }
        const value = Uint8Array.from(memory); // a copy: it may be kept
        return paths.use(call, path, (node) =>
          chain(
            fileSystem.setXattr(call, node, name, value, {
              create: (flags & flag.create) !== 0,
              replace: (flags & flag.replace) !== 0,
            }),
            () => 0,
          ),
        );
      },
    ),
    removexattr: simple(bench, 'removexattr', (call, path: string, name: string) => {
      checkPlain(name, 0);
      return paths.use(call, path, (node) => fileSystem.removeXattr(call, node, name));
    }),
  };
}

const flag = process.platform === 'darwin' ? { create: 2, replace: 4 } : { create: 1, replace: 2 };

/** The kernel applies them only for file systems that say so when they are mounted. */
const isAcl = (name: string): boolean => name.startsWith('system.posix_acl_');

/** `position`: pieces of an attribute, which only macOS has, for resource forks. */
function checkPlain(name: string, position: number): void {
  if (position !== 0) throw new ArtifactError('Invalid', `${name}: written and read whole`);
  if (Buffer.byteLength(name) > limits.xattrNameBytesMax) {
    throw new Refusal(constants.errno.ERANGE, `a name of over ${limits.xattrNameBytesMax} bytes`);
  }
}

/** With room for nothing the asker wants to know how much there is. */
function fill(memory: Buffer, value: Uint8Array): number {
  if (memory.length === 0) return value.length;
  if (value.length > memory.length) throw new Refusal(constants.errno.ERANGE, `${value.length} bytes`);
  memory.set(value);
  return value.length;
}
