/**
 * What the addon does for who copies local files with all that they are: native/file-calls.h. A number below 0 is -errno.
 * Here, since who loads it and who uses it know nothing of each other.
 */
export interface FileCalls {
  listXattrs(path: string): string[] | number;
  getXattr(path: string, name: string): Buffer | number;
  setXattr(path: string, name: string, value: Buffer): number;
  setTimes(
    path: string,
    atimeSeconds: number,
    atimeNs: number,
    mtimeSeconds: number,
    mtimeNs: number,
  ): number;
  /** `mode` with the bits of the kind. */
  makeNode(path: string, mode: number, rdev: number): number;
}
